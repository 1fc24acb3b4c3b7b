//! Ends open streams whose principal has lost the permission.
//!
//! Each in-flight request is registered with its principal, permission and model. When the rights
//! of a user change, the watcher authorizes its requests again, and cancels the forbidden ones.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use paddock_accounts::{
    Accounts,
    access::{Permission, Principal},
};
use paddock_ollama::ModelName;
use paddock_store::{error_chain, rights::RightsChanged};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::model_access::allows;

/// How many requests are authorized again at once. After a database outage, every in-flight request
/// must be authorized again.
const MAX_CONCURRENT_CHECKS: usize = 8;
/// The pause before a check is retried, after the database was unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Watches changes of rights on behalf of all in-flight requests.
pub(super) struct RevocationWatcher {
    registrations: Arc<Mutex<HashMap<u64, Registration>>>,
    next_id: AtomicU64,
    /// Ends every request.
    shutdown: CancellationToken,
}

#[derive(Clone)]
struct Registration {
    principal: Arc<Principal>,
    permission: Permission,
    model: ModelName,
    cancellation: CancellationToken,
    is_revoked: Arc<AtomicBool>,
}

/// The registration of an in-flight request. Dropping the guard removes it.
pub(super) struct RevocationGuard {
    id: u64,
    registrations: Arc<Mutex<HashMap<u64, Registration>>>,
    cancellation: CancellationToken,
    is_revoked: Arc<AtomicBool>,
}

impl RevocationGuard {
    /// The token that is cancelled when the request must end.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Whether the token was cancelled because the principal lost the permission. If false, the
    /// server shuts down.
    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }
}

impl Drop for RevocationGuard {
    fn drop(&mut self) {
        self.registrations.lock().remove(&self.id);
    }
}

impl RevocationWatcher {
    /// `shutdown` ends every request.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { registrations: Arc::default(), next_id: AtomicU64::new(0), shutdown }
    }

    /// Registers an in-flight request. The caller must re-check authorization afterwards; changes
    /// made before the registration are not delivered.
    pub(super) fn register(
        &self,
        principal: &Arc<Principal>,
        permission: Permission,
        model: &ModelName,
    ) -> RevocationGuard {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (cancellation, is_revoked) = (self.shutdown.child_token(), Arc::new(AtomicBool::new(false)));
        let registration = Registration {
            principal: Arc::clone(principal),
            permission,
            model: model.clone(),
            cancellation: cancellation.clone(),
            is_revoked: Arc::clone(&is_revoked),
        };
        self.registrations.lock().insert(id, registration);
        RevocationGuard { id, registrations: Arc::clone(&self.registrations), cancellation, is_revoked }
    }

    /// Authorizes affected requests again after every change of rights. Never returns.
    pub(super) async fn run(&self, accounts: &Accounts) {
        let mut changes = accounts.authentication().rights_changes();
        let mut undecided: Vec<Registration> = Vec::new();
        loop {
            let due = if undecided.is_empty() {
                self.affected_by(changes.next().await)
            } else {
                let change = timeout(RETRY_INTERVAL, changes.next()).await;
                change.map_or_else(|_| std::mem::take(&mut undecided), |change| self.affected_by(change))
            };
            let failed = stream::iter(due)
                .map(|registration| async move {
                    reauthorize(accounts, &registration).await.err().map(|Undecided| registration)
                })
                .buffer_unordered(MAX_CONCURRENT_CHECKS)
                .filter_map(std::future::ready)
                .collect::<Vec<_>>();
            undecided.extend(failed.await);
        }
    }

    fn affected_by(&self, change: RightsChanged) -> Vec<Registration> {
        let registrations = self.registrations.lock();
        let is_affected = |registration: &&Registration| match change {
            RightsChanged::Of(user) => registration.principal.user_id == user,
            RightsChanged::Any => true,
        };
        registrations.values().filter(is_affected).cloned().collect()
    }
}

/// The rights could not be checked, because the database is unavailable.
struct Undecided;

/// Authorizes a request again, and cancels it if its principal has lost the permission or the
/// model.
async fn reauthorize(accounts: &Accounts, registration: &Registration) -> Result<(), Undecided> {
    if registration.cancellation.is_cancelled() {
        return Ok(());
    }
    let reason = match accounts.authentication().reauthenticate(&registration.principal).await {
        Err(error) => {
            tracing::debug!(error = error_chain(&error), "cannot re-authorize an open stream; retrying");
            return Err(Undecided);
        }
        Ok(Err(refused)) => refused.text(),
        Ok(Ok(principal)) if principal.may(registration.permission).is_err() => "forbidden",
        Ok(Ok(principal)) if !allows(&principal, &registration.model) => "model",
        Ok(Ok(_)) => return Ok(()),
    };
    tracing::info!(user_id = registration.principal.user_id.0, reason, "open stream revoked");
    registration.is_revoked.store(true, Ordering::Release);
    registration.cancellation.cancel();
    Ok(())
}
