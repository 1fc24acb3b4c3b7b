//! Why a pull failed, in plain words, and whether another attempt may succeed.

use http::StatusCode;
use paddock_ollama::{ClientError, PullError};

/// The longest text of Ollama in a reason, in characters.
const MAX_TEXT: usize = 500;

/// Whether the same attempt may succeed soon: Ollama restarts, or the connection to it broke.
pub(super) fn is_transient(error: &PullError) -> bool {
    match error {
        PullError::Truncated | PullError::Client(ClientError::Unreachable(_) | ClientError::Timeout) => true,
        PullError::Client(ClientError::Status { status, .. }) => {
            matches!(*status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        }
        _ => false,
    }
}

/// Describes the failure for the admin that reads the job.
pub(super) fn reason(error: &PullError, registry: &str) -> String {
    match error {
        PullError::Failed(text) if is_missing(text) => format!("{registry} does not have this model"),
        PullError::Failed(text) => format!("Ollama reported: {}", one_line(text)),
        PullError::Truncated => "Ollama ended the pull before it was complete".to_owned(),
        PullError::Client(ClientError::Status { status, message }) => {
            format!("Ollama answered {status}: {}", one_line(message))
        }
        other => other.to_string(),
    }
}

/// Whether Ollama says that the registry has no such manifest.
fn is_missing(text: &str) -> bool {
    text.contains("file does not exist") || text.contains("manifest unknown")
}

/// Bounds a text of Ollama, and replaces its control characters.
fn one_line(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_is_described_by_its_registry() {
        let error = PullError::Failed("pull model manifest: file does not exist".to_owned());
        assert_eq!(reason(&error, "registry.ollama.ai"), "registry.ollama.ai does not have this model");
        assert!(!is_transient(&error));
    }

    #[test]
    fn a_text_of_ollama_becomes_one_bounded_line() {
        let error = PullError::Failed(format!("a\nb{}", "c".repeat(1_000)));
        let reason = reason(&error, "registry.ollama.ai");
        assert!(reason.starts_with("Ollama reported: a b") && reason.len() < 600, "{reason}");
    }
}
