//! Paddock over HTTP: the management API, and the streaming gateway in front of Ollama.
//!
//! A request passes through these modules: `server` accepts the connection and dispatches the
//! request. `gateway` serves the paths of Ollama's route table and answers in the client's dialect;
//! `routes` serves everything else and answers errors as RFC 9457 problems. Both authenticate
//! through `auth` and count through [`rate_limit`]. `models` pulls and deletes models for both.
//! `http` holds what every request needs. `openapi` builds the document of all operations. `ui` serves
//! the web UI.
//!
//! Imports point down only: `server`, `openapi`, `routes`, `ui`, `app`, `gateway`, `models`, `auth`, `http`,
//! `rate_limit`; `config` and `readiness` lie below all of them.

mod app;
mod auth;
mod config;
mod gateway;
mod http;
mod models;
mod openapi;
pub mod rate_limit;
mod readiness;
mod routes;
mod server;
mod ui;

pub use config::{Config, ConnectionLimits, QueueLimits, Timeouts, WebUi};
pub use http::{
    export::ExportFormat,
    hop_by_hop::{forwarded_request_headers, forwarded_response_headers},
    host::{host_of, is_local},
    metrics::describe_metrics,
    spans::enable_traces,
};
pub use openapi::openapi;
pub use readiness::{Readiness, Report};
pub use routes::audit::AuditEncoder;
pub use server::{Error, serve};
pub use ui::has_ui;
