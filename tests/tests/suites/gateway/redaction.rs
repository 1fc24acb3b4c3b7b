//! Keys in places where none belongs: no answer, log line or row repeats them.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    fake_ollama::{Script, chat_lines},
    paddock::{Caller, fetch_json},
    story::story,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, chat};

/// A request with this text in a place where no key belongs.
type Misplaced = fn(&Caller, &str) -> RequestBuilder;

const PLACES: &[(&str, Misplaced)] = &[
    ("X-Request-Id", |caller, key| caller.post("/api/chat", &chat()).header("X-Request-Id", key)),
    ("X-Trace-Id", |caller, key| caller.post("/api/chat", &chat()).header("X-Trace-Id", key)),
    ("a path that is not served", |caller, key| caller.get(&format!("/api/nothing/{key}"))),
    ("an encoded path that is not served", |caller, key| {
        caller.get(&format!("/api/nothing/{}", key.replace('_', "%5F")))
    }),
    ("a model to pull", |caller, key| caller.post("/api/pull", &json!({"model": key}))),
    ("a path of the management API", |caller, key| caller.get(&format!("/users/{key}"))),
    ("a query", |caller, key| caller.get(&format!("/api/tags?key={key}"))),
    ("the model of a path", |caller, key| caller.get(&format!("/v1/models/{key}"))),
    ("a model", |caller, key| caller.post("/api/chat", &json!({"model": key, "messages": []}))),
    ("a model that is no name", |caller, key| {
        caller.post("/v1/chat/completions", &json!({"model": format!("{key}:{key}:{key}"), "messages": []}))
    }),
    ("a user agent", |caller, key| caller.post("/api/push", &chat()).header("User-Agent", key)),
    ("an unknown member", |caller, key| {
        caller.post("/api/chat", &Value::Null).body(format!(r#"{{"model":"{MODEL}","messages":[],"{key}":1}}"#))
    }),
    ("a repeated member", |caller, key| {
        caller.post("/api/chat", &Value::Null).body(format!(r#"{{"model":"{MODEL}","{key}":1,"{key}":2}}"#))
    }),
    ("a reserved member", |caller, key| {
        caller.post("/v1/messages", &Value::Null).body(format!(r#"{{"model":"{MODEL}","_{key}":1}}"#))
    }),
    ("an unknown option", |caller, key| {
        let body =
            format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}],"options":{{"{key}":1}}}}"#);
        caller.post("/api/chat", &Value::Null).body(body)
    }),
    ("the kind of a tool", |caller, key| {
        caller.post(
            "/v1/responses",
            &json!({"model": MODEL, "input": "hi", "tools": [{"type": format!("web_search{key}")}]}),
        )
    }),
    ("another method", |caller, key| caller.post(&format!("/v1/models/{key}"), &chat())),
];

/// The start of the secret part of a key, which no output may contain.
fn secret(key: &str) -> Result<&str> {
    key.get("pdk_".len() + 11..).and_then(|secret| secret.get(..12)).context("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_wrong_place_is_not_repeated() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("LOG_LEVEL", "debug")).await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let key = gateway.admin.key();
        let secret = secret(key)?;
        // Whole, and cut as by a client that shortens what it logs.
        for sent in [key, &key[..40]] {
            for (place, misplaced) in PLACES {
                let answer = misplaced(&gateway.workload, sent).send().await.with_context(|| (*place).to_owned())?;
                let head = format!("{:?}", answer.headers());
                let body = answer.text().await?;
                let (head, body) = (head.replace("%5F", "_"), body.replace("%5F", "_"));
                ensure!(!head.contains(secret) && !body.contains(secret), "{place}: {head} {body}");
                let log = gateway.paddock.process().log().text().replace("%5F", "_");
                let line = log.lines().find(|line| line.contains(secret));
                ensure!(line.is_none(), "{place} is in the log: {line:?}");
            }
        }
        for (table, rows) in gateway.database.contents(&[]).await? {
            let row = rows.iter().find(|row| row.contains(secret));
            ensure!(row.is_none(), "{table}: {row:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_that_is_a_key_is_replaced() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let key = gateway.workload.key();
        let answer = gateway.workload.post("/api/chat", &chat()).header("X-Request-Id", key).send().await?;
        let id = answer.headers()["x-request-id"].to_str()?.to_owned();
        answer.bytes().await?;
        uuid::Uuid::parse_str(&id).with_context(|| id.clone())?;
        assert_eq!(gateway.usage_rows(1).await?[0].request_id, id);
        assert_eq!(gateway.fake.requests("/api/chat")[0].headers["x-request-id"], id.as_str());
        gateway.log_line(&id).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_keeps_a_user_agent_without_the_key_in_it() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let key = gateway.workload.key();
        let request = gateway.workload.post("/api/push", &chat()).header("User-Agent", format!("tool {key} 1.0"));
        assert_eq!(request.send().await?.status(), 403);
        let denied = fetch_json(gateway.admin.get("/audit?event_type=access_denied")).await?;
        assert_eq!(denied[0]["user_agent"], "tool pdk_(redacted) 1.0", "{denied}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_no_model_to_pull() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let key = gateway.workload.key();
        for request in [
            gateway.admin.post("/models/pull", &json!({"model": key})),
            gateway.admin.post("/api/pull", &json!({"model": key})),
        ] {
            let answer = request.send().await?;
            ensure!(answer.status().is_client_error(), "{}", answer.status());
            ensure!(!answer.text().await?.contains(secret(key)?));
        }
        Ok(())
    })
    .await;
}
