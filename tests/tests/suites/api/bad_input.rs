//! Bad input to every operation, made from the document: what it gets, and that nothing changes by it.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Engine;
use serde_json::{Value, json};

use super::authorization::{ADMINS, Cast, Row, rows};
use super::{Api, on_both_engines};

on_both_engines! {
    no_text_field_takes_what_cannot_be_seen_or_kept,
    every_body_must_be_json_of_known_fields,
    every_operation_names_a_parameter_that_it_does_not_know,
    what_is_not_ones_own_is_answered_like_what_is_not_there,
    much_that_is_wrong_is_answered_in_short,
}

/// Texts as JSON writes them, which no field takes.
const REFUSED: &[&str] = &[
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""a\udc00b""#,
    r#""a\u0007b""#,
    r#""a\u009bb""#,
    r#""a\u200bb""#,
    r#""\ufeffa""#,
    r#""a\u202eb""#,
];
/// Texts that some fields may take, and none may fail at.
const ODD: &[&str] = &[r#""""#, r#""\uffff\ud83d\ude00""#];
/// What stands in a body where such a text comes.
const PLACE: &str = "the place of a nasty text";

/// What the management operations change, as an admin sees it.
async fn snapshot(api: &Api) -> Result<Value> {
    let users = api.admin("GET /users", 0).query(&[("limit", 200)]).expect(200).await?;
    let mut keys = api.admin("GET /credentials", 0).expect(200).await?.json;
    for key in keys.as_array_mut().into_iter().flatten() {
        key["last_used_at"].take();
    }
    Ok(json!([users.json, keys]))
}

/// The management operations that the document has a JSON body for: the row, and the schema.
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

/// Bodies like `base` with [`PLACE`] in each text field of the schema, and where it stands.
fn places(root: &Value, schema: &Value, base: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = root.pointer(&target[1..]).unwrap_or(&Value::Null);
        return places(root, target, base, pointer, found);
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        for schema in schema[choice].as_array().into_iter().flatten() {
            places(root, schema, base, pointer, found);
        }
    }
    let is = |kind: &str| schema["type"] == kind || schema["type"].as_array().is_some_and(|t| t.contains(&json!(kind)));
    if is("string") {
        found.push((pointer.to_owned(), PLACE.into()));
    }
    if is("array") {
        let mut inner = Vec::new();
        places(root, &schema["items"], &Value::Null, &format!("{pointer}/0"), &mut inner);
        found.extend(inner.into_iter().map(|(pointer, value)| (pointer, json!([value]))));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let mut inner = Vec::new();
        places(root, schema, &base[name], &format!("{pointer}/{name}"), &mut inner);
        found.extend(inner.into_iter().map(|(pointer, value)| {
            let mut whole = if base.is_object() { base.clone() } else { json!({}) };
            whole[name] = value;
            (pointer, whole)
        }));
    }
}

async fn no_text_field_takes_what_cannot_be_seen_or_kept(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let cast = Cast::new(&api).await?;
    let session = api.session().await?;
    let mut fields = 0;
    for ((operation, body, _), schema) in with_bodies(&api) {
        let target = cast.target(&api, operation, ADMINS[0]).await?;
        let mut bodies = Vec::new();
        places(&schema, &schema, &body(&cast), "", &mut bodies);
        for (pointer, body) in bodies {
            let before = snapshot(&api).await?;
            fields += 1;
            for (texts, refused) in [(REFUSED, true), (ODD, false)] {
                for nasty in texts {
                    let sent = body.to_string().replace(&format!("\"{PLACE}\""), nasty);
                    let url = format!("{}{}", api.contract.url, path_of(operation, target));
                    let method = operation.split(' ').next().unwrap_or_default().parse()?;
                    // No failed sign-in is to hold up the next one.
                    api.unlock().await?;
                    let request =
                        reqwest::Client::new().request(method, url).bearer_auth(who(&api, &session, operation));
                    let answer = request.header("content-type", "application/json").body(sent).send().await?;
                    let (status, said) = (answer.status().as_u16(), answer.text().await?);
                    ensure!(status < 500, "{operation} {pointer} {nasty}: {status} {said}");
                    // A wrong password may have any characters, and is wrong.
                    let fits = [400, 422].contains(&status) || (operation == "POST /auth/login" && status == 401);
                    ensure!(!refused || fits, "{operation} {pointer} {nasty}: {status} {said}");
                    if fits {
                        ensure!(!said.contains('\u{0}') && serde_json::from_str::<Value>(&said)?["detail"].is_string());
                    }
                }
                // What may be taken may change something; what is refused may not.
                if refused {
                    ensure!(snapshot(&api).await? == before, "{operation} {pointer} changed something");
                }
            }
        }
    }
    ensure!(fields >= 10, "only {fields} text fields were found in the document");
    Ok(())
}

/// Who may send it: no key may set a password.
fn who<'a>(api: &'a Api, session: &'a str, operation: &str) -> &'a str {
    if operation.ends_with("/password") { session } else { &api.admin }
}

fn path_of(operation: &str, id: i64) -> String {
    operation.split(' ').next_back().unwrap_or_default().replace("{id}", &id.to_string())
}

async fn every_body_must_be_json_of_known_fields(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let cast = Cast::new(&api).await?;
    let session = api.session().await?;
    let before = snapshot(&api).await?;
    for ((operation, body, _), schema) in with_bodies(&api) {
        let request = || api.by(who(&api, &session, operation), operation, cast.user);
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
        let mut unknown = body(&cast);
        unknown["no_such_field"] = 1.into();
        let refused = request().json(&unknown).expect(422).await.with_context(|| operation.to_owned())?;
        assert_eq!(refused.pointers(), ["/no_such_field"], "{operation}");
        let _ = schema;
    }
    ensure!(snapshot(&api).await? == before);
    Ok(())
}

async fn every_operation_names_a_parameter_that_it_does_not_know(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let cast = Cast::new(&api).await?;
    let before = snapshot(&api).await?;
    for (operation, body, _) in rows() {
        let described = described(&api, operation);
        if described["tags"] == json!(["gateway"]) || described["security"].is_null() {
            continue;
        }
        let request = api.admin(operation, cast.user).query(&[("no_such_parameter", "1")]);
        let request = match body(&cast) {
            Value::Null => request,
            body => request.json(&body),
        };
        let refused = request.expect(422).await.with_context(|| operation.to_owned())?;
        assert_eq!(refused.pointers(), ["?no_such_parameter"], "{operation}");
    }
    ensure!(snapshot(&api).await? == before);
    Ok(())
}

async fn what_is_not_ones_own_is_answered_like_what_is_not_there(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let cast = Cast::new(&api).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let (_, key) = api.key(user, json!({"scopes": ["users:read", "keys:read", "usage:read", "chat"]})).await?;
    let without_id = |mut answer: super::contract::Answer| {
        answer.json["request_id"].take();
        (answer.status, answer.json)
    };
    for (operation, body, _) in rows().into_iter().filter(|row| row.0.contains("{id}")) {
        let there = cast.target(&api, operation, ADMINS[0]).await?;
        let mut answers = Vec::new();
        for id in [there, there + 100_000] {
            let request = api.by(&key, operation, id);
            let request = match body(&cast) {
                Value::Null => request,
                body => request.json(&body),
            };
            answers.push(without_id(request.expect(403).await?));
        }
        assert_eq!(answers[0], answers[1], "{operation}");
    }
    Ok(())
}

async fn much_that_is_wrong_is_answered_in_short(engine: Engine) -> Result<()> {
    /// The most that an answer names.
    const NAMED: usize = 20;
    let api = Api::start(engine).await?;
    let user = api.user(json!({})).await?;
    let parameters: Vec<_> = (0..500).map(|number| (format!("p{number}"), "1")).collect();
    let refused = api.anonymous("POST /auth/login", 0).query(&parameters).json(&json!({})).expect(422).await?;
    assert_eq!(refused.pointers().len(), NAMED);
    let refused = api.admin("PATCH /users/{id}", user).json(&json!({"models": vec![""; 200]})).expect(422).await?;
    assert_eq!(refused.pointers().len(), NAMED);

    // Each request is judged by all patterns of a list, so that there is an end to them.
    let patterns = |count: usize| (0..count).map(|number| format!("model-{number}")).collect::<Vec<_>>();
    let too_many = json!({"user_id": user, "models": patterns(257)});
    for request in [
        api.admin("PATCH /users/{id}", user).json(&json!({"models": patterns(257)})),
        api.admin("POST /credentials", 0).json(&too_many),
    ] {
        let refused = request.expect(422).await?;
        assert_eq!(refused.pointers(), ["/models"]);
        ensure!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains("at most 256")), "{refused}");
    }
    api.admin("PATCH /users/{id}", user).json(&json!({"models": patterns(256)})).expect(200).await?;
    Ok(())
}
