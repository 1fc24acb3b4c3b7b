//! Model names. Every spelling that Ollama accepts for one model has the same canonical form, and
//! only canonical forms are compared.
//!
//! The rules are those of Ollama 0.32 (`types/model/name.go` and `internal/modelref`). A spelling
//! is rejected if versions of Ollama disagree on its meaning. This ensures that the authorized
//! model is the one that runs.

mod model_name;
mod parts;

pub use model_name::ModelName;
pub(crate) use parts::{DEFAULT_NAMESPACE, DEFAULT_REGISTRY, NameParts, PartOffsets, join};
pub use parts::{NameError, Part};

#[cfg(test)]
mod tests;
