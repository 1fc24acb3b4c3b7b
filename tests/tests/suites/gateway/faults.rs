//! Faults of Ollama: the client gets a complete answer or an error in its dialect, and the usage
//! row has the outcome.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::StatusCode;
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{End, FakeOllama, Outcome, Script, chat_events, chat_lines},
    paddock::Paddock,
    process::free_port,
    story::story,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{GatewayFixture, MODEL, chat, last_line, streamed_chat_completion};

const PACE: Duration = Duration::from_millis(20);

/// A script without the frames from `last` on.
fn without_end(mut script: Script, last: usize) -> Script {
    script.frames.truncate(last);
    script
}

/// A script that ends in the middle of its frame `last`.
fn with_half_a_frame(script: Script, last: usize) -> Script {
    let mut script = without_end(script, last);
    let frame = script.frames.pop().unwrap_or_default();
    script.frames.push(frame.slice(..frame.len() / 2));
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_native_stream_ends_with_an_error() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let native = Script::ndjson(chat_lines(MODEL, 5)).every(PACE);
        // When its engine dies, Ollama ends the body in order. Only the last object is missing.
        let incomplete = [
            without_end(native.clone(), 3),
            without_end(native.clone(), 3).ending(End::Abort),
            with_half_a_frame(native, 3),
        ];
        for (count, script) in incomplete.into_iter().enumerate() {
            gateway.fake.script("/api/chat", script);
            let text = gateway.workload.post("/api/chat", &chat()).send().await?.text().await?;
            ensure!(last_line(&text)?["error"].is_string(), "{text}");
            let rows = gateway.usage_rows(count + 1).await?;
            assert_eq!(rows[count].status, "upstream_incomplete");
            assert_eq!(rows[count].tokens_estimated, 1);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_openai_stream_ends_with_an_error() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let openai = Script::events(chat_events(MODEL, 5, true)).every(PACE);
        gateway.fake.script("/v1/chat/completions", without_end(openai, 3));
        let request = gateway.workload.post("/v1/chat/completions", &streamed_chat_completion());
        let text = request.send().await?.text().await?;
        let last = text.trim_end().lines().last().and_then(|line| line.strip_prefix("data: ")).context("an event")?;
        let last: Value = serde_json::from_str(last).with_context(|| text.clone())?;
        ensure!(last["error"]["message"].is_string(), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_status_of_ollama_passes_unchanged() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let error = json!({"error": "llama runner process has terminated: signal: killed"});
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_REQUEST, StatusCode::NOT_IMPLEMENTED] {
            gateway.fake.script("/api/chat", Script::json(status, &error));
            let answer = gateway.workload.post("/api/chat", &chat()).send().await?;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.json::<Value>().await?, error);
        }
        let rows = gateway.usage_rows(3).await?;
        assert_eq!(rows.iter().map(|row| row.http_status).collect::<Vec<_>>(), [500, 400, 501]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_line_in_a_stream_passes_unchanged() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let error = json!({"error": "llama runner process has terminated: signal: killed"});
        gateway.fake.script("/api/chat", Script::ndjson([error.clone()]));
        let answer = gateway.workload.post("/api/chat", &chat()).send().await?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.json::<Value>().await?, error);
        assert_eq!(gateway.usage_rows(1).await?[0].http_status, 200);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_headers_end_in_a_504_after_their_timeout() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("UPSTREAM_HEADERS_TIMEOUT", "1s")).await?;
        let script = Script::ndjson(chat_lines(MODEL, 1)).headers_after(Duration::from_hours(1));
        gateway.fake.script("/api/chat", script);
        let start = Instant::now();
        let answer = gateway.workload.post("/api/chat", &chat()).send().await?;
        ensure!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        ensure!(answer.json::<Value>().await?["error"].is_string());
        gateway.usage_rows(1).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_ended_after_its_timeout() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("UPSTREAM_IDLE_TIMEOUT", "1s")).await?;
        let mut script = Script::ndjson(chat_lines(MODEL, 2)).ending(End::Hang);
        script.frames.pop();
        gateway.fake.script("/api/chat", script);
        let text = gateway.workload.post("/api/chat", &chat()).send().await?.text().await?;
        ensure!(last_line(&text)?["error"].is_string(), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_ends_the_upstream_after_the_idle_timeout() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("UPSTREAM_IDLE_TIMEOUT", "2s")).await?;
        let line =
            format!("{{\"model\":\"{MODEL}\",\"message\":{{\"content\":\"{}\"}},\"done\":false}}", "x".repeat(64_000));
        gateway.fake.script("/api/chat", Script::ndjson((0..2_000).map(|_| line.clone())).ending(End::Hang));
        let body = chat().to_string();
        let mut idle = TcpStream::connect(gateway.paddock.url().trim_start_matches("http://")).await?;
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            gateway.workload.key(),
            body.len()
        );
        idle.write_all(head.as_bytes()).await?;
        let seen = eventually("the request upstream", Duration::from_secs(10), async || {
            gateway.fake.requests("/api/chat").first().cloned().context("none yet")
        })
        .await?;
        let ended = seen.outcome(Duration::from_secs(20)).await?;
        ensure!(matches!(ended, Outcome::Abandoned(_)), "the whole answer was sent");
        gateway.usage_rows(1).await?;
        drop(idle);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_pauses_ends_after_the_total_timeout() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("UPSTREAM_TOTAL_TIMEOUT", "2s")).await?;
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1_000_000)));
        let start = Instant::now();
        let text = gateway.workload.post("/api/chat", &chat()).send().await?.text().await?;
        ensure!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
        ensure!(last_line(&text)?["error"].is_string(), "the answer was completed");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_hanging_ollama_do_not_wait_for_each_other() {
    story(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let hangs = format!("http://{}", listener.local_addr()?);
        let _held = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.push(stream);
            }
        });
        let database = Database::new(Engine::Sqlite).await?;
        let (_paddock, admin) = Paddock::api(database.url(), &hangs).await?;
        let workload = admin.create_workload().await?;
        let start = Instant::now();
        let asked = (0..6).map(|_| workload.post("/api/chat", &chat()).send());
        for answer in futures_util::future::try_join_all(asked).await? {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        // The time of the running poll and of one more.
        ensure!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ollama_requests_are_refused_at_once() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let nobody = format!("http://127.0.0.1:{}", free_port()?);
        let (paddock, admin) = Paddock::api(database.url(), &nobody).await?;
        let workload = admin.create_workload().await?;
        for _ in 0..3 {
            let start = Instant::now();
            let answer = workload.post("/api/chat", &chat()).send().await?;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            ensure!(answer.json::<Value>().await?["error"].is_string());
            ensure!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
        }
        let ready: Value = reqwest::get(format!("{}/readyz", paddock.url())).await?.error_for_status()?.json().await?;
        ensure!(ready["degraded"].as_array().is_some_and(|parts| parts.contains(&json!("ollama"))), "{ready}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_appears_in_ollama_is_found() {
    story(async {
        let fake = FakeOllama::start(&[]).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let (_paddock, admin) = Paddock::api(database.url(), &fake.url()).await?;
        let workload = admin.create_workload().await?;
        assert_eq!(workload.post("/api/chat", &chat()).send().await?.status(), StatusCode::NOT_FOUND);
        ensure!(fake.inference_requests().is_empty());
        fake.add_model(MODEL);
        fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        eventually("the model to be found", Duration::from_secs(30), async || {
            let answer = workload.post("/api/chat", &chat()).send().await?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_shape_pass_byte_for_byte() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let mut script = Script::ndjson(chat_lines(MODEL, 2));
        // Bytes that a parser would write differently.
        script.frames.insert(1, Bytes::from_static("{\"model\" : \"smollm2:135m\",\n".as_bytes()));
        script.frames.insert(2, Bytes::from_static("\t\"x\":1e0, \"message\":{\"content\":\"\\u00e9é\"},\"done\":false}\n".as_bytes()));
        let sent = script.frames.concat();
        gateway.fake.script("/api/chat", script);
        let body = "{ \"messages\":[{\"content\":\"h\\u0065llo é\",\"role\":\"user\"}],\n\t\"options\":{\"temperature\":0.10},\"model\":\"smollm2:135m\" }";
        let request = gateway.workload.post("/api/chat", &Value::Null).body(body);
        assert_eq!(request.send().await?.bytes().await?, sent);
        let seen = gateway.fake.requests("/api/chat");
        assert_eq!(std::str::from_utf8(&seen[0].body)?, body);
        Ok(())
    })
    .await;
}
