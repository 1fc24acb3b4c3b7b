//! What a request may ask of Ollama, decided on its bytes alone. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use paddock_accounts::{access::Principal, types::Role};
use paddock_ollama::{
    AllowList, Dialect, Edit, Endpoint, Member, ModelName, SAMPLING_OPTIONS, ScanError, Scanned, ValueKind, scan,
    splice,
};

use super::{refusal::Refusal, shown};

/// How long a model stays in memory after the request: also everybody's.
const KEEP_ALIVE: &str = "keep_alive";

/// A request that may go on.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The model, in canonical form.
    pub(crate) model: ModelName,
    /// The model as the client wrote it.
    pub(crate) written: String,
    /// What is sent: the client's bytes, spliced only where a rule must.
    pub(crate) body: Bytes,
    /// The answer will be a stream.
    pub(crate) streams: bool,
    /// The stream's usage was asked for in the client's stead, and is not for the client.
    pub(crate) drop_usage: bool,
}

/// Judges a request.
pub(crate) fn plan(endpoint: &Endpoint, body: Bytes, principal: &Principal) -> Result<Plan, Refusal> {
    let Some(keys) = endpoint.known_fields else { return Err(Refusal::internal("no_keys")) };
    let scanned = scan(&body, keys).map_err(|error| unreadable(&error))?;
    let written = model(&scanned)?.to_owned();
    let model = ModelName::parse(&written)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "invalid_model_name", error.to_string()))?;
    if model.is_cloud() {
        return Err(remote());
    }
    if !allows(principal, &model) {
        return Err(not_found(&written));
    }
    let streams = endpoint.is_streaming(scanned.stream());
    let mut edits: Vec<Edit> = Vec::new();
    if !principal.roles.has(Role::Admin) {
        keep_to_sampling(&scanned)?;
        edits.extend(without(scanned.members(), KEEP_ALIVE));
    }
    let ask_usage = if streams && endpoint.dialect == Dialect::OpenAi { scanned.request_usage() } else { None };
    let drop_usage = ask_usage.is_some();
    edits.extend(ask_usage);
    // An insertion comes before the removal that begins where it stands.
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let spliced = (!edits.is_empty()).then(|| splice(&body, &edits));
    Ok(Plan { model, written, body: spliced.unwrap_or(body), streams, drop_usage })
}

/// Whether the lists of user and key both allow a model.
pub(crate) fn allows(principal: &Principal, model: &ModelName) -> bool {
    principal.allow_lists().all(|list| {
        let patterns: Vec<String> = list.iter().map(str::to_owned).collect();
        AllowList(Some(&patterns)).allows(model)
    })
}

/// What is told of a model that is not there, and of one that is not allowed: in Ollama's own words.
pub(crate) fn not_found(written: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "model_not_found", format!("model '{}' not found", shown(written)))
}

/// What is told of a model that Ollama would run elsewhere.
pub(crate) fn remote() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "remote_model", "models that run outside this Ollama are not served")
}

fn unreadable(error: &ScanError) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string())
}

/// The model's name: `model`, or `name` where the endpoint takes it. Where both are given they must agree.
fn model<'a>(scanned: &'a Scanned<'_>) -> Result<&'a str, Refusal> {
    let names = [scanned.model(), scanned.name()];
    let mut given = names.into_iter().flatten().filter(|name| !name.is_empty());
    match (given.next(), given.next()) {
        (None, _) => Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_model_name", "model is required")),
        (Some(name), None) => Ok(name),
        (Some(model), Some(name)) if model == name => Ok(model),
        (Some(_), Some(_)) => {
            let reason = "model and name are two different models";
            Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_model_name", reason))
        }
    }
}

/// Refuses every option but those of sampling: what others share is changed by the rest, and perhaps by what a later
/// Ollama will know. Null is none.
fn keep_to_sampling(scanned: &Scanned<'_>) -> Result<(), Refusal> {
    let closed = |member: &&Member<'_>| member.kind != ValueKind::Null && !SAMPLING_OPTIONS.contains(&&*member.key);
    match scanned.members_of("options").iter().find(closed) {
        None => Ok(()),
        Some(member) => {
            let reason = format!(
                "the option {:?} is not open here, as it may change the model for everybody; open are: {}",
                shown(&member.key),
                SAMPLING_OPTIONS.join(", ")
            );
            Err(Refusal::new(StatusCode::BAD_REQUEST, "option_not_allowed", reason))
        }
    }
}

/// The edit that takes a member out, and one comma with it.
fn without(members: &[Member<'_>], key: &str) -> Option<Edit> {
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

    fn judge(path: &str, body: &str, caller: &Principal) -> Result<Plan, Refusal> {
        plan(endpoint(path), Bytes::copy_from_slice(body.as_bytes()), caller)
    }

    fn text(plan: &Plan) -> &str {
        str::from_utf8(&plan.body).unwrap()
    }

    #[test]
    fn bytes_go_on_as_they_came_and_without_a_copy() {
        let body = Bytes::from_static(b" {\"messages\" : [ ],\"model\":\"SmolLM2:135m\", \"x\":1e0 }\n");
        let plan = plan(endpoint("/api/chat"), body.clone(), &caller(Role::User, None, None)).unwrap();
        assert_eq!(plan.body.as_ptr(), body.as_ptr());
        assert_eq!(plan.model.as_str(), "registry.ollama.ai/library/smollm2:135m");
        assert!(plan.streams && !plan.drop_usage);
    }

    #[rstest]
    #[case::first(r#"{"keep_alive":-1,"model":"m"}"#, r#"{"model":"m"}"#)]
    #[case::last(r#"{"model":"m","keep_alive":"5m"}"#, r#"{"model":"m"}"#)]
    #[case::between(r#"{"model":"m", "keep_alive":0 ,"stream":false}"#, r#"{"model":"m" ,"stream":false}"#)]
    fn keep_alive_is_the_admins(#[case] sent: &str, #[case] forwarded: &str) {
        assert_eq!(text(&judge("/api/chat", sent, &caller(Role::User, None, None)).unwrap()), forwarded);
        assert_eq!(text(&judge("/api/chat", sent, &caller(Role::Admin, None, None)).unwrap()), sent);
    }

    #[rstest]
    #[case(r#"{"model":"m","options":{"temperature":0,"num_ctx":8192}}"#, false)]
    #[case(r#"{"model":"m","options":{"temperature":0,"num_ctx":null}}"#, true)]
    #[case(r#"{"model":"m","options":{"temperature":0,"mirostat":1}}"#, true)]
    #[case(r#"{"model":"m","options":{"temperature":0,"use_mlock":true}}"#, false)]
    fn options_that_others_would_feel_are_the_admins(#[case] body: &str, #[case] allowed: bool) {
        assert_eq!(judge("/api/generate", body, &caller(Role::User, None, None)).is_ok(), allowed);
        assert!(judge("/api/generate", body, &caller(Role::Admin, None, None)).is_ok());
    }

    #[test]
    fn a_stream_is_always_metered() {
        let user = caller(Role::User, None, None);
        let silent = judge("/v1/chat/completions", r#"{"model":"m","stream":true}"#, &user).unwrap();
        assert!(silent.drop_usage);
        assert!(text(&silent).contains(r#""stream_options":{"include_usage":true}"#));
        let asking = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let asked = judge("/v1/chat/completions", asking, &user).unwrap();
        assert!(!asked.drop_usage);
        assert_eq!(text(&asked), asking);
        assert!(!judge("/v1/chat/completions", r#"{"model":"m"}"#, &user).unwrap().drop_usage);
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
        let judged = judge("/api/chat", r#"{"model":"library/SmolLM2:135M"}"#, &caller(Role::User, users, keys));
        assert_eq!(judged.map_or_else(|refusal| refusal.status().as_u16(), |_| 200), status);
    }

    /// Wherever it stands, what is not open goes, what has to be asked for comes, and the rest stays as it was.
    #[rstest]
    #[case(r#"{"keep_alive":0,"model":"m","stream":true}"#)]
    #[case(r#"{ "keep_alive" : 0 , "stream":true,"model":"m"}"#)]
    #[case(r#"{"model":"m","keep_alive":0,"stream":true}"#)]
    #[case(r#"{"model":"m","stream":true,"keep_alive":"5m"}"#)]
    #[case(r#"{"stream_options":null,"keep_alive":0,"model":"m","stream":true}"#)]
    #[case(r#"{"keep_alive":0,"stream_options":{},"model":"m","stream":true}"#)]
    fn edits_keep_a_body_whole(#[case] body: &str) {
        let plan = judge("/v1/chat/completions", body, &caller(Role::User, None, None)).unwrap();
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
    fn what_cannot_be_judged_is_refused(#[case] body: &str, #[case] status: u16) {
        let refusal = judge("/api/chat", body, &caller(Role::Admin, None, None)).unwrap_err();
        assert_eq!(refusal.status().as_u16(), status);
    }
}
