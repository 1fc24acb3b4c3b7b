//! What a request may ask of Ollama, decided on its bytes alone. The functions here are pure.

use std::borrow::Cow;

use bytes::Bytes;
use paddock_accounts::{access::Principal, types::Role};
use paddock_ollama::{
    AllowList, Dialect, Edit, Endpoint, Member, ModelName, SAMPLING_OPTIONS, ScanError, Scanned, ValueKind, scan,
    splice,
};

use super::error::gateway_error;
use crate::http::error::{ApiError, Kind};

/// The member that keeps a model in memory after the request, which concerns all users.
const KEEP_ALIVE: &str = "keep_alive";

/// A request that Ollama may see.
#[derive(Debug)]
pub(super) struct AuthorizedRequest {
    /// The model, in canonical form.
    pub(super) model: ModelName,
    /// The model as the client wrote it.
    pub(super) written: String,
    /// The body for Ollama: the client's bytes, edited only where a rule requires it.
    pub(super) body: Bytes,
    /// Whether the response is a stream.
    pub(super) is_stream: bool,
    /// Whether the gateway added the request for usage. The client must not see that part of the
    /// stream.
    pub(super) drop_usage: bool,
}

/// Checks a request against the rules for its principal, and edits its body where a rule requires
/// it.
pub(super) fn plan(endpoint: &Endpoint, body: Bytes, principal: &Principal) -> Result<AuthorizedRequest, ApiError> {
    let Some(known_fields) = endpoint.known_fields else { return Err(ApiError::internal().with_code("no_keys")) };
    let scanned = scan(&body, known_fields).map_err(|error| unreadable(&error))?;
    let written = model_name(&scanned)?.to_owned();
    let model = ModelName::parse(&written)
        .map_err(|error| gateway_error(Kind::Malformed, "invalid_model_name", error.to_string()))?;
    if model.is_cloud() {
        return Err(remote());
    }
    if !allows(principal, &model) {
        return Err(not_found(&written));
    }
    let is_stream = endpoint.is_streaming(scanned.stream());
    let mut edits: Vec<Edit> = Vec::new();
    if !principal.roles.has(Role::Admin) {
        check_options(&scanned)?;
        edits.extend(remove_member(scanned.members(), KEEP_ALIVE));
    }
    let usage_request = if is_stream && endpoint.dialect == Dialect::OpenAi { scanned.request_usage() } else { None };
    let drop_usage = usage_request.is_some();
    edits.extend(usage_request);
    // An insertion comes before a removal that begins at the same place.
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let spliced = (!edits.is_empty()).then(|| splice(&body, &edits));
    Ok(AuthorizedRequest { model, written, body: spliced.unwrap_or(body), is_stream, drop_usage })
}

/// Whether the allow lists of both the user and the key contain a model.
pub(super) fn allows(principal: &Principal, model: &ModelName) -> bool {
    principal.allow_lists().all(|list| {
        let patterns: Vec<String> = list.iter().map(str::to_owned).collect();
        AllowList(Some(&patterns)).allows(model)
    })
}

/// The error for a model that is missing, and for one that is not allowed, in Ollama's own words.
pub(super) fn not_found(written: &str) -> ApiError {
    gateway_error(Kind::NotFound, "model_not_found", format!("model '{}' not found", truncated(written)))
}

/// The error for a model that Ollama would run on a remote host.
pub(super) fn remote() -> ApiError {
    gateway_error(Kind::Forbidden, "remote_model", "models that run outside this Ollama are not served")
}

/// Truncates a name, for an error message.
fn truncated(name: &str) -> Cow<'_, str> {
    const MAX_LENGTH: usize = 200;
    match name.char_indices().nth(MAX_LENGTH) {
        Some((end, _)) => Cow::Owned(format!("{}...", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

fn unreadable(error: &ScanError) -> ApiError {
    gateway_error(Kind::Malformed, "invalid_request", error.to_string())
}

/// Returns the model's name: `model`, or `name` where the endpoint accepts it. Two different names
/// are an error.
fn model_name<'a>(scanned: &'a Scanned<'_>) -> Result<&'a str, ApiError> {
    let names = [scanned.model(), scanned.name()];
    let mut given = names.into_iter().flatten().filter(|name| !name.is_empty());
    match (given.next(), given.next()) {
        (None, _) => Err(gateway_error(Kind::Malformed, "invalid_model_name", "model is required")),
        (Some(name), None) => Ok(name),
        (Some(model), Some(name)) if model == name => Ok(model),
        (Some(_), Some(_)) => {
            let reason = "model and name are two different models";
            Err(gateway_error(Kind::Malformed, "invalid_model_name", reason))
        }
    }
}

/// Refuses every option that is not about sampling: the others change the loaded model for all
/// users, and so may unknown options of a later Ollama. Null counts as absent.
fn check_options(scanned: &Scanned<'_>) -> Result<(), ApiError> {
    let closed = |member: &&Member<'_>| member.kind != ValueKind::Null && !SAMPLING_OPTIONS.contains(&&*member.key);
    match scanned.members_of("options").iter().find(closed) {
        None => Ok(()),
        Some(member) => {
            let reason = format!(
                "the option {:?} is not open here, as it may change the model for everybody; open are: {}",
                truncated(&member.key),
                SAMPLING_OPTIONS.join(", ")
            );
            Err(gateway_error(Kind::Malformed, "option_not_allowed", reason))
        }
    }
}

/// Returns the edit that removes a member, and one comma with it.
fn remove_member(members: &[Member<'_>], key: &str) -> Option<Edit> {
    let at = members.iter().position(|member| member.key == key)?;
    let start = match at.checked_sub(1) {
        Some(before) => members[before].span.end,
        None => members[at].span.start,
    };
    let end = match members.get(at + 1) {
        Some(next) if at == 0 => next.span.start,
        _ => members[at].span.end,
    };
    Some(Edit { span: start..end, replacement: Cow::Borrowed("") })
}

#[cfg(test)]
mod tests {
    use paddock_accounts::{
        CredentialId, UserId,
        access::AuthMethod,
        types::{Email, Limits, ModelPatterns as Stored, Scopes},
    };
    use paddock_ollama::{Lookup, lookup};
    use rstest::rstest;

    use super::*;

    fn caller(role: Role, users: Option<&[&str]>, keys: Option<&[&str]>) -> Principal {
        let stored = |list: &[&str]| list.iter().copied().collect::<Stored>();
        Principal {
            user_id: UserId(1),
            email: Email::parse("ada@example.com").unwrap(),
            roles: [role].into_iter().collect(),
            via: AuthMethod::Key {
                credential_id: CredentialId(1),
                key_id: "0123456789".into(),
                label: "api-key".into(),
                scopes: Scopes::default_for_keys(),
                models: keys.map(stored),
                limits: Limits::default(),
                expires_at: None,
            },
            models: users.map(stored),
            limits: Limits::default(),
        }
    }

    fn endpoint(path: &str) -> &'static Endpoint {
        match lookup(&http::Method::POST, path) {
            Lookup::Served(endpoint) => endpoint,
            other => panic!("{other:?}"),
        }
    }

    fn decide(path: &str, body: &str, caller: &Principal) -> Result<AuthorizedRequest, ApiError> {
        plan(endpoint(path), Bytes::copy_from_slice(body.as_bytes()), caller)
    }

    fn text(plan: &AuthorizedRequest) -> &str {
        str::from_utf8(&plan.body).unwrap()
    }

    #[test]
    fn bytes_are_forwarded_unchanged_and_without_a_copy() {
        let body = Bytes::from_static(b" {\"messages\" : [ ],\"model\":\"SmolLM2:135m\", \"x\":1e0 }\n");
        let plan = plan(endpoint("/api/chat"), body.clone(), &caller(Role::User, None, None)).unwrap();
        assert_eq!(plan.body.as_ptr(), body.as_ptr());
        assert_eq!(plan.model.as_str(), "registry.ollama.ai/library/smollm2:135m");
        assert!(plan.is_stream && !plan.drop_usage);
    }

    #[rstest]
    #[case::first(r#"{"keep_alive":-1,"model":"m"}"#, r#"{"model":"m"}"#)]
    #[case::last(r#"{"model":"m","keep_alive":"5m"}"#, r#"{"model":"m"}"#)]
    #[case::between(r#"{"model":"m", "keep_alive":0 ,"stream":false}"#, r#"{"model":"m" ,"stream":false}"#)]
    fn only_admins_may_set_keep_alive(#[case] sent: &str, #[case] forwarded: &str) {
        assert_eq!(text(&decide("/api/chat", sent, &caller(Role::User, None, None)).unwrap()), forwarded);
        assert_eq!(text(&decide("/api/chat", sent, &caller(Role::Admin, None, None)).unwrap()), sent);
    }

    #[rstest]
    #[case(r#"{"model":"m","options":{"temperature":0,"num_ctx":8192}}"#, false)]
    #[case(r#"{"model":"m","options":{"temperature":0,"num_ctx":null}}"#, true)]
    #[case(r#"{"model":"m","options":{"temperature":0,"mirostat":1}}"#, true)]
    #[case(r#"{"model":"m","options":{"temperature":0,"use_mlock":true}}"#, false)]
    fn only_admins_may_set_options_that_others_share(#[case] body: &str, #[case] allowed: bool) {
        assert_eq!(decide("/api/generate", body, &caller(Role::User, None, None)).is_ok(), allowed);
        assert!(decide("/api/generate", body, &caller(Role::Admin, None, None)).is_ok());
    }

    #[test]
    fn a_stream_is_always_metered() {
        let user = caller(Role::User, None, None);
        let silent = decide("/v1/chat/completions", r#"{"model":"m","stream":true}"#, &user).unwrap();
        assert!(silent.drop_usage);
        assert!(text(&silent).contains(r#""stream_options":{"include_usage":true}"#));
        let asking = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let asked = decide("/v1/chat/completions", asking, &user).unwrap();
        assert!(!asked.drop_usage);
        assert_eq!(text(&asked), asking);
        assert!(!decide("/v1/chat/completions", r#"{"model":"m"}"#, &user).unwrap().drop_usage);
    }

    #[rstest]
    #[case::user_list(Some(&["registry.ollama.ai/library/smollm2:*"][..]), None, 200)]
    #[case::not_in_user_list(Some(&["registry.ollama.ai/library/llama3:*"][..]), None, 404)]
    #[case::not_in_key_list(None, Some(&["registry.ollama.ai/library/llama3:*"][..]), 404)]
    #[case::none_allowed(Some(&[][..]), None, 404)]
    #[case::both(Some(&["*"][..]), Some(&["registry.ollama.ai/library/smollm2:135m"][..]), 200)]
    fn user_and_key_must_both_allow_the_model(
        #[case] users: Option<&[&str]>,
        #[case] keys: Option<&[&str]>,
        #[case] status: u16,
    ) {
        let decided = decide("/api/chat", r#"{"model":"library/SmolLM2:135M"}"#, &caller(Role::User, users, keys));
        assert_eq!(decided.map_or_else(|error| error.status().as_u16(), |_| 200), status);
    }

    /// In any order of the members: `keep_alive` is removed, `include_usage` is added, and the rest
    /// stays the same.
    #[rstest]
    #[case(r#"{"keep_alive":0,"model":"m","stream":true}"#)]
    #[case(r#"{ "keep_alive" : 0 , "stream":true,"model":"m"}"#)]
    #[case(r#"{"model":"m","keep_alive":0,"stream":true}"#)]
    #[case(r#"{"model":"m","stream":true,"keep_alive":"5m"}"#)]
    #[case(r#"{"stream_options":null,"keep_alive":0,"model":"m","stream":true}"#)]
    #[case(r#"{"keep_alive":0,"stream_options":{},"model":"m","stream":true}"#)]
    fn edits_keep_a_body_whole(#[case] body: &str) {
        let plan = decide("/v1/chat/completions", body, &caller(Role::User, None, None)).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&plan.body).unwrap();
        let wanted = serde_json::json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}});
        assert_eq!(sent, wanted);
    }

    #[rstest]
    #[case::no_model(r#"{"stream":true}"#, 400)]
    #[case::empty(r#"{"model":""}"#, 400)]
    #[case::two_models(r#"{"model":"a","MODEL":"b"}"#, 400)]
    #[case::broken(r#"{"model":"a""#, 400)]
    #[case::cloud(r#"{"model":"gpt-oss:120b-cloud"}"#, 403)]
    fn an_ambiguous_request_is_refused(#[case] body: &str, #[case] status: u16) {
        let error = decide("/api/chat", body, &caller(Role::Admin, None, None)).unwrap_err();
        assert_eq!(error.status().as_u16(), status);
    }
}
