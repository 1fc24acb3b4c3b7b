//! The Kubernetes operator: reconciles `ApiUser`, `ApiKey` and `OllamaModel` objects into users,
//! issued keys and pulled models.
//!
//! Every kind has the same stages: validate (pure), plan (pure), apply, status. `reconciler`
//! wraps these stages for all kinds. Imports run one way: `run`, then `watch`, `user`, `key` and
//! `model`, then `reconciler`, then `context`, then everything else.

mod access;
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
#[cfg(test)]
mod tests;
mod time;
mod user;
mod watch;
mod watch_activity;

pub use client::{Cluster, load_kube_config};
pub use config::{Config, Lease, OnLostLease};
pub use error::Error;
pub use readiness::Readiness;
pub use run::run;
