//! The channel from requests to the writer. A request takes two permits when it is admitted, so
//! that it can always send the event of its end.

use std::sync::Arc;

use paddock_accounts::usage::UsageRecord;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

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
    /// The request with this usage id was refused, and its reservation is returned.
    Released(Uuid),
}

/// Sends usage events to the writer.
pub(crate) struct Recorder {
    events: mpsc::Sender<UsageEvent>,
    backlog: Arc<UsageBacklog>,
    urgent: Arc<Notify>,
}

/// The permits for the two events of one request.
pub(crate) struct UsagePermits {
    pub(super) begin: mpsc::OwnedPermit<UsageEvent>,
    pub(super) end: EndPermit,
}

/// The permit for the event of a request's end.
pub(crate) struct EndPermit {
    event: mpsc::OwnedPermit<UsageEvent>,
    urgent: Arc<Notify>,
}

impl EndPermit {
    /// Sends the event. If it `is_urgent`, the writer does not wait for other events.
    pub(super) fn send(self, event: UsageEvent, is_urgent: bool) {
        self.event.send(event);
        if is_urgent {
            self.urgent.notify_one();
        }
    }
}

/// The receiver of usage events, for the writer.
pub(crate) struct UsageEvents {
    pub(super) events: mpsc::Receiver<UsageEvent>,
    /// Notified after each urgent event.
    pub(super) urgent: Arc<Notify>,
}

/// Returns both ends of the channel. While `backlog` is full, the recorder admits no request.
pub(crate) fn channel(backlog: Arc<UsageBacklog>) -> (Recorder, UsageEvents) {
    let (sender, events) = mpsc::channel(CHANNEL_CAPACITY);
    let urgent = Arc::new(Notify::new());
    (Recorder { events: sender, backlog, urgent: Arc::clone(&urgent) }, UsageEvents { events, urgent })
}

impl Recorder {
    /// Takes the permits for the events of one request. Fails if usage cannot be recorded now.
    pub(crate) fn permits(&self) -> Result<UsagePermits, ApiError> {
        if self.backlog.is_full() {
            return Err(usage_full());
        }
        let permit = || self.events.clone().try_reserve_owned().map_err(|_| usage_full());
        let begin = permit()?;
        Ok(UsagePermits { begin, end: EndPermit { event: permit()?, urgent: Arc::clone(&self.urgent) } })
    }
}
