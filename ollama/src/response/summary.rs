//! The result of metering a response.

use bytes::Bytes;
use http::StatusCode;

use super::token_counts::Usage;
use crate::dialect::Dialect;

/// The facts about a response that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseSummary {
    /// The terminal marker has passed. If false, the response was truncated or reported an error.
    pub is_complete: bool,
    /// The error that the response itself reported, in Ollama's words.
    pub error: Option<String>,
    /// The token counts.
    pub usage: Usage,
    pub(super) dialect: Dialect,
    pub(super) end: EndPosition,
}

/// Where a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndPosition {
    /// The response is a single object and not a stream, so nothing can be appended.
    SingleObject,
    /// The stream ended between two frames.
    BetweenFrames,
    /// The stream ended inside a frame.
    InsideFrame,
}

impl ResponseSummary {
    /// Returns the error event to append to a truncated stream, so that the client does not take it
    /// for complete.
    ///
    /// Returns `None` if the response is complete or has reported an error itself. Also returns
    /// `None` if the response is not a stream; the caller must then close the connection.
    #[must_use]
    pub fn error_event(&self, status: StatusCode, message: &str, code: Option<&str>) -> Option<Bytes> {
        if self.is_complete || self.error.is_some() || self.end == EndPosition::SingleObject {
            return None;
        }
        let frame = self.dialect.error_frame(status, message, code);
        if self.end == EndPosition::BetweenFrames {
            return Some(frame);
        }
        // Ends the truncated frame first. Otherwise the client reads the error as its continuation.
        let frame_end: &[u8] = if self.dialect == Dialect::Ollama { b"\n" } else { b"\n\n" };
        Some([frame_end, &frame].concat().into())
    }
}
