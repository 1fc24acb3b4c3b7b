//! Error bodies and error frames in the dialect of the client.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::dialect::Dialect;

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
    /// Returns the body of an error response, of content type `application/json`.
    ///
    /// `code` identifies the cause for programs, such as `model_not_found`. Only the OpenAI dialect
    /// has a field for it.
    #[must_use]
    pub fn error_body(self, status: StatusCode, message: &str, code: Option<&str>) -> Bytes {
        let error_type = self.error_type(status);
        let body = match self {
            Self::Ollama => serde_json::to_vec(&OllamaError { error: message }),
            Self::OpenAi => {
                let error = OpenAiDetail { message, r#type: error_type, param: None, code };
                serde_json::to_vec(&OpenAiError { error })
            }
            Self::Anthropic => {
                let error = AnthropicDetail { r#type: error_type, message };
                serde_json::to_vec(&AnthropicError { r#type: "error", error })
            }
        };
        body.expect("a struct of strings is always JSON").into()
    }

    /// Returns the frame that reports an error inside a stream: a line of JSON, or a server-sent
    /// event.
    ///
    /// The frame must begin at the start of a line. `ResponseSummary::error_event` ensures that.
    pub(crate) fn error_frame(self, status: StatusCode, message: &str, code: Option<&str>) -> Bytes {
        let body = self.error_body(status, message, code);
        let (prefix, suffix): (&[u8], &[u8]) = match self {
            Self::Ollama => (b"", b"\n"),
            Self::OpenAi => (b"data: ", b"\n\n"),
            Self::Anthropic => (b"event: error\ndata: ", b"\n\n"),
        };
        [prefix, &body, suffix].concat().into()
    }

    /// Returns the error type that Ollama sends in this dialect, or the vendor's type if Ollama
    /// sends none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_body_has_the_form_of_each_dialect() {
        let body = |dialect: Dialect| {
            let body = dialect.error_body(StatusCode::NOT_FOUND, "model \"x\" not found", Some("model_not_found"));
            String::from_utf8(body.to_vec()).expect("UTF-8")
        };
        insta::assert_snapshot!(body(Dialect::Ollama), @r#"{"error":"model \"x\" not found"}"#);
        insta::assert_snapshot!(body(Dialect::OpenAi), @r#"{"error":{"message":"model \"x\" not found","type":"not_found_error","param":null,"code":"model_not_found"}}"#);
        insta::assert_snapshot!(body(Dialect::Anthropic), @r#"{"type":"error","error":{"type":"not_found_error","message":"model \"x\" not found"}}"#);
    }

    #[test]
    fn error_frame_has_the_form_of_each_dialect() {
        let frame = |dialect: Dialect| {
            let frame = dialect.error_frame(StatusCode::BAD_GATEWAY, "a\nb", None);
            String::from_utf8(frame.to_vec()).expect("UTF-8")
        };
        assert_eq!(frame(Dialect::Ollama), "{\"error\":\"a\\nb\"}\n");
        assert_eq!(
            frame(Dialect::OpenAi),
            "data: {\"error\":{\"message\":\"a\\nb\",\"type\":\"api_error\",\"param\":null,\"code\":null}}\n\n"
        );
        assert_eq!(
            frame(Dialect::Anthropic),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"a\\nb\"}}\n\n"
        );
    }
}
