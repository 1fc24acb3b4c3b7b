//! Ollama's protocol as a gateway and an operator need it: model names and the patterns that allow them, the one route
//! table, the strict scan of a request, the meter of an answer, the administrative client, and the progress of a pull.
//!
//! There is no HTTP server and no database here: the crate says what bytes mean, its callers say what happens to them.

pub mod answer;
pub mod client;
pub mod dialect;
pub mod endpoints;
mod frame;
mod json;
mod keys;
pub mod listing;
pub mod names;
pub mod patterns;
pub mod progress;
pub mod request;
mod sse;

pub use answer::{Meter, Outcome, Pieces, Usage};
pub use client::{Client, ClientError, PullError, PullEvent, PullStream, Show, Tag, Timeouts};
pub use dialect::{Dialect, dialect_of};
pub use endpoints::{Access, ENDPOINTS, Endpoint, Lookup, Operation, Refusal, lookup};
pub use keys::SAMPLING;
pub use listing::{filter_openai_models, filter_tags};
pub use names::{ModelName, NameError};
pub use patterns::{ModelPattern, ModelPatterns, any_matches, covers};
pub use progress::{Progress, PullProgress};
pub use request::{Edit, Kind, KnownKeys, Member, ScanError, Scanned, scan, splice};
