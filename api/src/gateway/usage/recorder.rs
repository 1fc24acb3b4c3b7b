//! The channel from requests to the writer. A request reserves two permits when it is admitted, so
//! that it can always send the event of its end.

use std::sync::Arc;

use paddock_accounts::usage::UsageRecord;
use tokio::sync::mpsc;

use super::backlog::UsageBacklog;
use crate::{gateway::error::usage_full, http::error::ApiError};

/// The maximum number of events in the channel. A reserved permit counts as an event; each
/// in-flight request holds one permit, for its end.
const CHANNEL_CAPACITY: usize = 16 * 1024;

/// A change of a request's usage.
pub(super) enum UsageEvent {
    /// The request was admitted and is in flight.
    Began(UsageRecord),
    /// The request has ended.
    Ended(UsageRecord),
}

/// Sends usage events to the writer.
pub(crate) struct Recorder {
    events: mpsc::Sender<UsageEvent>,
    backlog: Arc<UsageBacklog>,
}

/// The permits for the two events of one request.
pub(crate) struct UsagePermits {
    begin: mpsc::OwnedPermit<UsageEvent>,
    end: mpsc::OwnedPermit<UsageEvent>,
}

impl UsagePermits {
    /// Sends the event that the request began. Returns the permit for the event of its end.
    pub(super) fn begin(self, record: &UsageRecord) -> mpsc::OwnedPermit<UsageEvent> {
        self.begin.send(UsageEvent::Began(record.clone()));
        self.end
    }
}

/// The receiver of usage events, for the writer.
pub(crate) struct UsageEvents(pub(super) mpsc::Receiver<UsageEvent>);

/// Returns both ends of the channel. While `backlog` is full, the recorder admits no request.
pub(crate) fn channel(backlog: Arc<UsageBacklog>) -> (Recorder, UsageEvents) {
    let (events, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    (Recorder { events, backlog }, UsageEvents(receiver))
}

impl Recorder {
    /// Reserves the permits for the events of one request. Fails if usage cannot be recorded now.
    pub(crate) fn reserve(&self) -> Result<UsagePermits, ApiError> {
        if self.backlog.is_full() {
            return Err(usage_full());
        }
        let permit = || self.events.clone().try_reserve_owned().map_err(|_| usage_full());
        Ok(UsagePermits { begin: permit()?, end: permit()? })
    }
}
