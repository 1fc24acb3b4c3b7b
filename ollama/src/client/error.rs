//! The error of a request to Ollama.

use http::StatusCode;

/// Why a request to Ollama failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The HTTP client could not be created.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// The connection failed or broke.
    #[error("Ollama cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// A timeout elapsed before the response was complete.
    #[error("Ollama did not answer in time")]
    Timeout,
    /// The response has an error status.
    #[error("Ollama answered {status}: {message}")]
    Status {
        /// The status.
        status: StatusCode,
        /// Ollama's message.
        message: String,
    },
    /// The Ollama is too old to be used.
    #[error("Ollama {version} is older than {minimum}; upgrade it")]
    Outdated {
        /// Its version.
        version: String,
        /// The oldest version that is used.
        minimum: &'static str,
    },
    /// The response does not have the expected form.
    #[error("Ollama's response was not understood: {0}")]
    Protocol(String),
}

impl ClientError {
    /// Converts an error of sending a request or of receiving a response.
    pub(super) fn from_transport(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Unreachable(error) }
    }
}
