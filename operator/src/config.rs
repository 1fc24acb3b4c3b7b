//! The operator's configuration.

use std::{collections::BTreeSet, time::Duration};

use paddock_ollama::ModelRegistry;

/// The operator's configuration. `cli` reads it from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and credentials of the API server: see [`crate::load_kube_config`].
    pub kube: kube::Config,
    /// Namespaces to watch. Empty stands for all.
    pub watch_namespaces: BTreeSet<String>,
    /// Namespaces whose `ApiUser` objects may grant the role `admin`.
    pub admin_namespaces: BTreeSet<String>,
    /// The gateway's URL for workloads, as written to Secrets; without a trailing slash.
    pub public_url: String,
    /// Registries that models may be pulled from.
    pub model_registries: Vec<ModelRegistry>,
    /// The leader lease.
    pub lease: Lease,
    /// How many users and keys, and how many models, are reconciled at once. Each reconcile may
    /// hold a database connection.
    pub concurrency: usize,
    /// How long running reconciles may take after a shutdown has begun.
    pub drain_timeout: Duration,
}

/// The leader lease, a `Lease` of `coordination.k8s.io/v1`. It is valid for 15 s and renewed every
/// 2 s. A leader that cannot renew it gives it up after 10 s.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The namespace of the `Lease`.
    pub namespace: String,
    /// The name of the `Lease`.
    pub name: String,
    /// The identity of this instance, which no other running instance may have. After a restart
    /// with the same identity the instance is the leader at once.
    pub identity: String,
}
