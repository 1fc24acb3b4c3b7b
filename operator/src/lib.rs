//! The Kubernetes operator: it turns `ApiUser`, `ApiKey` and `OllamaModel` objects into users, issued keys and pulled
//! models.
//!
//! Every controller goes the same way: fetch, validate (pure), plan (pure), apply, status. [`frame`] has what surrounds
//! that for all of them.

mod access;
mod author;
mod backoff;
mod conditions;
mod config;
mod error;
mod events;
mod failpoint;
mod fence;
mod frame;
mod key;
mod model;
mod object;
mod readiness;
mod run;
mod shared;
mod user;

pub use access::{Cluster, access, context_name};
pub use config::{Config, InvalidRegistry, Lease, ModelRegistry};
pub use error::Error;
pub use readiness::Readiness;
pub use run::run;
