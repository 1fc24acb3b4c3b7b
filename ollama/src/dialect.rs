//! The three API dialects of Ollama's clients.

use crate::path::is_below;

/// The API that a client library expects, and so the form of its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Ollama's native API: `/api/*`.
    Ollama,
    /// OpenAI's API: `/v1/*`.
    OpenAi,
    /// Anthropic's API: `/v1/messages`.
    Anthropic,
}

/// Returns the dialect of a request path, or `None` if the path is outside Ollama's API.
#[must_use]
pub fn dialect_of(path: &str) -> Option<Dialect> {
    if path == "/" || is_below(path, "/api") {
        Some(Dialect::Ollama)
    } else if is_below(path, "/v1/messages") {
        Some(Dialect::Anthropic)
    } else if is_below(path, "/v1") {
        Some(Dialect::OpenAi)
    } else {
        None
    }
}
