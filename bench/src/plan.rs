//! What a run measures, how long and how often.

use std::time::Duration;

use clap::ValueEnum;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// The added latency, processor time and throughput of a chat.
    Gateway,
    /// What is added to each token of many streams.
    Streams,
    /// The most streams without a late frame.
    Capacity,
    /// Prompts of 400 KB beside streams.
    LongPrompts,
    /// Cached keys, new keys and a flood of false keys.
    Keys,
    /// Ten times the load that the upstream can serve.
    Overload,
    /// One request beside many of another user.
    Fairness,
    /// A token budget on two replicas.
    Budget,
    /// Clients that read slowly.
    SlowReaders,
    /// Sign-ins per second.
    Login,
    /// Audited mutations per second.
    Writes,
    /// Pages of long lists.
    Lists,
    /// Resident memory.
    Memory,
    /// The operator on a real API server.
    Operator,
}

impl Section {
    /// All sections.
    pub(crate) const ALL: [Self; 14] = [
        Self::Gateway,
        Self::Streams,
        Self::Capacity,
        Self::LongPrompts,
        Self::Keys,
        Self::Overload,
        Self::Fairness,
        Self::Budget,
        Self::SlowReaders,
        Self::Login,
        Self::Writes,
        Self::Lists,
        Self::Memory,
        Self::Operator,
    ];

    /// Its name in arguments and reports.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
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
    /// The number of keys in the cache.
    pub(crate) keys: u32,
    /// The most streams at once.
    pub(crate) streams: u64,
    /// The numbers of keys that the operator starts with.
    pub(crate) objects: Vec<usize>,
    /// How long the settled operator is watched for writes.
    pub(crate) settle: Duration,
    /// The sections to run.
    pub(crate) only: Vec<Section>,
}
