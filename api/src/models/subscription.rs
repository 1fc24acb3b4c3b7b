//! Follows a pull, whichever process runs it.

use std::time::Duration;

use paddock_accounts::Accounts;
use paddock_store::error_chain;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{running::RunningPulls, snapshot::PullSnapshot};
use crate::http::deadline::with_db_timeout;

/// The shortest time between two states.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// The time between two reads of the database, for a pull that another process runs.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Follows a pull. The database has the state of a pull that another process runs, about a second
/// old; a pull of this process reports each change itself.
pub(crate) struct PullSubscription {
    accounts: Accounts,
    running: RunningPulls,
    /// The pull in this process, while it runs here.
    local: Option<watch::Receiver<PullSnapshot>>,
    last: PullSnapshot,
    is_first: bool,
    /// When the next state may be returned.
    next: Instant,
}

impl PullSubscription {
    pub(super) fn new(accounts: Accounts, running: RunningPulls, present: PullSnapshot) -> Self {
        Self { accounts, running, local: None, last: present, is_first: true, next: Instant::now() }
    }

    /// Returns the present state first, and then each new state. Returns `None` after the final
    /// state. Merges states in quick succession. Cancellation loses no state.
    pub(crate) async fn next(&mut self) -> Option<PullSnapshot> {
        if std::mem::take(&mut self.is_first) {
            return Some(self.last.clone());
        }
        while !self.last.job.state.is_final() {
            sleep_until(self.next).await;
            let present = match &mut self.local {
                Some(local) => {
                    let changed = local.changed().await.is_ok();
                    // If the pull has ended in this process, the database has its final state.
                    if changed { Some(local.borrow_and_update().clone()) } else { self.stored().await }
                }
                None => self.look().await,
            };
            if let Some(present) = present
                && present != self.last
            {
                self.next = Instant::now() + MIN_INTERVAL;
                self.last = present.clone();
                return Some(present);
            }
        }
        None
    }

    /// Reads the state from this process if the pull now runs here, and otherwise from the
    /// database.
    async fn look(&mut self) -> Option<PullSnapshot> {
        self.local = self.running.subscribe(self.last.job.id);
        if let Some(local) = &mut self.local {
            return Some(local.borrow_and_update().clone());
        }
        let stored = self.stored().await;
        self.next = Instant::now() + POLL_INTERVAL;
        stored
    }

    /// Reads the state from the database. Returns `None` if the database is unavailable; the caller
    /// tries again later.
    async fn stored(&mut self) -> Option<PullSnapshot> {
        self.local = None;
        match with_db_timeout(self.accounts.pulls().find(self.last.job.id)).await {
            Ok(job) => job.map(PullSnapshot::stored),
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "cannot read the state of a pull");
                None
            }
        }
    }
}
