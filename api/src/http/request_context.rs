//! The context of a request: the client's address, the request id, the route, and the status of its
//! rate limits.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use paddock_accounts::Accounts;
use paddock_store::context::{Actor, AuditContext};
use tokio::task_local;

use super::{
    key_expiry::KeyExpiry,
    redact::{contains_key, redact_keys},
};
use crate::rate_limit::headers::RateLimitStatus;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The longest request id that is accepted from a client, in bytes.
const MAX_ID_LENGTH: usize = 128;
/// How many characters of a User-Agent the audit log keeps.
const MAX_USER_AGENT_LENGTH: usize = 512;

/// The context of one request.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// The client's address.
    pub(crate) ip: IpAddr,
    id: HeaderValue,
    /// The route of the request.
    pub(crate) route: Route,
    /// The status of the limits that the request counted against.
    pub(crate) rate_limit_status: RateLimitStatus,
    /// When the key of the request ends, if that is soon.
    pub(crate) key_expiry: KeyExpiry,
}

/// The route of a request, for its metrics, log line and span. The router sets it once; every clone
/// shares the same route.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route(Arc<OnceLock<Cow<'static, str>>>);

impl Route {
    /// Sets the route, which must be of a closed set. Only the first call has an effect.
    pub(crate) fn set(&self, route: impl Into<Cow<'static, str>>) {
        let _ = self.0.set(route.into());
    }

    /// The route as a label.
    pub(crate) fn label(&self) -> &str {
        self.0.get().map_or("unmatched", |route| route)
    }
}

task_local! {
    /// The context of the request that the current task serves.
    static CURRENT: RequestContext;
}

impl RequestContext {
    /// The context of the request that the current task serves. `None` outside of
    /// [`RequestContext::scope`].
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Serves the request as the current one, so that its errors can name its id.
    pub(crate) async fn scope<F: Future>(self, serving: F) -> F::Output {
        CURRENT.scope(self, serving).await
    }

    /// Builds the context of a request from `ip`. A well-formed request id of the client is kept;
    /// otherwise a new one is made.
    pub(crate) fn new(headers: &HeaderMap, ip: IpAddr, accounts: &Accounts) -> Self {
        let given =
            [X_REQUEST_ID, X_TRACE_ID].iter().filter_map(|name| headers.get(name)).find(|id| is_well_formed(id));
        let id = given.cloned().unwrap_or_else(|| {
            let mut buffer = uuid::Uuid::encode_buffer();
            let text = accounts.usage().new_id().hyphenated().encode_lower(&mut buffer);
            HeaderValue::from_str(text).expect("a UUID is ASCII")
        });
        Self {
            ip,
            id,
            route: Route::default(),
            rate_limit_status: RateLimitStatus::default(),
            key_expiry: KeyExpiry::default(),
        }
    }

    /// The request id as a header value.
    pub(crate) fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// The request id as text.
    pub(crate) fn id_text(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The context of audit events of this request, performed by `actor`.
    pub(crate) fn audit_context(&self, user_agent: Option<&HeaderValue>, actor: Actor) -> AuditContext {
        let user_agent = user_agent.map(|value| {
            let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_USER_AGENT_LENGTH).collect();
            redact_keys(&text).into_owned()
        });
        AuditContext { actor, ip: Some(self.ip), user_agent, request_id: Some(self.id_text().to_owned()) }
    }
}

/// Whether an id is safe in logs and headers: 1 to 128 of the characters of UUIDs, ULIDs, trace ids
/// and the ids of common proxies, and not an API key.
fn is_well_formed(id: &HeaderValue) -> bool {
    let Ok(text) = id.to_str() else { return false };
    (1..=MAX_ID_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(&byte))
        && !contains_key(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0195b3a2-7c1e-7d3a-9f60-3b0d9e1f2a44", true)]
    #[case("Root=1-67891233-abcdef012345678912345678", true)]
    #[case("", false)]
    #[case("two words", false)]
    #[case("quote\"", false)]
    #[case("<script>", false)]
    #[case("pdk_0123456789_abcdefghijABCDEFGHIJabcdefghijABCDEFGHIJabc123456", false)]
    fn only_harmless_ids_are_accepted(#[case] id: &str, #[case] taken: bool) {
        assert_eq!(is_well_formed(&HeaderValue::from_str(id).unwrap()), taken);
    }

    #[test]
    fn an_id_has_a_maximum_length() {
        assert!(is_well_formed(&HeaderValue::from_str(&"a".repeat(MAX_ID_LENGTH)).unwrap()));
        assert!(!is_well_formed(&HeaderValue::from_str(&"a".repeat(MAX_ID_LENGTH + 1)).unwrap()));
    }
}
