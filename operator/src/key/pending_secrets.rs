//! Staged versions whose Secret could not be written yet.

use std::collections::HashMap;

use paddock_accounts::{CredentialId, managed_resources::Staged};
use parking_lot::Mutex;

/// Holds the plaintext of staged versions until it is delivered. A failed write of a Secret is then
/// retried with the same version; otherwise every attempt would stage another one.
#[derive(Default)]
pub(crate) struct PendingSecrets(Mutex<HashMap<CredentialId, Staged>>);

impl PendingSecrets {
    pub(crate) fn insert(&self, credential: CredentialId, staged: Staged) {
        self.0.lock().insert(credential, staged);
    }

    pub(crate) fn remove(&self, credential: CredentialId) -> Option<Staged> {
        self.0.lock().remove(&credential)
    }
}
