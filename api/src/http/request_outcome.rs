//! How a request ended.

use crate::config::Timeout;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// The response is complete.
    Complete,
    /// Paddock answered with an error, and the request did not reach Ollama.
    Refused,
    /// The client left before the end of the response.
    ClientGone,
    /// Ollama's response broke off.
    UpstreamIncomplete,
    /// Ollama responded with an error.
    UpstreamError,
    /// Ollama is unreachable.
    UpstreamUnavailable,
    /// A timeout has passed.
    UpstreamTimeout(Timeout),
    /// The principal lost the right to the response.
    Revoked,
    /// The server shut down.
    Shutdown,
}

impl RequestOutcome {
    /// The value in usage records, log and metrics.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Complete => "ok",
            Self::Refused => "refused",
            Self::ClientGone => "client_gone",
            Self::UpstreamIncomplete => "upstream_incomplete",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout(_) => "upstream_timeout",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
        }
    }

    /// The reason in the log, where the outcome does not say it.
    pub(crate) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::UpstreamTimeout(timeout) => Some(timeout.code()),
            _ => None,
        }
    }
}
