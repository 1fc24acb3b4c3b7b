//! Strict scan of a request body.
//!
//! Ollama parses JSON as Go does: it ignores the case of keys, folds some Unicode letters into
//! ASCII, takes the last of several equal keys, and ignores data after the document. A gateway that
//! parsed differently would authorize one model while Ollama runs another. The scan therefore
//! rejects every ambiguous request. The bytes of all others reach Ollama unchanged, except for the
//! edits that the gateway applies with [`splice`].

mod content;
mod edits;
mod error;
mod json;
pub(crate) mod known_fields;
mod output_limit;
mod scan;
mod splice;

pub use error::ScanError;
pub use json::ValueKind;
pub use known_fields::{KnownFields, SAMPLING_OPTIONS};
pub use scan::{Member, Scanned, scan};
pub use splice::{Edit, splice};

#[cfg(test)]
mod tests;
