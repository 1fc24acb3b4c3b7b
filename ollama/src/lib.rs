//! Ollama's wire protocol, as the gateway and the operator use it.
//!
//! | Module | Purpose |
//! |---|---|
//! | `endpoints` | the route table: which paths the gateway serves, and the error for all others |
//! | `dialect`, `error_body` | the dialects Ollama, OpenAI and Anthropic, and the error bodies of each |
//! | `request` | strict scan of a request body, and edits of byte ranges |
//! | `response` | meter of a response: completeness, token counts, removal of the usage chunk |
//! | `listing` | filters for the lists of models |
//! | `names`, `patterns` | model names, and the patterns that allow or deny them |
//! | `backend` | where an Ollama server is, and how to connect to it |
//! | `discovery` | the backends of a list or of a DNS name |
//! | `registry` | the registries that models may be pulled from |
//! | `client` | administrative client: lists, pulls with progress, deletes |
//! | `fuzz_properties` | properties of the parsers, for tests and fuzz targets only |
//!
//! The crate contains no HTTP server and no database. It interprets bytes; its callers act on the
//! result.

mod backend;
mod client;
mod dialect;
mod discovery;
mod endpoints;
mod error_body;
#[cfg(any(test, fuzzing))]
pub mod fuzz_properties;
mod listing;
mod names;
mod path;
mod patterns;
mod registry;
mod request;
mod response;

pub use backend::{Backend, BackendError};
pub use client::{
    Client, ClientError, LoadedModel, Progress, PullError, PullEvent, PullProgress, PullStep, PullSteps, PullStream,
    Tag, Timeouts,
};
pub use dialect::{Dialect, dialect_of};
pub use discovery::{BackendSource, PerBackend};
pub use endpoints::{
    Access, ENDPOINTS, Endpoint, FORBIDDEN_PATHS, Lookup, Operation, RouteError, RouteErrorKind, UNSERVED_PATHS, lookup,
};
pub use listing::{filter_openai_models, filter_tags, find_openai_model, hide_prompts, merge_lists};
pub use names::{ModelName, NameError, Part};
pub use patterns::{ModelPattern, allows, covers, only_denies, overlap};
pub use registry::{InvalidRegistry, ModelRegistry, RegistryError, check_registry};
pub use request::{Edit, KnownFields, Member, SAMPLING_OPTIONS, ScanError, Scanned, ValueKind, scan, splice};
pub use response::{Chunks, METERED_FIELDS, Meter, ResponseSummary, UNMETERED_FIELDS, Usage};
