use paddock_accounts::{
    CredentialId, UserId,
    access::AuthMethod,
    types::{Email, Limits, ModelPatterns as Stored, Priority, Role, Scopes},
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
            priority: Priority::default(),
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

fn decide(path: &str, body: &str, caller: &Principal) -> Result<PlannedRequest, ApiError> {
    plan(endpoint(path), Bytes::copy_from_slice(body.as_bytes()), caller, None)
}

fn text(plan: &PlannedRequest) -> &str {
    str::from_utf8(&plan.body).unwrap()
}

#[test]
fn bytes_are_forwarded_unchanged_and_without_a_copy() {
    let body = Bytes::from_static(b" {\"messages\" : [ ],\"model\":\"SmolLM2:135m\", \"x\":1e0 }\n");
    let plan = plan(endpoint("/api/chat"), body.clone(), &caller(Role::User, None, None), None).unwrap();
    assert_eq!(plan.body.as_ptr(), body.as_ptr());
    assert_eq!(plan.model.name.as_str(), "registry.ollama.ai/library/smollm2:135m");
    assert!(plan.is_stream && !plan.drop_usage);
}

#[rstest]
#[case::first(r#"{"keep_alive":-1,"model":"m","messages":[0]}"#, r#"{"model":"m","messages":[0]}"#)]
#[case::last(r#"{"model":"m","messages":[0],"keep_alive":"5m"}"#, r#"{"model":"m","messages":[0]}"#)]
#[case::between(r#"{"model":"m", "keep_alive":0 ,"messages":[0]}"#, r#"{"model":"m" ,"messages":[0]}"#)]
fn only_admins_may_set_keep_alive(#[case] sent: &str, #[case] forwarded: &str) {
    assert_eq!(text(&decide("/api/chat", sent, &caller(Role::User, None, None)).unwrap()), forwarded);
    assert_eq!(text(&decide("/api/chat", sent, &caller(Role::Admin, None, None)).unwrap()), sent);
}

/// The value of `X-Paddock-Ignored` of a request.
fn ignored(path: &str, body: &str, caller: &Principal) -> Option<String> {
    let ignored = decide(path, body, caller).unwrap().ignored;
    ignored.map(|value| value.to_str().unwrap().to_owned())
}

#[rstest]
#[case::load(
    r#"{"model":"m","prompt":"x","options":{"temperature":0,"num_ctx":8192}}"#,
    r#"{"model":"m","prompt":"x","options":{"temperature":0}}"#,
    "options.num_ctx"
)]
#[case::unknown(
    r#"{"model":"m","prompt":"x","options":{"f16_kv":true,"numa":false}}"#,
    r#"{"model":"m","prompt":"x","options":{}}"#,
    "options.f16_kv, options.numa"
)]
#[case::both(
    r#"{"model":"m","prompt":"x","keep_alive":1,"options":{"num_gpu":0}}"#,
    r#"{"model":"m","prompt":"x","options":{}}"#,
    "keep_alive, options.num_gpu"
)]
#[case::strange(
    r#"{"model":"m","prompt":"x","options":{"a\r\nb":1}}"#,
    r#"{"model":"m","prompt":"x","options":{}}"#,
    "options.(another option)"
)]
fn options_that_others_share_are_removed_and_reported(
    #[case] sent: &str,
    #[case] forwarded: &str,
    #[case] reported: &str,
) {
    let user = caller(Role::User, None, None);
    assert_eq!(text(&decide("/api/generate", sent, &user).unwrap()), forwarded);
    assert_eq!(ignored("/api/generate", sent, &user).as_deref(), Some(reported));
    let admin = caller(Role::Admin, None, None);
    assert_eq!(text(&decide("/api/generate", sent, &admin).unwrap()), sent);
    assert_eq!(ignored("/api/generate", sent, &admin), None);
}

#[rstest]
#[case(r#"{"model":"m","prompt":"x","options":{"temperature":0,"num_ctx":null}}"#)]
#[case(r#"{"model":"m","prompt":"x","options":{"temperature":0,"mirostat":1}}"#)]
#[case(r#"{"model":"m","prompt":"x","options":null,"keep_alive":null}"#)]
fn sampling_options_pass(#[case] body: &str) {
    let user = caller(Role::User, None, None);
    assert_eq!(text(&decide("/api/generate", body, &user).unwrap()), body);
    assert_eq!(ignored("/api/generate", body, &user), None);
}

#[test]
fn number_of_reported_options_is_bounded() {
    let options: Vec<String> = (0..20).map(|number| format!("\"o{number}\":1")).collect();
    let body = format!(r#"{{"model":"m","prompt":"x","options":{{{}}}}}"#, options.join(","));
    assert!(ignored("/api/generate", &body, &caller(Role::User, None, None)).unwrap().ends_with(", 4 more"));
}

#[rstest]
#[case("/api/generate", r#"{"model":"m","keep_alive":0}"#)]
#[case("/api/generate", r#"{"model":"m","prompt":"","keep_alive":"5m"}"#)]
#[case("/api/chat", r#"{"model":"m","messages":[],"keep_alive":-1}"#)]
#[case("/api/embed", r#"{"model":"m","input":"","keep_alive":0}"#)]
#[case("/api/embeddings", r#"{"model":"m","keep_alive":0}"#)]
fn only_admins_may_load_and_unload(#[case] path: &str, #[case] body: &str) {
    let error = decide(path, body, &caller(Role::User, None, None)).unwrap_err();
    assert_eq!((error.status().as_u16(), error.code()), (403, "load_not_allowed"));
    assert_eq!(text(&decide(path, body, &caller(Role::Admin, None, None)).unwrap()), body);
}

#[rstest]
#[case("/v1/messages", r#"{"model":"m","tools":[{"type":"web_search_20250305","name":"web_search"}]}"#)]
#[case("/v1/responses", r#"{"model":"m","tools":[{"type":"web_search"}]}"#)]
fn web_search_is_refused(#[case] path: &str, #[case] body: &str) {
    let error = decide(path, body, &caller(Role::User, None, None)).unwrap_err();
    assert_eq!((error.status().as_u16(), error.code()), (403, "web_search"));
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
#[case::denied_to_the_user(Some(&["*", "!registry.ollama.ai/library/smollm2:*"][..]), None, 404)]
#[case::denied_to_the_key(Some(&["*"][..]), Some(&["!registry.ollama.ai/library/smollm2:135m", "*"][..]), 404)]
#[case::another_model_denied(Some(&["*", "!registry.ollama.ai/library/llama3:*"][..]), None, 200)]
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
#[case(r#"{"keep_alive":0,"model":"m","stream":true,"messages":[0]}"#)]
#[case(r#"{ "keep_alive" : 0 , "stream":true,"messages":[0],"model":"m"}"#)]
#[case(r#"{"model":"m","keep_alive":0,"stream":true,"messages":[0]}"#)]
#[case(r#"{"model":"m","stream":true,"messages":[0],"keep_alive":"5m"}"#)]
#[case(r#"{"stream_options":null,"keep_alive":0,"model":"m","stream":true,"messages":[0]}"#)]
#[case(r#"{"keep_alive":0,"stream_options":{},"model":"m","stream":true,"messages":[0]}"#)]
fn edits_keep_a_body_whole(#[case] body: &str) {
    let plan = decide("/v1/chat/completions", body, &caller(Role::User, None, None)).unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&plan.body).unwrap();
    let wanted =
        serde_json::json!({"model": "m", "stream": true, "messages": [0], "stream_options": {"include_usage": true}});
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
