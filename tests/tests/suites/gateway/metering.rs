//! One usage row for each admitted request, with the tokens that Ollama counted, or an estimate where
//! it could not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use http::StatusCode;
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{End, Script, chat_events, chat_lines},
    paddock::fetch_json,
    recorded_answers::{completion, completion_events, message, message_events, response, response_events},
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, chat, frames};

/// The tokens of each answer below.
const TOKENS: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn a_usage_row_has_the_caller_the_model_the_tokens_and_the_times() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let user = gateway.admin.create_user(json!({"roles": ["user"]})).await?;
        let (credential, caller) = gateway.admin.create_key(user, json!({})).await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 7)));
        let embedding = json!({"model": MODEL, "embeddings": [[0.5]], "prompt_eval_count": 4});
        gateway.fake.script("/api/embed", Script::json(StatusCode::OK, &embedding));

        let mut body = chat();
        // Another spelling of the same model.
        body["model"] = "library/SmolLM2:135m".into();
        caller
            .post("/api/chat", &body)
            .header("X-Request-Id", "first")
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?;
        gateway.usage_rows(1).await?;
        fetch_json(caller.post("/api/embed", &json!({"model": MODEL, "input": "x"}))).await?;
        let rows = gateway.usage_rows(2).await?;
        let (chat, embed) = (&rows[0], &rows[1]);
        assert_eq!((chat.user_id, chat.credential_id), (user, Some(credential)));
        assert_eq!(chat.request_id, "first");
        ensure!(chat.model.ends_with("library/smollm2:135m"), "{chat:?}");
        assert_eq!(chat.model, embed.model);
        assert_eq!((chat.endpoint.as_str(), embed.endpoint.as_str()), ("/api/chat", "/api/embed"));
        assert_eq!((chat.prompt_tokens, chat.completion_tokens, chat.tokens_estimated), (Some(31), Some(7), 0));
        assert_eq!(embed.prompt_tokens, Some(4));
        assert_eq!((chat.http_status, embed.http_status), (200, 200));
        assert_eq!(chat.status, embed.status);
        let first_byte = chat.first_byte_us.context("there was a first byte")?;
        ensure!((0..=chat.duration_us).contains(&first_byte), "{chat:?}");
        Ok(())
    })
    .await;
}

/// A request that runs a model, of each kind.
fn body_of(path: &str, stream: bool) -> Value {
    let messages = chat()["messages"].clone();
    match path {
        "/api/generate" | "/v1/completions" => json!({"model": MODEL, "prompt": "Say hello.", "stream": stream}),
        "/v1/responses" => json!({"model": MODEL, "input": "Say hello.", "stream": stream}),
        "/v1/messages" => json!({"model": MODEL, "max_tokens": 9, "messages": messages, "stream": stream}),
        _ => json!({"model": MODEL, "messages": messages, "stream": stream}),
    }
}

/// The stream of Ollama, with usage.
fn stream_of(path: &str) -> Script {
    match path {
        "/v1/chat/completions" => Script::events(chat_events(MODEL, TOKENS, true)),
        "/v1/completions" => Script::events(completion_events(MODEL, TOKENS, true)),
        "/v1/responses" => Script::named_events(response_events(MODEL, TOKENS)),
        "/v1/messages" => Script::named_events(message_events(MODEL, TOKENS)),
        _ => Script::ndjson(chat_lines(MODEL, TOKENS)),
    }
}

/// Asserts that the only row has the exact counts.
async fn assert_exact(gateway: &GatewayFixture, path: &str) -> Result<()> {
    let row = gateway.usage_rows(1).await?.remove(0);
    assert_eq!((row.endpoint.as_str(), row.status.as_str(), row.http_status), (path, "ok", 200));
    let counts = (row.prompt_tokens, row.completion_tokens, row.tokens_estimated);
    assert_eq!(counts, (Some(31), Some(i64::try_from(TOKENS)?), 0));
    Ok(())
}

#[rstest]
#[case::chat("/api/chat")]
#[case::generate("/api/generate")]
#[case::openai_chat("/v1/chat/completions")]
#[case::openai_completion("/v1/completions")]
#[case::openai_response("/v1/responses")]
#[case::anthropic_message("/v1/messages")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_each_dialect_is_counted_exactly(#[case] path: &str) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script(path, stream_of(path));
        let answer = gateway.workload.post(path, &body_of(path, true)).send().await?.error_for_status()?;
        answer.bytes().await?;
        assert_exact(&gateway, path).await
    })
    .await;
}

#[rstest]
#[case::openai_completion("/v1/completions", completion(MODEL, TOKENS))]
#[case::openai_response("/v1/responses", response(MODEL, TOKENS))]
#[case::anthropic_message("/v1/messages", message(MODEL, TOKENS))]
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_of_each_dialect_is_counted_exactly(#[case] path: &str, #[case] whole: Value) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script(path, Script::json(StatusCode::OK, &whole));
        let answer = gateway.workload.post(path, &body_of(path, false)).send().await?.error_for_status()?;
        assert_eq!(answer.json::<Value>().await?, whole);
        assert_exact(&gateway, path).await
    })
    .await;
}

#[rstest]
#[case::openai_response("/v1/responses")]
#[case::anthropic_message("/v1/messages")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_always_has_usage_passes_unchanged(#[case] path: &str) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let script = stream_of(path);
        let sent = script.frames.concat();
        gateway.fake.script(path, script);
        let body = body_of(path, true);
        let answer = gateway.workload.post(path, &body).send().await?.error_for_status()?;
        assert_eq!(answer.bytes().await?, sent);
        assert_eq!(gateway.fake.requests(path)[0].json(), body);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_without_requested_usage_is_what_ollama_sends_without_it() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        // Slow enough that each frame comes alone.
        let script = stream_of("/v1/completions").every(Duration::from_millis(20));
        gateway.fake.script("/v1/completions", script);
        let without = Script::events(completion_events(MODEL, TOKENS, false)).frames;
        let wanted: Vec<String> = without.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect();
        let request = gateway.workload.post("/v1/completions", &body_of("/v1/completions", true));
        let answer = request.send().await?.error_for_status()?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n\n").await?, wanted);
        let asked = gateway.fake.requests("/v1/completions")[0].json();
        assert_eq!(asked["stream_options"]["include_usage"], true, "{asked}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_with_requested_usage_passes_unchanged() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let script = stream_of("/v1/completions");
        let sent = script.frames.concat();
        gateway.fake.script("/v1/completions", script);
        let mut body = body_of("/v1/completions", true);
        body["stream_options"] = json!({"include_usage": true});
        let answer = gateway.workload.post("/v1/completions", &body).send().await?.error_for_status()?;
        assert_eq!(answer.bytes().await?, sent);
        Ok(())
    })
    .await;
}

/// A sum beyond the range of the database would lose the later rows of the user.
#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_count_is_cut_and_later_requests_are_recorded() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let end = |count: u64| json!({"model": MODEL, "done": true, "prompt_eval_count": count, "eval_count": 1});
        for count in [u64::MAX, 9_223_372_036_854_000_000, 5] {
            gateway.fake.script("/api/chat", Script::ndjson([end(count)]));
            let answer = gateway.workload.post("/api/chat", &chat()).send().await?.error_for_status()?;
            answer.bytes().await?;
        }
        let prompts: Vec<_> = gateway.usage_rows(3).await?.iter().map(|row| row.prompt_tokens).collect();
        assert_eq!(prompts, [Some(1 << 40), Some(1 << 40), Some(5)]);
        Ok(())
    })
    .await;
}

/// Asserts that the only row pays for a prompt, by an estimate.
async fn assert_estimated(gateway: &GatewayFixture) -> Result<()> {
    let row = gateway.usage_rows(1).await?.remove(0);
    ensure!(row.status == "client_gone" && row.tokens_estimated == 1, "{row:?}");
    ensure!(row.prompt_tokens > Some(0), "{row:?}");
    Ok(())
}

#[rstest]
#[case::chat("/api/chat")]
#[case::generate("/api/generate")]
#[case::openai_chat("/v1/chat/completions")]
#[case::openai_completion("/v1/completions")]
#[case::openai_response("/v1/responses")]
#[case::anthropic_message("/v1/messages")]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_a_stream_pays_for_the_prompt(#[case] path: &str) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let mut script = stream_of(path);
        script.frames.truncate(3);
        gateway.fake.script(path, script.ending(End::Hang));
        let answer = gateway.workload.post(path, &body_of(path, true)).send().await?.error_for_status()?;
        let mut body = answer.bytes_stream();
        body.next().await.context("a frame")??;
        drop(body);
        assert_estimated(&gateway).await
    })
    .await;
}

#[rstest]
#[case::of_a_stream("/api/chat", true)]
#[case::of_no_stream("/api/chat", false)]
#[case::of_anthropic("/v1/messages", true)]
#[case::of_openai("/v1/completions", true)]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_head_pays_for_the_prompt(#[case] path: &str, #[case] stream: bool) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script(path, stream_of(path).headers_after(Duration::from_hours(1)));
        let request = tokio::spawn(gateway.workload.post(path, &body_of(path, stream)).send());
        eventually("the request upstream", Duration::from_secs(10), async || {
            gateway.fake.requests(path).first().map(|_| ()).context("none yet")
        })
        .await?;
        request.abort();
        assert_estimated(&gateway).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_estimate_follows_what_the_model_reported() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let prompt = |bytes: usize| json!({"model": MODEL, "prompt": "x".repeat(bytes - 2)});
        let line = |tokens: usize| json!({"model": MODEL, "response": "", "done": true, "prompt_eval_count": tokens, "eval_count": 1});
        gateway.fake.script("/api/generate", Script::ndjson([line(500)]));
        let reported = gateway.workload.post("/api/generate", &prompt(1000));
        reported.send().await?.error_for_status()?.bytes().await?;
        gateway.usage_rows(1).await?;

        let mut cut = stream_of("/api/generate").ending(End::Hang);
        cut.frames.pop();
        gateway.fake.script("/api/generate", cut);
        let answer = gateway.workload.post("/api/generate", &prompt(4000)).send().await?.error_for_status()?;
        let mut body = answer.bytes_stream();
        body.next().await.context("a frame")??;
        drop(body);
        let row = gateway.usage_rows(2).await?.remove(1);
        assert_eq!((row.prompt_tokens, row.tokens_estimated), (Some(2000), 1));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_of_openai_are_counted_exactly() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let embeddings = json!({
            "object": "list", "model": MODEL, "data": [{"object": "embedding", "embedding": [0.5], "index": 0}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        });
        gateway.fake.script("/v1/embeddings", Script::json(StatusCode::OK, &embeddings));
        let request = gateway.workload.post("/v1/embeddings", &json!({"model": MODEL, "input": "hi"}));
        assert_eq!(fetch_json(request).await?, embeddings);
        let row = gateway.usage_rows(1).await?.remove(0);
        assert_eq!((row.prompt_tokens, row.completion_tokens, row.tokens_estimated), (Some(4), Some(0), 0));
        Ok(())
    })
    .await;
}

/// Ollama ends a generation that repeats one token with a 200 whose counts are all 0.
#[rstest]
#[case::openai_chat("/v1/chat/completions")]
#[case::openai_completion("/v1/completions")]
#[case::openai_response("/v1/responses")]
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_with_counts_of_zero_pays_by_an_estimate(#[case] path: &str) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let text = "d".repeat(400);
        let answer = json!({
            "model": MODEL, "choices": [{"text": text, "finish_reason": null}], "output": [{"text": text}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "input_tokens": 0, "output_tokens": 0},
        });
        gateway.fake.script(path, Script::json(StatusCode::OK, &answer));
        assert_eq!(fetch_json(gateway.workload.post(path, &body_of(path, false))).await?, answer);
        let row = gateway.usage_rows(1).await?.remove(0);
        ensure!(row.tokens_estimated == 1 && row.prompt_tokens > Some(0), "{row:?}");
        ensure!(row.completion_tokens >= Some(100), "{row:?}");
        Ok(())
    })
    .await;
}

/// Ollama embeds the first texts before it finds that a later one is too long.
#[rstest]
#[case::at_once(Duration::ZERO, false)]
#[case::after_work(Duration::from_millis(1100), true)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_pays_for_the_prompt_if_ollama_worked_on_it(#[case] after: Duration, #[case] pays: bool) {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let refusal = json!({"error": "the input length exceeds the context length"});
        gateway.fake.script("/api/embed", Script::json(StatusCode::BAD_REQUEST, &refusal).headers_after(after));
        let request = gateway.workload.post("/api/embed", &json!({"model": MODEL, "input": ["one", "two"]}));
        assert_eq!(request.send().await?.status(), 400);
        let row = gateway.usage_rows(1).await?.remove(0);
        assert_eq!((row.prompt_tokens > Some(0), row.tokens_estimated == 1), (pays, pays), "{row:?}");
        Ok(())
    })
    .await;
}
