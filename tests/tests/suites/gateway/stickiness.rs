//! Conversations that stay on the backend that has seen their beginning.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use http::StatusCode;
use paddock_tests::{
    fake_ollama::{End, FakeOllama, Script, chat_events, chat_lines},
    paddock::Caller,
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    MODEL,
    backends::{Gateway, backend, served},
};

async fn ask(caller: &Caller, path: &str, messages: &[Value]) -> Result<()> {
    let body = json!({"model": MODEL, "messages": messages, "stream": true});
    let answer = caller.post(path, &body).send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.bytes().await?;
    Ok(())
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

/// How many requests for `path` each backend got whose body contains `text`.
fn shares(backends: &[FakeOllama; 3], path: &str, text: &str) -> [usize; 3] {
    let contains = |body: &[u8]| String::from_utf8_lossy(body).contains(text);
    backends.each_ref().map(|fake| fake.requests(path).iter().filter(|request| contains(&request.body)).count())
}

#[rstest]
#[case::native("/api/chat")]
#[case::openai("/v1/chat/completions")]
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_five_turns_stays_on_one_of_three_backends(#[case] path: &str) {
    story(async {
        let backends = [backend(&[MODEL]).await?, backend(&[MODEL]).await?, backend(&[MODEL]).await?];
        for fake in &backends {
            fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 1, true)));
        }
        let gateway = Gateway::start(&backends.each_ref().map(FakeOllama::url)).await?;
        let other = gateway.admin.create_workload().await?;
        let mut messages = Vec::new();
        for turn in 0..5 {
            messages.push(message("user", &format!("Question {turn}: what else of the history of horses?")));
            ask(&gateway.workload, path, &messages).await?;
            messages.push(message("assistant", &format!("Answer {turn}: they were tamed long ago.")));
            // Other requests go where the turn is.
            ask(&other, path, &[message("user", &format!("{turn} unlike any other prompt of this story"))]).await?;
        }
        let mut shares = shares(&backends, path, "horses");
        shares.sort_unstable();
        assert_eq!(shares, [0, 0, 5]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_backend_sheds_a_conversation() {
    story(async {
        let backends = [backend(&[MODEL]).await?, backend(&[MODEL]).await?, backend(&[MODEL]).await?];
        let gateway = Gateway::start(&backends.each_ref().map(FakeOllama::url)).await?;
        let messages = [message("user", "A prompt that is sent again and again, as an agent does.")];
        ask(&gateway.workload, "/api/chat", &messages).await?;
        let first = backends.iter().position(|fake| served(fake) == 1).context("the first request")?;
        for fake in &backends {
            fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1).take(1)).ending(End::Hang));
        }
        let body = json!({"model": MODEL, "messages": messages});
        let open = try_join_all((0..6).map(|_| gateway.workload.post("/api/chat", &body).send())).await?;
        ensure!(open.iter().all(|answer| answer.status() == StatusCode::OK), "{open:?}");
        let shares = backends.each_ref().map(served);
        ensure!(shares[first] >= 3, "two of the open requests stay: {shares:?}");
        ensure!(shares.iter().enumerate().all(|(at, share)| at == first || *share > 0), "{shares:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_one_user_does_not_attract_the_same_prompt_of_another() {
    story(async {
        let backends = [backend(&[MODEL]).await?, backend(&[MODEL]).await?, backend(&[MODEL]).await?];
        let gateway = Gateway::start(&backends.each_ref().map(FakeOllama::url)).await?;
        let messages = [message("user", "The very same prompt, which many users have in common.")];
        for _ in 0..6 {
            let user = gateway.admin.create_workload().await?;
            ask(&user, "/api/chat", &messages).await?;
        }
        assert_eq!(shares(&backends, "/api/chat", "very same"), [2, 2, 2]);
        Ok(())
    })
    .await;
}
