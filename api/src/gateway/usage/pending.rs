//! The usage of a request between its admission and its transmission to Ollama.

use paddock_accounts::usage::UsageRecord;
use tokio::sync::mpsc;

use super::recorder::{UsageEvent, UsagePermits};

/// The usage of a request that was not sent to Ollama yet. If it is dropped, its reservation is
/// released and nothing is recorded.
pub(crate) struct PendingUsage(Option<Pending>);

struct Pending {
    record: UsageRecord,
    permits: UsagePermits,
    /// Whether the database may have a reservation of the request.
    is_reserved: bool,
}

impl PendingUsage {
    pub(in crate::gateway) fn new(record: UsageRecord, permits: UsagePermits) -> Self {
        Self(Some(Pending { record, permits, is_reserved: false }))
    }

    /// Returns the record, to reserve its tokens in the database.
    pub(in crate::gateway) fn reserving(&mut self) -> Option<&mut UsageRecord> {
        let pending = self.0.as_mut()?;
        pending.is_reserved = true;
        Some(&mut pending.record)
    }

    /// Notes that the database has no reservation of the request.
    pub(in crate::gateway) fn set_unreserved(&mut self) {
        if let Some(pending) = &mut self.0 {
            pending.is_reserved = false;
        }
    }

    /// Begins the request. Returns its record, and the permit for the event of its end; `None` if
    /// it has begun already.
    pub(super) fn begin(mut self) -> Option<(UsageRecord, mpsc::OwnedPermit<UsageEvent>)> {
        let Pending { record, permits, is_reserved } = self.0.take()?;
        // A reservation is the stored form of a request in flight.
        if !is_reserved {
            permits.begin.send(UsageEvent::Began(record.clone()));
        }
        Some((record, permits.end))
    }
}

impl Drop for PendingUsage {
    fn drop(&mut self) {
        if let Some(Pending { record, permits, is_reserved: true }) = self.0.take() {
            permits.end.send(UsageEvent::Released(record.usage_id));
        }
    }
}
