//! The three dialects clients speak to Ollama, and how an error is written in each.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::endpoints::is_below;

/// A client library's idea of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Ollama's own: `/api/*`.
    Ollama,
    /// OpenAI's: `/v1/*`.
    OpenAi,
    /// Anthropic's: `/v1/messages`.
    Anthropic,
}

/// The dialect a path is written in; `None` if the path is not one of Ollama's.
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

#[derive(Serialize)]
struct OllamaError<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    error: OpenAiDetail<'a>,
}

#[derive(Serialize)]
struct OpenAiDetail<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    error: AnthropicDetail<'a>,
}

#[derive(Serialize)]
struct AnthropicDetail<'a> {
    r#type: &'a str,
    message: &'a str,
}

impl Dialect {
    /// The JSON body of an error answer. `code` is a machine's word for the cause (`model_not_found`); only OpenAI's
    /// dialect has a place for it. The body's content type is `application/json`.
    #[must_use]
    pub fn error_body(self, status: StatusCode, message: &str, code: Option<&str>) -> Bytes {
        let kind = self.error_type(status);
        let written = match self {
            Self::Ollama => serde_json::to_vec(&OllamaError { error: message }),
            Self::OpenAi => {
                let error = OpenAiDetail { message, r#type: kind, param: None, code };
                serde_json::to_vec(&OpenAiError { error })
            }
            Self::Anthropic => {
                let error = AnthropicDetail { r#type: kind, message };
                serde_json::to_vec(&AnthropicError { r#type: "error", error })
            }
        };
        written.expect("a struct of strings is always JSON").into()
    }

    /// The event that tells of an error in a stream whose status has already been sent: a line of JSON, or an SSE event.
    ///
    /// It must begin at the start of a line; [`crate::Outcome::error_event`] sees to that.
    #[must_use]
    pub fn stream_error(self, status: StatusCode, message: &str, code: Option<&str>) -> Bytes {
        let body = self.error_body(status, message, code);
        let (before, after): (&[u8], &[u8]) = match self {
            Self::Ollama => (b"", b"\n"),
            Self::OpenAi => (b"data: ", b"\n\n"),
            Self::Anthropic => (b"event: error\ndata: ", b"\n\n"),
        };
        [before, &body, after].concat().into()
    }

    /// The dialect's word for a kind of error: Ollama's own words where it answers in this dialect, the vendor's elsewhere.
    const fn error_type(self, status: StatusCode) -> &'static str {
        match (status.as_u16(), self) {
            (413, Self::Anthropic) => "request_too_large",
            (503, Self::Anthropic) => "overloaded_error",
            (400 | 405 | 413 | 415 | 422, _) => "invalid_request_error",
            (401, _) => "authentication_error",
            (403, _) => "permission_error",
            (404, _) => "not_found_error",
            (429, _) => "rate_limit_error",
            _ => "api_error",
        }
    }
}
