//! The header that warns of the end of an API key.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use paddock_accounts::access::{AuthMethod, Principal};
use paddock_store::clock::Timestamp;

const X_PADDOCK_KEY_EXPIRES: HeaderName = HeaderName::from_static("x-paddock-key-expires");
/// How long before its end a key is announced to end.
const NOTICE: Duration = Duration::from_hours(24);

/// When the key of a request ends, if that is soon. Authentication sets it once; the dispatcher
/// writes it into the response. Every clone shares the same value.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyExpiry(Arc<OnceLock<Timestamp>>);

impl KeyExpiry {
    /// Sets the end of the principal's key, if it is within [`NOTICE`]. Only the first call has an
    /// effect.
    pub(crate) fn set(&self, principal: &Principal, now: Timestamp) {
        let AuthMethod::Key { expires_at: Some(end), .. } = principal.via else { return };
        if end <= now + NOTICE {
            let _ = self.0.set(end);
        }
    }

    /// Writes the header `X-Paddock-Key-Expires`, if the key ends soon.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.0.get().and_then(|end| HeaderValue::from_str(&end.to_string()).ok()) {
            headers.insert(X_PADDOCK_KEY_EXPIRES, value);
        }
    }
}
