//! The response to a pull: a stream of JSON lines, parsed into events.

mod progress;
mod steps;

use std::time::Duration;

use bytes::BytesMut;
use futures_util::{
    Stream,
    stream::{self, BoxStream},
};
use memchr::memchr;
use reqwest::Response;
use serde::Deserialize;
use tokio::time::timeout;

pub use progress::{Progress, PullProgress};
pub use steps::{PullStep, PullSteps};

use super::error::ClientError;

/// Maximum length of a line, in bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Why a pull failed. Ollama keeps the received data, so that a new attempt resumes there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Ollama reported an error, in a line of a response with status 200.
    #[error("{0}")]
    Failed(String),
    /// The response ended before Ollama reported success.
    #[error("the pull ended before it was complete")]
    Truncated,
    /// The request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// An event of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// Ollama's current action, such as `pulling manifest` or `verifying sha256 digest`.
    Status(String),
    /// The progress of a layer.
    Layer {
        /// The digest of the layer, `sha256:...`.
        digest: String,
        /// Bytes received.
        completed: u64,
        /// Size of the layer, in bytes.
        total: u64,
    },
    /// The model is present. A pull has succeeded only with this event.
    Success,
}

/// The events of a pull.
pub type PullStream = BoxStream<'static, Result<PullEvent, PullError>>;

/// Reads the response of a pull. Each wait for data fails after `idle_timeout`.
pub(super) fn events(response: Response, idle_timeout: Duration) -> impl Stream<Item = Result<PullEvent, PullError>> {
    let lines = Lines { response, buffer: BytesMut::new(), idle_timeout };
    stream::unfold(Some(lines), async |lines| {
        let mut lines = lines?;
        let event = lines.next_event().await;
        let continues = matches!(event, Ok(PullEvent::Status(_) | PullEvent::Layer { .. }));
        Some((event, continues.then_some(lines)))
    })
}

struct Lines {
    response: Response,
    buffer: BytesMut,
    idle_timeout: Duration,
}

impl Lines {
    async fn next_event(&mut self) -> Result<PullEvent, PullError> {
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end + 1);
                if !line.trim_ascii().is_empty() {
                    return parse_event(&line);
                }
                continue;
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(ClientError::Protocol("a line is too long".to_owned()).into());
            }
            let chunk = timeout(self.idle_timeout, self.response.chunk()).await.map_err(|_| ClientError::Timeout)?;
            match chunk.map_err(ClientError::from_transport)? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                // The last line may lack its line feed. A truncated line is not valid JSON.
                None => match parse_event(&self.buffer.split()) {
                    Err(PullError::Client(_)) => return Err(PullError::Truncated),
                    event => return event,
                },
            }
        }
    }
}

#[derive(Deserialize)]
struct Line {
    error: Option<String>,
    #[serde(default)]
    status: String,
    digest: Option<String>,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    completed: u64,
}

fn parse_event(line: &[u8]) -> Result<PullEvent, PullError> {
    let line: Line = serde_json::from_slice(line).map_err(|error| ClientError::Protocol(error.to_string()))?;
    Ok(match line {
        Line { error: Some(error), .. } => return Err(PullError::Failed(error)),
        Line { digest: Some(digest), completed, total, .. } => PullEvent::Layer { digest, completed, total },
        Line { status, .. } if status == "success" => PullEvent::Success,
        Line { status, .. } => PullEvent::Status(status),
    })
}
