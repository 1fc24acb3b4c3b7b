//! One usage row for each admitted request, with the tokens that Ollama counted.

use anyhow::{Context as _, ensure};
use http::StatusCode;
use paddock_tests::{
    fake_ollama::{Script, chat_lines},
    paddock::fetch_json,
    story::story,
};
use serde_json::json;

use super::{GatewayFixture, MODEL, chat};

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
