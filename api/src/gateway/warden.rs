//! Ends the open streams of whoever may not have them any more.
//!
//! Each admitted request leaves here who it is for. When someone's rights change, what is open in that name is judged again,
//! and cut if it would not be admitted now.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
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
use paddock_store::rights::RightsChanged;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::policy;

/// How many are judged side by side: with a database just back, all of them are due at once.
const SIDE_BY_SIDE: usize = 8;
/// When to try again what could not be judged, because the database is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Who is served at the moment.
pub(crate) struct Warden {
    open: Arc<Mutex<HashMap<u64, Open>>>,
    next: AtomicU64,
    /// The drain is over: everything ends.
    cut: CancellationToken,
}

#[derive(Clone)]
struct Open {
    principal: Arc<Principal>,
    need: Permission,
    model: ModelName,
    leash: CancellationToken,
    revoked: Arc<AtomicBool>,
}

/// An open request's tie to the warden. Dropped, it is forgotten.
pub(crate) struct Leash {
    id: u64,
    open: Arc<Mutex<HashMap<u64, Open>>>,
    token: CancellationToken,
    revoked: Arc<AtomicBool>,
}

impl Leash {
    /// Cancelled when the request must end.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Whether it must end because its principal lost the right to it.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Warden {
    pub(crate) fn new(cut: CancellationToken) -> Self {
        Self { open: Arc::default(), next: AtomicU64::new(0), cut }
    }

    /// Takes note of a request that is about to be served. Who is noted is judged once more afterwards, by whoever notes it:
    /// of what changed before, nothing is heard here.
    pub(crate) fn admit(&self, principal: &Arc<Principal>, need: Permission, model: &ModelName) -> Leash {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (token, revoked) = (self.cut.child_token(), Arc::new(AtomicBool::new(false)));
        let open = Open {
            principal: Arc::clone(principal),
            need,
            model: model.clone(),
            leash: token.clone(),
            revoked: Arc::clone(&revoked),
        };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, open);
        Leash { id, open: Arc::clone(&self.open), token, revoked }
    }

    /// Keeps judging. Never ends by itself.
    pub(crate) async fn watch(&self, accounts: &Accounts) {
        let mut changes = accounts.access().rights_changes();
        let mut again: Vec<Open> = Vec::new();
        loop {
            let due = if again.is_empty() {
                self.of(changes.next().await)
            } else {
                let heard = timeout(AGAIN, changes.next()).await;
                heard.map_or_else(|_| std::mem::take(&mut again), |change| self.of(change))
            };
            let undecided = stream::iter(due)
                .map(|open| async move { judge(accounts, &open).await.err().map(|()| open) })
                .buffer_unordered(SIDE_BY_SIDE)
                .filter_map(std::future::ready)
                .collect::<Vec<_>>();
            again.extend(undecided.await);
        }
    }

    fn of(&self, change: RightsChanged) -> Vec<Open> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |open: &&Open| match change {
            RightsChanged::Of(user) => open.principal.user_id == user,
            RightsChanged::Any => true,
        };
        open.values().filter(concerns).cloned().collect()
    }
}

/// Cuts what would not be admitted now. `Err`: that cannot be told at the moment.
async fn judge(accounts: &Accounts, open: &Open) -> Result<(), ()> {
    if open.leash.is_cancelled() {
        return Ok(());
    }
    let why = match accounts.access().reauthenticate(&open.principal).await {
        Err(error) => {
            tracing::debug!(%error, "an open stream cannot be judged yet");
            return Err(());
        }
        Ok(Err(refused)) => refused.text(),
        Ok(Ok(present)) if present.may(open.need).is_err() => "forbidden",
        Ok(Ok(present)) if !policy::allows(&present, &open.model) => "model",
        Ok(Ok(_)) => return Ok(()),
    };
    tracing::info!(user_id = open.principal.user_id.0, why, "an open stream is cut: its right to go on has ended");
    open.revoked.store(true, Ordering::Release);
    open.leash.cancel();
    Ok(())
}
