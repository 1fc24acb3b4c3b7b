//! Secret versions and Secrets whose delivery has failed.

use std::collections::{HashMap, HashSet};

use paddock_accounts::{CredentialId, managed_resources::Staged};
use parking_lot::Mutex;

/// Remembers what the last attempts to deliver keys left.
#[derive(Default)]
pub(crate) struct PendingSecrets(Mutex<State>);

#[derive(Default)]
struct State {
    /// The plaintext of staged versions until they are delivered. A failed write of a Secret is then
    /// retried with the same version; otherwise every attempt would stage another one.
    staged: HashMap<CredentialId, Staged>,
    /// Keys whose last Secret could not be written.
    unwritable: HashSet<CredentialId>,
}

impl PendingSecrets {
    pub(crate) fn insert(&self, credential: CredentialId, staged: Staged) {
        self.0.lock().staged.insert(credential, staged);
    }

    pub(crate) fn remove(&self, credential: CredentialId) -> Option<Staged> {
        self.0.lock().staged.remove(&credential)
    }

    /// Records whether the last write of the Secret failed.
    pub(crate) fn set_unwritable(&self, credential: CredentialId, is_unwritable: bool) {
        let unwritable = &mut self.0.lock().unwritable;
        if is_unwritable {
            unwritable.insert(credential);
        } else {
            unwritable.remove(&credential);
        }
    }

    /// Whether the last write of the Secret failed.
    pub(crate) fn is_unwritable(&self, credential: CredentialId) -> bool {
        self.0.lock().unwritable.contains(&credential)
    }
}
