//! The usage of a request between its admission and its transmission to Ollama.

use paddock_accounts::usage::UsageRecord;

use super::recorder::{EndPermit, UsageEvent, UsagePermits};

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

    /// Begins the request; `None` if it has begun already.
    pub(super) fn begin(mut self) -> Option<BegunUsage> {
        let Pending { record, permits: UsagePermits { begin, end }, is_reserved } = self.0.take()?;
        // A reservation is the stored form of a request in flight.
        if !is_reserved {
            begin.send(UsageEvent::Began(record.clone()));
        }
        Some(BegunUsage { record, end, is_reserved })
    }
}

impl Drop for PendingUsage {
    fn drop(&mut self) {
        if let Some(Pending { record, permits, is_reserved: true }) = self.0.take() {
            permits.end.send(UsageEvent::Released(record.usage_id), true);
        }
    }
}

/// The usage of a request that was sent to Ollama.
pub(super) struct BegunUsage {
    pub(super) record: UsageRecord,
    end: EndPermit,
    is_reserved: bool,
}

impl BegunUsage {
    /// Sends the record. The next request may wait for a reservation to end, so that is urgent.
    pub(super) fn end(self) {
        let Self { record, end, is_reserved } = self;
        end.send(UsageEvent::Ended(record), is_reserved);
    }
}
