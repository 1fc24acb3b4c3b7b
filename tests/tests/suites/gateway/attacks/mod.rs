//! Attacks on the gateway: requests that the gateway, Ollama, or a proxy in front could read
//! differently, and clients that leave.

mod bodies;
mod cancellation;
mod json_differential;
mod large_bodies;
mod paths;
mod payloads;
mod raw_connection;
mod refused_bodies;
mod served_bodies;
mod smuggling;
mod spellings;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Whether a path is `parent` or below it.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Asserts that a body is an error in the dialect of this path. Outside of Ollama's API it may be a
/// problem of the management API, or an error of the gateway in any dialect: the one that the client
/// seems to mean.
fn assert_dialect(path: &str, body: &[u8]) -> Result<()> {
    let error: Value = serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(body).into_owned())?;
    let has_texts = |pointers: &[&str]| pointers.iter().all(|&at| error.pointer(at).is_some_and(Value::is_string));
    let is_ollama = has_texts(&["/error"]);
    let is_openai = has_texts(&["/error/message", "/error/type"]) && error["type"].is_null();
    let is_anthropic = has_texts(&["/error/message", "/error/type"]) && error["type"] == "error";
    let is_problem = has_texts(&["/type", "/title", "/detail"]) && error["status"].is_number();
    let is_right = if path == "/" || is_below(path, "/api") {
        is_ollama
    } else if is_below(path, "/v1/messages") {
        is_anthropic
    } else if is_below(path, "/v1") {
        is_openai
    } else {
        is_ollama || is_openai || is_anthropic || is_problem
    };
    ensure!(is_right, "not an error in the dialect of {path}: {error}");
    Ok(())
}
