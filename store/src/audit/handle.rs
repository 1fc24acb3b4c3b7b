//! The handle of the audit log.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{aggregator::Aggregator, chain_status::Verifier};
use crate::write::Store;

/// The audit log. It reads, verifies and trims the log, and records events that accompany no
/// change. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    aggregator: Aggregator,
    /// Locked while counts are written, so that the final flush waits for a running one.
    flushing: Arc<Mutex<()>>,
    retention_days: Option<u32>,
    verifier: Verifier,
}

impl AuditLog {
    /// The audit log of a store. Retention removes rows after this number of days; `None` disables
    /// it.
    #[must_use]
    pub fn new(store: Store, retention_days: Option<u32>) -> Self {
        let (aggregator, verifier) = (Aggregator::default(), Verifier::default());
        let inner = Inner { store, aggregator, flushing: Arc::default(), retention_days, verifier };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(super) fn aggregator(&self) -> &Aggregator {
        &self.inner.aggregator
    }

    pub(super) fn flushing(&self) -> &Arc<Mutex<()>> {
        &self.inner.flushing
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.inner.verifier
    }

    pub(super) fn retention_days(&self) -> Option<u32> {
        self.inner.retention_days
    }
}
