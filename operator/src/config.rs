//! The operator's configuration.

use std::{collections::BTreeSet, time::Duration};

use paddock_ollama::ModelRegistry;

/// The operator's configuration. `cli` reads it from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and credentials of the API server: see [`crate::load_kube_config`].
    pub kube: kube::Config,
    /// Namespaces to watch. An empty set means all namespaces.
    pub watch_namespaces: BTreeSet<String>,
    /// Namespaces whose `ApiUser` objects may grant the role `admin`.
    pub admin_namespaces: BTreeSet<String>,
    /// Namespaces whose `ApiUser` objects may take over users that no object manages.
    pub adoption_namespaces: BTreeSet<String>,
    /// The gateway's URL for workloads, as written to Secrets; without a trailing slash.
    pub public_url: String,
    /// Registries that models may be pulled from.
    pub model_registries: Vec<ModelRegistry>,
    /// How long a pull may receive no new byte before it counts as stalled.
    pub pull_stall_timeout: Duration,
    /// The leader lease.
    pub lease: Lease,
    /// What an instance does that is no longer the leader.
    pub on_lost_lease: OnLostLease,
    /// The maximum number of users and keys that are reconciled at once, and the maximum number of
    /// models. Each reconcile may hold a database connection.
    pub concurrency: usize,
    /// How long running reconciles may take after a shutdown has begun.
    pub drain_timeout: Duration,
}

/// What an instance does that is no longer the leader. In both cases, all writes have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLostLease {
    /// The operator ends with an error, so that the process restarts.
    Exit,
    /// The operator waits for the lease again. Other parts of the process go on.
    StandBy,
}

/// The leader lease, a `Lease` of `coordination.k8s.io/v1`. It is valid for 15 s. The leader renews
/// the lease every 2 s, and releases it after 10 s without a successful renewal.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The namespace of the `Lease`.
    pub namespace: String,
    /// The name of the `Lease`.
    pub name: String,
    /// The identity of this instance, which no other running instance may have. A leader that
    /// restarts with the same identity is the leader immediately.
    pub identity: String,
}
