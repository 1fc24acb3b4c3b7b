//! The in-flight requests of this process. Requests older than [`STORE_INTERVAL`] are stored in the
//! database, so that another process can settle their usage after a crash of this process.

use std::{collections::HashMap, time::Duration};

use paddock_accounts::{Accounts, usage::UsageRecord};
use paddock_store::error_chain;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::recorder::UsageEvent;

/// The age at which an in-flight request is stored, and the interval between two searches for
/// requests of this age. Most requests end earlier.
pub(super) const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// How many requests one transaction stores.
const MAX_BATCH: usize = 512;
/// How long the transaction may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The in-flight requests whose stored form is not up to date.
#[derive(Default)]
pub(super) struct InFlightTable {
    /// The requests that are not stored yet, by usage id.
    unstored: HashMap<Uuid, (Instant, UsageRecord)>,
    /// The usage ids of refused requests whose reservation is still stored.
    released: Vec<Uuid>,
}

impl InFlightTable {
    /// Adds begun requests and removes ended requests. Returns the records of the ended requests.
    pub(super) fn apply(&mut self, events: &mut Vec<UsageEvent>) -> Vec<UsageRecord> {
        let mut ended = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            match event {
                UsageEvent::Began(record) => {
                    self.unstored.insert(record.usage_id, (Instant::now(), record));
                }
                UsageEvent::Ended(record) => {
                    self.unstored.remove(&record.usage_id);
                    ended.push(record);
                }
                UsageEvent::Released(id) => self.released.push(id),
            }
        }
        ended
    }

    /// Removes the reservations of refused requests from the database. The next call tries again
    /// after a failure.
    pub(super) async fn release(&mut self, accounts: &Accounts) {
        if self.released.is_empty() {
            return;
        }
        match timeout(STORE_TIMEOUT, accounts.usage().release(&self.released)).await {
            Ok(Ok(())) => self.released.clear(),
            Ok(Err(error)) => tracing::warn!(error = error_chain(&error), "cannot release reservations"),
            Err(_) => tracing::warn!(error = "timeout", "cannot release reservations"),
        }
    }

    /// Stores the requests that are at least [`STORE_INTERVAL`] old, and removes them from the
    /// table.
    pub(super) async fn store(&mut self, accounts: &Accounts, process: Uuid) {
        let is_due = |began: &Instant| began.elapsed() >= STORE_INTERVAL;
        let due = self.unstored.values().filter(|(began, _)| is_due(began)).map(|(_, record)| record.clone());
        let due: Vec<_> = due.take(MAX_BATCH).collect();
        if due.is_empty() {
            return;
        }
        match timeout(STORE_TIMEOUT, accounts.usage().record_in_flight(process, &due)).await {
            Ok(Ok(())) => {
                for record in due {
                    self.unstored.remove(&record.usage_id);
                }
            }
            Ok(Err(error)) => tracing::warn!(error = error_chain(&error), "cannot store in-flight requests"),
            Err(_) => tracing::warn!(error = "timeout", "cannot store in-flight requests"),
        }
    }
}
