//! What a run measures, how long and how often.

use std::time::Duration;

use clap::ValueEnum;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// The added latency of a proxied request.
    Gateway,
    /// Sign-ins per second.
    Login,
    /// Audited mutations per second.
    Writes,
    /// Pages of long lists.
    Lists,
    /// Resident memory.
    Memory,
}

impl Section {
    /// All sections.
    pub(crate) const ALL: [Self; 5] = [Self::Gateway, Self::Login, Self::Writes, Self::Lists, Self::Memory];
}

/// The choices of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The number of rounds. Each round measures every peer, and the report has the medians.
    pub(crate) rounds: u32,
    /// The length of one measurement.
    pub(crate) length: Duration,
    /// The number of events in a long list, and ten times the number of users.
    pub(crate) events: u32,
    /// The sections to run.
    pub(crate) only: Vec<Section>,
}
