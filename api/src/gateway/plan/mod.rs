//! The plan of a request: checks the body, and edits it for Ollama. The functions here are pure.

use bytes::Bytes;
use http::HeaderValue;
use paddock_accounts::access::Principal;
use paddock_ollama::{Dialect, Endpoint, ScanError, scan, splice};

use super::{
    conversation::{PromptHasher, PromptPrefix},
    error::gateway_error,
    model_access::{NamedModel, requested_model},
    shared_state::{Removed, refuse_web_search, remove_shared_state},
};
use crate::http::error::{ApiError, Kind};

/// A request that Ollama may see.
#[derive(Debug)]
pub(super) struct PlannedRequest {
    /// The model.
    pub(super) model: NamedModel,
    /// The body for Ollama: the client's bytes, edited only where a rule requires it.
    pub(super) body: Bytes,
    /// The size of the members that the model reads, in bytes.
    pub(super) prompt_bytes: usize,
    /// The beginnings of the prompt, if a backend is to be chosen by them.
    pub(super) prefix: Option<PromptPrefix>,
    /// The highest number of tokens that the response may have; `None` if the request sets no
    /// limit.
    pub(super) max_output_tokens: Option<u64>,
    /// Whether the response is a stream.
    pub(super) is_stream: bool,
    /// Whether the gateway added the request for usage. The gateway then removes the usage from
    /// the stream.
    pub(super) drop_usage: bool,
    /// The value of `X-Paddock-Ignored`, if members were removed.
    pub(super) ignored: Option<HeaderValue>,
    /// The removed members as metric labels.
    pub(super) ignored_labels: Vec<&'static str>,
}

/// Checks a request against the rules for its principal, and edits its body where a rule requires
/// it. `hasher` hashes the prompt, if a backend is to be chosen by it.
pub(super) fn plan(
    endpoint: &Endpoint,
    body: Bytes,
    principal: &Principal,
    hasher: Option<&PromptHasher>,
) -> Result<PlannedRequest, ApiError> {
    let Some(known_fields) = endpoint.known_fields else { return Err(ApiError::internal().with_code("no_keys")) };
    let scanned = scan(&body, known_fields).map_err(|error| unreadable(&error))?;
    let model = requested_model(&scanned, principal)?;
    let Removed { mut edits, header: ignored, labels: ignored_labels } =
        remove_shared_state(&body, &scanned, endpoint, principal)?;
    refuse_web_search(&scanned)?;
    let is_stream = endpoint.is_streaming(scanned.stream());
    // The other dialects always report usage.
    let has_usage_option = known_fields.top_level.contains(&"stream_options");
    let usage_request = if is_stream && has_usage_option { scanned.request_usage() } else { None };
    debug_assert!(!has_usage_option || endpoint.dialect == Dialect::OpenAi);
    let drop_usage = usage_request.is_some();
    edits.extend(usage_request);
    // An insertion sorts before a removal with the same start.
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let spliced = (!edits.is_empty()).then(|| splice(&body, &edits));
    let prefix = hasher.map(|hasher| hasher.prefix(principal.user_id, &model.name, scanned.conversation()));
    let (prompt_bytes, max_output_tokens) = (scanned.prompt_bytes(), scanned.max_output_tokens(endpoint));
    Ok(PlannedRequest {
        model,
        body: spliced.unwrap_or(body),
        prompt_bytes,
        prefix,
        max_output_tokens,
        is_stream,
        drop_usage,
        ignored,
        ignored_labels,
    })
}

pub(super) fn unreadable(error: &ScanError) -> ApiError {
    gateway_error(Kind::Malformed, "invalid_request", error.to_string())
}

#[cfg(test)]
mod tests;
