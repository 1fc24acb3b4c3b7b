//! Bad input for every operation, generated from the document: it is refused and changes nothing.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    Api,
    authorization::{ADMIN_COLUMNS, Callers, Row, rows},
};

/// JSON strings that every field rejects.
const REJECTED: &[&str] = &[
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""a\udc00b""#,
    r#""a\u0007b""#,
    r#""a\u009bb""#,
    r#""a\u200bb""#,
    r#""\ufeffa""#,
    r#""a\u202eb""#,
];
/// JSON strings that a field may accept or reject, without failing.
const UNUSUAL: &[&str] = &[r#""""#, r#""\uffff\ud83d\ude00""#];
/// The text in a body that such a string replaces.
const PLACEHOLDER: &str = "the place of a bad text";

/// The users and keys, as an admin sees them.
async fn snapshot(api: &Api) -> Result<Value> {
    let users = api.admin().get("/users").query(&[("limit", 200)]).expect(200).await?;
    let mut keys = api.admin().get("/credentials").expect(200).await?.json;
    for key in keys.as_array_mut().into_iter().flatten() {
        key["last_used_at"].take();
    }
    Ok(json!([users.json, keys]))
}

/// The rows of the management operations with a JSON body, each with the body's schema.
fn with_bodies(api: &Api) -> Vec<(Row, Value)> {
    let rows = rows().into_iter().filter_map(|row| {
        let operation = described(api, row.0);
        let mut schema = operation.pointer("/requestBody/content/application~1json/schema")?.clone();
        schema["components"] = api.contract.document["components"].clone();
        (operation["tags"] != json!(["gateway"])).then_some((row, schema))
    });
    rows.collect()
}

fn described<'a>(api: &'a Api, operation: &str) -> &'a Value {
    let (method, path) = operation.split_once(' ').unwrap_or_default();
    &api.contract.document["paths"][path][method.to_lowercase()]
}

/// For each text field of the schema: its pointer, and a body like `base` with [`PLACEHOLDER`]
/// there.
fn text_fields(root: &Value, schema: &Value, base: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = root.pointer(&target[1..]).unwrap_or(&Value::Null);
        return text_fields(root, target, base, pointer, found);
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        for schema in schema[choice].as_array().into_iter().flatten() {
            text_fields(root, schema, base, pointer, found);
        }
    }
    let is = |kind: &str| schema["type"] == kind || schema["type"].as_array().is_some_and(|t| t.contains(&json!(kind)));
    if is("string") {
        found.push((pointer.to_owned(), PLACEHOLDER.into()));
    }
    if is("array") {
        let mut inner = Vec::new();
        text_fields(root, &schema["items"], &Value::Null, &format!("{pointer}/0"), &mut inner);
        found.extend(inner.into_iter().map(|(pointer, value)| (pointer, json!([value]))));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let mut inner = Vec::new();
        text_fields(root, schema, &base[name], &format!("{pointer}/{name}"), &mut inner);
        found.extend(inner.into_iter().map(|(pointer, value)| {
            let mut whole = if base.is_object() { base.clone() } else { json!({}) };
            whole[name] = value;
            (pointer, whole)
        }));
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_text_field_rejects_invisible_and_unstorable_characters(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let callers = Callers::new(&api).await?;
        let session = api.session().await?;
        let mut fields = 0;
        // A model may read any text.
        let of_accounts = |row: &(Row, Value)| !row.0.0.contains(" /ollama/");
        for ((operation, body, _), schema) in with_bodies(&api).into_iter().filter(of_accounts) {
            let target = callers.target(&api, operation, ADMIN_COLUMNS[0]).await?;
            let mut bodies = Vec::new();
            text_fields(&schema, &schema, &body(&callers), "", &mut bodies);
            for (pointer, body) in bodies {
                let before = snapshot(&api).await?;
                fields += 1;
                for (texts, must_reject) in [(REJECTED, true), (UNUSUAL, false)] {
                    for text in texts {
                        let sent = body.to_string().replace(&format!("\"{PLACEHOLDER}\""), text);
                        let url = format!("{}{}", api.contract.url, path_of(operation, target));
                        let method = operation.split(' ').next().unwrap_or_default().parse()?;
                        // A login lock would hide the answer to the next one.
                        api.unlock().await?;
                        let request = reqwest::Client::new()
                            .request(method, url)
                            .bearer_auth(credential_for(&api, &session, operation));
                        let answer = request.header("content-type", "application/json").body(sent).send().await?;
                        let (status, body) = (answer.status().as_u16(), answer.text().await?);
                        ensure!(status < 500, "{operation} {pointer} {text}: {status} {body}");
                        // A wrong password may have any characters, and is wrong.
                        let is_rejected =
                            [400, 422].contains(&status) || (operation == "POST /auth/login" && status == 401);
                        ensure!(!must_reject || is_rejected, "{operation} {pointer} {text}: {status} {body}");
                        if is_rejected {
                            ensure!(
                                !body.contains('\u{0}') && serde_json::from_str::<Value>(&body)?["detail"].is_string()
                            );
                        }
                    }
                    // An accepted text may change something, a rejected one may not.
                    if must_reject {
                        ensure!(snapshot(&api).await? == before, "{operation} {pointer} changed something");
                    }
                }
            }
        }
        ensure!(fields >= 10, "only {fields} text fields were found in the document");
        Ok(())
    })
    .await;
}

/// The credential for an operation. Setting a password needs a session.
fn credential_for<'a>(api: &'a Api, session: &'a str, operation: &str) -> &'a str {
    if operation.ends_with("/password") { session } else { &api.admin }
}

fn path_of(operation: &str, id: i64) -> String {
    operation.split(' ').next_back().unwrap_or_default().replace("{id}", &id.to_string())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_body_must_be_json_with_known_fields(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let callers = Callers::new(&api).await?;
        let session = api.session().await?;
        let before = snapshot(&api).await?;
        for ((operation, body, _), _) in with_bodies(&api) {
            let request = || api.by(credential_for(&api, &session, operation)).operation(operation, callers.user);
            for malformed in ["{", "{\"a\":}", "{} {}", "nul", "\u{feff}{}", "{\"a\": 1, \"a\": 1}"] {
                let refused = request().body("application/json", malformed).expect(400).await;
                assert_eq!(refused.with_context(|| format!("{operation}: {malformed}"))?.problem(), "malformed");
            }
            for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
                request().body(content_type, "{}").expect(415).await.with_context(|| operation.to_owned())?;
            }
            let encoded = request().header("content-encoding", "gzip").body("application/json", "{}");
            encoded.expect(415).await.with_context(|| operation.to_owned())?;
            let large = format!("{{\"x\": \"{}\"}}", "x".repeat(2 << 20));
            request().body("application/json", large).expect(413).await.with_context(|| operation.to_owned())?;
            let mut unknown = body(&callers);
            unknown["no_such_field"] = 1.into();
            let refused = request().json(&unknown).expect(422).await.with_context(|| operation.to_owned())?;
            assert_eq!(refused.pointers(), ["/no_such_field"], "{operation}");
        }
        ensure!(snapshot(&api).await? == before);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_rejects_an_unknown_parameter_by_name(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let callers = Callers::new(&api).await?;
        let before = snapshot(&api).await?;
        for (operation, body, _) in rows() {
            let described = described(&api, operation);
            if described["tags"] == json!(["gateway"]) || described["security"].is_null() {
                continue;
            }
            let request = api.admin().operation(operation, callers.user).query(&[("no_such_parameter", "1")]);
            let request = match body(&callers) {
                Value::Null => request,
                body => request.json(&body),
            };
            let refused = request.expect(422).await.with_context(|| operation.to_owned())?;
            assert_eq!(refused.pointers(), ["?no_such_parameter"], "{operation}");
        }
        ensure!(snapshot(&api).await? == before);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_others_are_refused_like_missing_rows(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let callers = Callers::new(&api).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (_, key) = api.key(user, json!({"scopes": ["users:read", "keys:read", "usage:read", "chat"]})).await?;
        let without_id = |mut answer: super::contract::Answer| {
            answer.json["request_id"].take();
            (answer.status, answer.json)
        };
        for (operation, body, _) in rows().into_iter().filter(|row| row.0.contains("{id}")) {
            let there = callers.target(&api, operation, ADMIN_COLUMNS[0]).await?;
            let mut answers = Vec::new();
            for id in [there, there + 100_000] {
                let request = api.by(&key).operation(operation, id);
                let request = match body(&callers) {
                    Value::Null => request,
                    body => request.json(&body),
                };
                answers.push(without_id(request.expect(403).await?));
            }
            assert_eq!(answers[0], answers[1], "{operation}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_at_most_twenty_errors(#[case] engine: Engine) {
    story(async {
        const MAX_ERRORS: usize = 20;
        let api = Api::start(engine).await?;
        let user = api.user(json!({})).await?;
        let parameters: Vec<_> = (0..500).map(|number| (format!("p{number}"), "1")).collect();
        let refused = api.anonymous().post("/auth/login").query(&parameters).json(&json!({})).expect(422).await?;
        assert_eq!(refused.pointers().len(), MAX_ERRORS);
        let models = json!({"models": vec![""; 200]});
        let refused = api.admin().patch(format!("/users/{user}")).json(&models).expect(422).await?;
        assert_eq!(refused.pointers().len(), MAX_ERRORS);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_models_has_at_most_256_patterns(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({})).await?;
        let patterns = |count: usize| (0..count).map(|number| format!("model-{number}")).collect::<Vec<_>>();
        for request in [
            api.admin().patch(format!("/users/{user}")).json(&json!({"models": patterns(257)})),
            api.admin().post("/credentials").json(&json!({"user_id": user, "models": patterns(257)})),
        ] {
            let refused = request.expect(422).await?;
            assert_eq!(refused.pointers(), ["/models"]);
            ensure!(refused.text("detail")?.contains("256"), "{refused}");
        }
        api.admin().patch(format!("/users/{user}")).json(&json!({"models": patterns(256)})).expect(200).await?;
        Ok(())
    })
    .await;
}
