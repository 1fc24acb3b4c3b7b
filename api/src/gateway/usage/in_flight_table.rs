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
    unstored: HashMap<Uuid, Unstored>,
    /// The usage ids of refused requests whose reservation is still stored.
    released: Vec<Uuid>,
}

struct Unstored {
    began: Instant,
    record: UsageRecord,
    /// Whether the database may have stored it although it did not say so.
    is_in_doubt: bool,
}

/// The requests that have ended since the last call of [`InFlightTable::apply`].
#[derive(Default)]
pub(super) struct Ended {
    pub(super) records: Vec<UsageRecord>,
    /// The usage ids of those that the database may have in flight.
    pub(super) open: Vec<Uuid>,
}

impl InFlightTable {
    /// Adds begun requests and removes ended requests. Returns the ended requests.
    pub(super) fn apply(&mut self, events: &mut Vec<UsageEvent>) -> Ended {
        let mut ended = Ended::default();
        for event in events.drain(..) {
            match event {
                UsageEvent::Began(record) => {
                    let unstored = Unstored { began: Instant::now(), record, is_in_doubt: false };
                    self.unstored.insert(unstored.record.usage_id, unstored);
                }
                UsageEvent::Ended(record) => {
                    let unstored = self.unstored.remove(&record.usage_id);
                    if unstored.is_none_or(|unstored| unstored.is_in_doubt) {
                        ended.open.push(record.usage_id);
                    }
                    ended.records.push(record);
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
        let due = self.unstored.values_mut().filter(|unstored| unstored.began.elapsed() >= STORE_INTERVAL);
        let due = due.take(MAX_BATCH).map(|unstored| {
            unstored.is_in_doubt = true;
            unstored.record.clone()
        });
        let due: Vec<_> = due.collect();
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
