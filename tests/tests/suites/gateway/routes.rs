//! Paths that the gateway does not serve: the answer says why, in the dialect that is meant.

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode, header};
use paddock_ollama::Dialect::{self, Anthropic, Ollama, OpenAi};
use paddock_tests::{fake_ollama::Script, story::story};
use reqwest::{Client, RequestBuilder, redirect::Policy};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    GatewayFixture, MODEL, chat,
    error_body::{ErrorBody, refused},
};

/// Requests of clients whose base URL ends wrongly, and the path that is meant.
const WRONG_BASE_URLS: &[(Method, &str, &str, Dialect)] = &[
    (Method::POST, "//api/chat", "/api/chat", Ollama),
    (Method::POST, "/api/chat/", "/api/chat", Ollama),
    (Method::POST, "/api//chat", "/api/chat", Ollama),
    (Method::POST, "/api/api/generate", "/api/generate", Ollama),
    (Method::POST, "/v1/api/embed", "/api/embed", Ollama),
    (Method::POST, "/ollama/api/show", "/api/show", Ollama),
    (Method::GET, "/v1/api/tags", "/api/tags", Ollama),
    (Method::GET, "//api/tags", "/api/tags", Ollama),
    (Method::GET, "/api/ps/", "/api/ps", Ollama),
    (Method::GET, "/tags", "/api/tags", Ollama),
    (Method::POST, "/chat/completions", "/v1/chat/completions", OpenAi),
    (Method::POST, "/v1/v1/chat/completions", "/v1/chat/completions", OpenAi),
    (Method::POST, "/v1/chat/completions/", "/v1/chat/completions", OpenAi),
    (Method::POST, "//v1/chat/completions", "/v1/chat/completions", OpenAi),
    (Method::POST, "/api/v1/completions", "/v1/completions", OpenAi),
    (Method::POST, "/openai/v1/responses", "/v1/responses", OpenAi),
    (Method::POST, "/embeddings", "/v1/embeddings", OpenAi),
    (Method::GET, "/v1/v1/models", "/v1/models", OpenAi),
    (Method::GET, "/v1/models/", "/v1/models", OpenAi),
    (Method::POST, "/v1/v1/messages", "/v1/messages", Anthropic),
    (Method::POST, "/v1/messages/", "/v1/messages", Anthropic),
    (Method::POST, "/messages", "/v1/messages", Anthropic),
    (Method::POST, "/v1/v1/messages/count_tokens", "/v1/messages/count_tokens", Anthropic),
];

/// A request with a valid key. Redirects are not followed.
fn request(gateway: &GatewayFixture, method: &Method, path: &str) -> Result<RequestBuilder> {
    let client = Client::builder().redirect(Policy::none()).build()?;
    let request = client.request(method.clone(), format!("{}{path}", gateway.paddock.url()));
    let request = request.bearer_auth(gateway.workload.key());
    Ok(if *method == Method::POST { request.json(&chat()) } else { request })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_base_url_is_a_404_that_names_the_right_path() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (method, path, right, dialect) in WRONG_BASE_URLS {
            let answer = request(&gateway, method, path)?.send().await?;
            ensure!(answer.status() == 404, "{path}: {}", answer.status());
            ensure!(!answer.headers().contains_key(header::LOCATION), "{path}: a redirect");
            let error = ErrorBody::parse(&answer.text().await?).with_context(|| (*path).to_owned())?;
            ensure!(error.dialect == *dialect, "{path}: {error:?}");
            // A wrong path may contain the right one.
            let mut words = error.message.split(|character: char| character == ';' || character.is_whitespace());
            ensure!(words.any(|word| word == *right), "{path}: no {right} in {error:?}");
        }
        let reached = gateway.fake.client_requests();
        ensure!(reached.is_empty(), "{reached:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::of_ollama(Method::POST, "/api/me", Ollama, "closed")]
#[case::of_ollama_for_openai(Method::POST, "/v1/audio/transcriptions", OpenAi, "closed")]
#[case::unknown(Method::POST, "/api/nothing", Ollama, "unknown_path")]
#[case::unknown_to_openai(Method::GET, "/v1/nothing", OpenAi, "unknown_path")]
#[case::unknown_to_anthropic(Method::POST, "/v1/messages/batches", Anthropic, "unknown_path")]
#[case::wrong_base_url(Method::POST, "/v1/v1/messages", Anthropic, "wrong_base_url")]
#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_404_tells_what_ollama_has_from_what_nobody_has(
    #[case] method: Method,
    #[case] path: &str,
    #[case] dialect: Dialect,
    #[case] code: &str,
) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let error = refused(request(&gateway, &method, path)?.header("X-Request-Id", "asked"), 404).await?;
        assert_eq!(error.dialect, dialect);
        if dialect == OpenAi {
            assert_eq!(error.code.as_deref(), Some(code));
        }
        let line = gateway.log_line("asked").await?;
        ensure!(line["reason"] == code, "{line}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_path_that_is_not_served() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (id, path) in [("base", "/v1/v1/messages"), ("unknown", "/api/nothing"), ("closed", "/api/push")] {
            request(&gateway, &Method::POST, path)?.header("X-Request-Id", id).send().await?;
            let line = gateway.log_line(id).await?;
            ensure!(line["path"] == path, "{line}");
        }
        // A served path is the route already.
        request(&gateway, &Method::GET, "/api/tags")?.header("X-Request-Id", "served").send().await?;
        let line = gateway.log_line("served").await?;
        ensure!(line["path"].is_null() && line["route"] == "/api/tags", "{line}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_path_that_is_not_served_is_not_logged() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let key = gateway.workload.key();
        request(&gateway, &Method::GET, &format!("/api/nothing/{key}/x"))?
            .header("X-Request-Id", "asked")
            .send()
            .await?;
        let line = gateway.log_line("asked").await?;
        assert_eq!(line["path"], "/api/nothing/pdk_(redacted)/x");
        ensure!(!gateway.paddock.process().log().text().contains(key));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_a_405_that_names_the_right_one() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        for (method, path, allow, dialect) in [
            (Method::GET, "/api/chat", "POST", Ollama),
            (Method::POST, "/api/tags", "GET, HEAD", Ollama),
            (Method::DELETE, "/v1/models/smollm2:135m", "GET, HEAD", OpenAi),
            (Method::PUT, "/v1/messages", "POST", Anthropic),
        ] {
            let answer = request(&gateway, &method, path)?.send().await?;
            ensure!(answer.status() == 405, "{method} {path}: {}", answer.status());
            assert_eq!(answer.headers()["allow"], allow);
            assert_eq!(ErrorBody::parse(&answer.text().await?)?.dialect, dialect);
        }
        ensure!(gateway.fake.client_requests().is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_this_ollama_lacks_is_not_taken_for_a_missing_model() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        // The 404 of a path that Ollama does not know is no JSON.
        let mut missing = Script::json(StatusCode::NOT_FOUND, &Value::Null);
        missing.content_type = "text/plain";
        gateway.fake.script("/v1/responses/compact", missing);
        let request = gateway.workload.post("/v1/responses/compact", &json!({"model": MODEL, "input": "hi"}));
        assert_eq!(refused(request, 404).await?.code.as_deref(), Some("not_supported"));
        Ok(())
    })
    .await;
}
