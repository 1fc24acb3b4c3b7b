//! Readiness of the operator, for `/readyz`.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// The operator's readiness. Clones are cheap and share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// The phases of a start, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The API server has not answered yet.
    Connecting = 0,
    /// Some custom resource definitions are missing.
    WaitingForDefinitions = 1,
    /// Another instance is the leader. A standby is ready.
    StandingBy = 2,
    /// This instance is the leader and lists the objects for the first time.
    Syncing = 3,
    /// This instance is the leader and its caches are complete.
    Leading = 4,
}

impl Readiness {
    /// Returns what `/readyz` reports as missing, or `None` if the operator is ready.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Relaxed) {
            0 => Some("kubernetes"),
            1 => Some("custom resource definitions"),
            3 => Some("caches"),
            _ => None,
        }
    }

    /// Whether this instance holds the lease.
    pub(crate) fn is_leader(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Phase::Syncing as u8
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}
