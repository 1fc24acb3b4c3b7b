//! Paddock over HTTP: the management API, and the streaming gateway in front of Ollama.
//!
//! A request is dispatched in [`front`]: what Ollama's route table knows goes to [`gateway`], which answers in the
//! client's dialect; everything else goes to [`routes`], which answers problems as RFC 9457 says.

mod app;
mod authentication;
mod config;
mod connections;
mod cors;
pub mod export;
mod extract;
mod front;
mod gateway;
mod host;
pub mod limits;
mod openapi;
mod origin;
mod problem;
mod proxies;
mod readiness;
mod routes;
mod security;
mod serve;
mod shape;
mod sweep;
mod telemetry;
mod trace;
mod unique_keys;

pub use config::{Config, Connections, Timeouts};
pub use openapi::openapi;
pub use readiness::{Readiness, Report};
pub use serve::{Error, serve};
pub use telemetry::describe_metrics;
