//! Headers that concern one side of the gateway do not reach the other.

use anyhow::ensure;
use http::StatusCode;
use paddock_tests::{
    fake_ollama::{Script, chat_lines},
    paddock::Caller,
    story::story,
};
use reqwest::RequestBuilder;
use serde_json::json;

use super::{GatewayFixture, MODEL, chat};

/// A text that stands in each header that must not pass.
const CANARY: &str = "canary-93c1";

/// Headers of clients that concern the gateway alone, or that a client could make up.
const FROM_CLIENT: &[(&str, &str)] = &[
    ("X-Forwarded-For", "203.0.113.9, canary-93c1"),
    ("X-Forwarded-Host", "canary-93c1.example"),
    ("X-Forwarded-Proto", "canary-93c1"),
    ("X-Forwarded-Port", "canary-93c1"),
    ("Forwarded", "for=203.0.113.9;host=canary-93c1"),
    ("X-Real-IP", "canary-93c1"),
    ("True-Client-IP", "canary-93c1"),
    ("X-Original-URL", "/canary-93c1"),
    ("Via", "1.1 canary-93c1"),
    ("Upgrade", "canary-93c1"),
    ("Cookie", "session=canary-93c1"),
    ("X-API-Key", "canary-93c1"),
    ("Proxy-Authorization", "Basic canary-93c1"),
    ("Proxy-Connection", "canary-93c1"),
    ("Keep-Alive", "canary-93c1"),
    ("Trailer", "canary-93c1"),
    ("Origin", "http://canary-93c1.example"),
    ("Connection", "x-canary, keep-alive"),
    ("X-Canary", "canary-93c1"),
];

/// Headers of Ollama that concern the gateway alone.
const FROM_OLLAMA: &[(&str, &str)] = &[
    ("server", "canary-93c1"),
    ("set-cookie", "session=canary-93c1"),
    ("www-authenticate", "Basic realm=canary-93c1"),
    ("proxy-authenticate", "Basic realm=canary-93c1"),
    ("access-control-allow-origin", "http://canary-93c1.example"),
    ("access-control-allow-credentials", "canary-93c1"),
    ("access-control-expose-headers", "canary-93c1"),
    ("x-request-id", "canary-93c1"),
    ("keep-alive", "canary-93c1"),
    ("connection", "x-canary"),
    ("x-canary", "canary-93c1"),
];

/// One request to each kind of endpoint: one that runs a model, a list, and a description.
fn requests(caller: &Caller) -> [(&'static str, RequestBuilder); 3] {
    [
        ("/api/chat", caller.post("/api/chat", &chat())),
        ("/api/tags", caller.get("/api/tags")),
        ("/api/show", caller.post("/api/show", &json!({"model": MODEL}))),
    ]
}

/// The answer of the fake to each of these requests.
fn script(path: &str) -> Script {
    match path {
        "/api/chat" => Script::ndjson(chat_lines(MODEL, 1)),
        "/api/tags" => Script::json(
            StatusCode::OK,
            &json!({"models": [{"name": MODEL, "model": MODEL, "size": 1, "digest": "0".repeat(64)}]}),
        ),
        _ => Script::json(StatusCode::OK, &json!({"license": "MIT"})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_concern_the_gateway_do_not_reach_ollama() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (path, request) in requests(&gateway.workload) {
            gateway.fake.script(path, script(path));
            let request = FROM_CLIENT.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let answer = request.send().await?;
            ensure!(answer.status() == 200, "{path}: {}", answer.status());
            answer.bytes().await?;
        }
        let seen = gateway.fake.client_requests();
        assert_eq!(seen.len(), 3);
        for request in seen {
            ensure!(!request.headers.contains_key("authorization"), "{:?}", request.headers);
            for (name, value) in &request.headers {
                let value = String::from_utf8_lossy(value.as_bytes());
                let is_made_up = value.contains(CANARY) || value.contains("203.0.113.9");
                ensure!(!is_made_up && !value.contains(gateway.workload.key()), "{}: {name}: {value}", request.path);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_headers_of_the_client_reach_ollama() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", script("/api/chat"));
        let request = gateway.workload.post("/api/chat", &chat());
        let request = request.header("User-Agent", "ollama-python/0.6").header("X-Stainless-Lang", "python");
        request.send().await?.error_for_status()?.bytes().await?;
        let seen = gateway.fake.requests("/api/chat");
        assert_eq!(seen[0].headers["user-agent"], "ollama-python/0.6");
        assert_eq!(seen[0].headers["x-stainless-lang"], "python");
        assert_eq!(seen[0].headers["host"].to_str()?, gateway.fake.url().trim_start_matches("http://"));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_about_ollama_do_not_reach_the_client() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (path, request) in requests(&gateway.workload) {
            let answered =
                FROM_OLLAMA.iter().fold(script(path), |script, &(name, value)| script.with_header(name, value));
            gateway.fake.script(path, answered.with_header("x-kept", "kept"));
            let answer = request.header("X-Request-Id", "ours").send().await?;
            ensure!(answer.status() == 200, "{path}: {}", answer.status());
            let headers = answer.headers();
            for (name, value) in headers {
                let value = String::from_utf8_lossy(value.as_bytes());
                ensure!(!value.contains(CANARY), "{path}: {name}: {value}");
            }
            assert_eq!(headers["x-request-id"], "ours");
            assert_eq!(headers["x-kept"], "kept");
        }
        Ok(())
    })
    .await;
}
