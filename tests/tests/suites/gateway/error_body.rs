//! Errors of the gateway, as clients of each dialect read them.

use anyhow::{Context as _, Result, ensure};
use paddock_ollama::Dialect;
use reqwest::RequestBuilder;
use serde_json::Value;

/// The error in a body, or in an event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorBody {
    pub(super) dialect: Dialect,
    pub(super) message: String,
    /// Only OpenAI's dialect has it.
    pub(super) code: Option<String>,
}

impl ErrorBody {
    /// Reads the error in a JSON text, in the dialect whose form it has.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let error = &json["error"];
        if let Some(message) = error.as_str() {
            return Ok(Self { dialect: Dialect::Ollama, message: message.to_owned(), code: None });
        }
        ensure!(error["type"].is_string(), "{text}");
        let message = error["message"].as_str().with_context(|| text.to_owned())?.to_owned();
        let dialect = if json["type"] == "error" { Dialect::Anthropic } else { Dialect::OpenAi };
        Ok(Self { dialect, message, code: error["code"].as_str().map(str::to_owned) })
    }

    /// Reads the error that ends a stream: its last line, or the data of its last event.
    pub(super) fn at_end_of(text: &str) -> Result<Self> {
        let last = text.trim_end().lines().last().with_context(|| text.to_owned())?;
        Self::parse(last.strip_prefix("data: ").unwrap_or(last))
    }
}

/// Sends a request, asserts that its answer is an error with this status, and returns the error.
pub(super) async fn refused(request: RequestBuilder, status: u16) -> Result<ErrorBody> {
    let answer = request.send().await?;
    let (url, got, text) = (answer.url().clone(), answer.status(), answer.text().await?);
    ensure!(got == status, "{url}: {got}, not {status}: {text}");
    ErrorBody::parse(&text).with_context(|| url.to_string())
}
