//! The Kubernetes operator: reconciles `ApiUser`, `ApiKey` and `OllamaModel` objects into users,
//! issued keys and pulled models.
//!
//! Every kind has the same stages: validate (pure), plan (pure), apply, status. `reconciler`
//! wraps these stages for all kinds. Imports run one way: `run`, then `user`, `key` and `model`,
//! then `reconciler`, then `context`, then everything else.

mod backoff;
mod client;
mod config;
mod context;
mod database;
mod error;
mod failpoint;
mod key;
mod leader_election;
mod model;
mod narrowing;
mod object;
mod readiness;
mod reconciler;
mod run;
mod status;
mod time;
mod user;

pub use client::{Cluster, load_kube_config};
pub use config::{Config, Lease};
pub use error::Error;
pub use readiness::Readiness;
pub use run::run;
