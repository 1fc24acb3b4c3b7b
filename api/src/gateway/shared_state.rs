//! Removes members that change the state that all clients share: which models are in memory, and
//! with which options Ollama loads them. Removes prompt templates that can use all of Ollama's memory
//! or never end, too.
//!
//! Many clients always send these members. The gateway therefore removes and reports them, and does
//! not refuse the request. The functions here are pure.

use std::fmt::Write as _;

use http::HeaderValue;
use paddock_accounts::{access::Principal, types::Role};
use paddock_ollama::{Edit, Endpoint, Member, SAMPLING_OPTIONS, Scanned, ValueKind};

use super::{error::gateway_error, prompt_template};
use crate::http::{
    error::{ApiError, Kind},
    redact::contains_key,
};

/// The member that keeps a model in memory after the request.
const KEEP_ALIVE: &str = "keep_alive";
/// The program that Ollama executes to make the prompt.
const TEMPLATE: &str = "template";
/// The object of options.
const OPTIONS: &str = "options";
/// The options that make Ollama load the model anew, for metrics.
const LOAD_OPTIONS: [&str; 9] =
    ["num_ctx", "num_batch", "num_gpu", "num_thread", "use_mmap", "use_mlock", "main_gpu", "draft_num_predict", "numa"];
/// How many removed names one response reports.
const MAX_REPORTED: usize = 16;
/// The longest option name that is reported, in bytes.
const MAX_NAME: usize = 40;

/// The members that are removed from a request.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// The edits that remove the members.
    pub(super) edits: Vec<Edit>,
    /// The names, for the response header; `None` if no member is removed.
    pub(super) header: Option<HeaderValue>,
    /// The names as metric labels, of a closed set.
    pub(super) labels: Vec<&'static str>,
}

/// Plans the removal of the members that change shared state. An admin may send them.
///
/// Fails if the request only loads or unloads a model, because a request to unload would load the
/// model if it lost its `keep_alive`.
pub(super) fn remove_shared_state(
    body: &[u8],
    scanned: &Scanned<'_>,
    endpoint: &Endpoint,
    principal: &Principal,
) -> Result<Removed, ApiError> {
    if principal.roles.has(Role::Admin) {
        return Ok(Removed::default());
    }
    if scanned.members().iter().any(is_keep_alive) && scanned.is_load_only(endpoint) {
        let reason = "only admins may load and unload models; declare an OllamaModel object to keep a model loaded";
        return Err(gateway_error(Kind::Forbidden, "load_not_allowed", reason));
    }
    let is_closed_member = |member: &Member<'_>| is_keep_alive(member) || is_closed_template(member, body);
    let mut edits = scanned.remove_members(is_closed_member);
    edits.extend(scanned.remove_members_of(OPTIONS, is_closed_option));
    let members = scanned.members().iter().filter(|member| is_closed_member(member));
    let options = scanned.members_of(OPTIONS).iter().filter(|member| is_closed_option(member));
    let members: Vec<_> = members.map(|member| if is_keep_alive(member) { KEEP_ALIVE } else { TEMPLATE }).collect();
    let options: Vec<_> = options.collect();
    let labels = members.iter().copied().chain(options.iter().map(|member| option_label(&member.key)));
    Ok(Removed { edits, header: header_of(&members, &options), labels: labels.collect() })
}

/// Refuses tools for which Ollama calls a service on the internet.
pub(super) fn refuse_web_search(scanned: &Scanned<'_>) -> Result<(), ApiError> {
    if !scanned.searches_web() {
        return Ok(());
    }
    let reason = "the tool web_search sends the conversation out of this Ollama, and is not served; remove it";
    Err(gateway_error(Kind::Forbidden, "web_search", reason))
}

/// Whether a member keeps the model in memory. Null counts as absent.
fn is_keep_alive(member: &Member<'_>) -> bool {
    member.key == KEEP_ALIVE && member.kind != ValueKind::Null
}

/// Whether a member is a template that must not reach Ollama. Null counts as absent.
fn is_closed_template(member: &Member<'_>, body: &[u8]) -> bool {
    if member.key != TEMPLATE || member.kind == ValueKind::Null {
        return false;
    }
    let template = body.get(member.value_span.clone()).and_then(|value| serde_json::from_slice::<String>(value).ok());
    !template.is_some_and(|template| prompt_template::is_harmless(&template, body.len()))
}

/// Whether an option may change state that clients share: every option except the sampling options,
/// so unknown options too. Null counts as absent.
fn is_closed_option(member: &Member<'_>) -> bool {
    member.kind != ValueKind::Null && !SAMPLING_OPTIONS.contains(&&*member.key)
}

fn option_label(key: &str) -> &'static str {
    LOAD_OPTIONS.into_iter().find(|option| *option == key).unwrap_or("other")
}

/// Returns the value of `X-Paddock-Ignored`: `keep_alive, options.num_ctx`.
fn header_of(members: &[&'static str], options: &[&Member<'_>]) -> Option<HeaderValue> {
    let mut text = members.join(", ");
    for (index, option) in options.iter().enumerate() {
        let comma = if text.is_empty() { "" } else { ", " };
        if index == MAX_REPORTED {
            let _ = write!(text, "{comma}{} more", options.len() - index);
            break;
        }
        let _ = write!(text, "{comma}{OPTIONS}.{}", reported_name(&option.key));
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// Returns an option's name if it is valid in a header and does not look like an API key.
fn reported_name(key: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_shown = key.len() <= MAX_NAME && key.bytes().all(is_plain) && !contains_key(key);
    if is_shown { key } else { "(another option)" }
}
