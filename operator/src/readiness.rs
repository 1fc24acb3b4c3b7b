//! What the operator still lacks, for `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether the operator does its part. Cheap to clone; every clone tells the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// How far the operator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The API server has not answered yet.
    Connecting = 0,
    /// The custom resource definitions are not all there.
    WaitingForDefinitions = 1,
    /// Another instance leads: as ready as can be.
    StandingBy = 2,
    /// It leads, and reads the objects for the first time.
    Syncing = 3,
    /// It leads, and its caches are whole.
    Leading = 4,
}

impl Readiness {
    /// What is missing, in words fit for `/readyz`; `None`: ready. An instance that stands by is ready.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Relaxed) {
            0 => Some("kubernetes"),
            1 => Some("custom resource definitions"),
            3 => Some("caches"),
            _ => None,
        }
    }

    /// Whether this instance holds the lease and works.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Phase::Syncing as u8
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}
