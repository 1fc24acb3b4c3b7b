//! The gateway in front of a real Ollama: every endpoint answers, and Ollama's own counts are
//! recorded.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    ollama::{CHAT_MODEL, EMBEDDING_MODEL, Ollama},
    paddock::{Caller, Paddock, fetch_json},
    story::story,
    usage_rows::UsageRow,
};
use serde_json::{Value, json};

async fn rows(database: &Database, count: usize) -> Result<Vec<UsageRow>> {
    eventually(&format!("{count} usage rows"), Duration::from_secs(10), async || {
        let rows = database.usage_rows().await?;
        ensure!(rows.len() == count, "{rows:?}");
        Ok(rows)
    })
    .await
}

/// Asserts that the row has these counts.
fn assert_counted(row: &UsageRow, prompt: &Value, completion: &Value) -> Result<()> {
    ensure!(
        row.prompt_tokens == prompt.as_i64() && row.completion_tokens == completion.as_i64(),
        "{row:?}: {prompt} {completion}"
    );
    ensure!(row.tokens_estimated == 0 && row.http_status == 200, "{row:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers_and_is_metered_as_ollama_counted() {
    story(async {
        let ollama = Ollama::shared().await?;
        let database = Database::new(Engine::Sqlite).await?;
        let (_paddock, admin) = Paddock::api(database.url(), ollama.url()).await?;
        let caller = admin.create_workload().await?;
        let options = json!({"num_predict": 8, "temperature": 0});
        let messages = json!([{"role": "user", "content": "Say hello."}]);

        let version = fetch_json(caller.get("/api/version")).await?;
        assert_eq!(version["version"], ollama.version().await?);
        assert_listed(&caller).await?;

        let chat = json!({"model": CHAT_MODEL, "messages": messages, "options": options});
        let text = caller.post("/api/chat", &chat).send().await?.error_for_status()?.text().await?;
        let last: Value = serde_json::from_str(text.lines().last().context("lines")?)?;
        assert_eq!(last["done"], true, "{text}");
        assert_counted(&rows(&database, 1).await?[0], &last["prompt_eval_count"], &last["eval_count"])?;

        let generate = json!({"model": CHAT_MODEL, "prompt": "Say hello.", "stream": false, "options": options});
        let done = fetch_json(caller.post("/api/generate", &generate)).await?;
        assert_counted(&rows(&database, 2).await?[1], &done["prompt_eval_count"], &done["eval_count"])?;

        let embed = json!({"model": EMBEDDING_MODEL, "input": "hello"});
        let done = fetch_json(caller.post("/api/embed", &embed)).await?;
        assert_eq!(done["embeddings"][0].as_array().map(Vec::len), Some(384));
        assert_eq!(rows(&database, 3).await?[2].prompt_tokens, done["prompt_eval_count"].as_i64());

        let completion = json!({"model": CHAT_MODEL, "messages": messages, "max_tokens": 8});
        let done = fetch_json(caller.post("/v1/chat/completions", &completion)).await?;
        let usage = &done["usage"];
        assert_counted(&rows(&database, 4).await?[3], &usage["prompt_tokens"], &usage["completion_tokens"])?;

        let mut completion = completion;
        completion["stream"] = true.into();
        let text = caller.post("/v1/chat/completions", &completion).send().await?.error_for_status()?.text().await?;
        ensure!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"usage\":{"), "{text}");
        let streamed = &rows(&database, 5).await?[4];
        assert_counted(streamed, &usage["prompt_tokens"], &json!(streamed.completion_tokens))?;
        ensure!(streamed.completion_tokens > Some(0), "{streamed:?}");
        Ok(())
    })
    .await;
}

/// Asserts that both lists have both models.
async fn assert_listed(caller: &Caller) -> Result<()> {
    let mut wanted = [CHAT_MODEL, EMBEDDING_MODEL];
    wanted.sort_unstable();
    for (path, list, name) in [("/api/tags", "models", "name"), ("/v1/models", "data", "id")] {
        let listed = fetch_json(caller.get(path)).await?;
        let mut names: Vec<_> =
            listed[list].as_array().context("a list")?.iter().filter_map(|model| model[name].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, wanted, "{path}");
    }
    Ok(())
}
