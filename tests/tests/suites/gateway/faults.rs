//! Whatever Ollama does, the client gets a whole answer or an error in its own dialect, and the usage row says which.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::StatusCode;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{End, Ended, FakeOllama, Script, chat_events, chat_lines};
use paddock_tests::paddock::{Launch, Paddock};
use paddock_tests::process::free_port;
use paddock_tests::story::story;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Front, MODEL, chat, streamed_chat_completion};

const PACE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_ends_with_an_error_in_its_dialect() {
    story(async {
        let front = Front::start().await?;
        let native = Script::ndjson(chat_lines(MODEL, 5)).every(PACE);
        let openai = Script::events(chat_events(MODEL, 5, true)).every(PACE);
        // Ollama ends the body in order when its engine dies: only the missing last object tells.
        let no_end = |mut script: Script, last: usize| {
            script.frames.truncate(last);
            script
        };
        let half_a_frame = |script: Script, last: usize| {
            let mut script = no_end(script, last);
            let frame = script.frames.pop().unwrap_or_default();
            script.frames.push(frame.slice(..frame.len() / 2));
            script
        };
        let cut = [no_end(native.clone(), 3), no_end(native.clone(), 3).ending(End::Dies), half_a_frame(native, 3)];
        for (count, script) in cut.into_iter().enumerate() {
            front.fake.answer("/api/chat", script);
            let text = front.workload.post("/api/chat", &chat()).send().await?.text().await?;
            let last = text.lines().last().context("lines")?;
            let last: Value = serde_json::from_str(last).with_context(|| text.clone())?;
            ensure!(last["error"].is_string(), "{text}");
            let rows = front.usage(count + 1).await?;
            assert_eq!(rows[count].status, "upstream_incomplete");
            assert_eq!(rows[count].tokens_estimated, 1);
        }
        front.fake.answer("/v1/chat/completions", no_end(openai, 3));
        let request = front.workload.post("/v1/chat/completions", &streamed_chat_completion());
        let text = request.send().await?.text().await?;
        let last = text.trim_end().lines().last().and_then(|line| line.strip_prefix("data: ")).context("an event")?;
        let last: Value = serde_json::from_str(last).with_context(|| text.clone())?;
        ensure!(last["error"]["message"].is_string(), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_ollama_pass_as_they_are() {
    story(async {
        let front = Front::start().await?;
        let error = json!({"error": "llama runner process has terminated: signal: killed"});
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_REQUEST, StatusCode::NOT_IMPLEMENTED] {
            front.fake.answer("/api/chat", Script::json(status, &error));
            let answer = front.workload.post("/api/chat", &chat()).send().await?;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.json::<Value>().await?, error);
        }
        let rows = front.usage(3).await?;
        assert_eq!(rows.iter().map(|row| row.http_status).collect::<Vec<_>>(), [500, 400, 501]);

        // Under 200 a stream can still tell of an error, in a line of its own.
        front.fake.answer("/api/chat", Script::ndjson([error.clone()]));
        let answer = front.workload.post("/api/chat", &chat()).send().await?;
        assert_eq!(answer.json::<Value>().await?, error);
        let rows = front.usage(4).await?;
        ensure!(rows[3].status != rows[2].status || rows[3].http_status == 200, "{rows:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_do_not_come_are_not_waited_for_for_ever() {
    story(async {
        let front = Front::with(|launch| launch.env("UPSTREAM_HEADERS_TIMEOUT", "1s")).await?;
        let script = Script::ndjson(chat_lines(MODEL, 1)).headers_after(Duration::from_hours(1));
        front.fake.answer("/api/chat", script);
        let start = Instant::now();
        let answer = front.workload.post("/api/chat", &chat()).send().await?;
        ensure!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        ensure!(answer.json::<Value>().await?["error"].is_string());
        front.usage(1).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_ended() {
    story(async {
        let front = Front::with(|launch| launch.env("UPSTREAM_IDLE_TIMEOUT", "1s")).await?;
        let mut script = Script::ndjson(chat_lines(MODEL, 2)).ending(End::Hangs);
        script.frames.pop();
        front.fake.answer("/api/chat", script);
        let text = front.workload.post("/api/chat", &chat()).send().await?.text().await?;
        let last: Value = serde_json::from_str(text.lines().last().context("lines")?)?;
        ensure!(last["error"].is_string(), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_an_answer_does_not_hold_it_for_ever() {
    story(async {
        let front = Front::with(|launch| launch.env("UPSTREAM_IDLE_TIMEOUT", "2s")).await?;
        let line =
            format!("{{\"model\":\"{MODEL}\",\"message\":{{\"content\":\"{}\"}},\"done\":false}}", "x".repeat(64_000));
        front.fake.answer("/api/chat", Script::ndjson((0..2_000).map(|_| line.clone())).ending(End::Hangs));
        let body = chat().to_string();
        let mut idle = TcpStream::connect(front.paddock.url().trim_start_matches("http://")).await?;
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            front.workload.key(),
            body.len()
        );
        idle.write_all(head.as_bytes()).await?;
        let seen = eventually("the request upstream", Duration::from_secs(10), async || {
            front.fake.requests("/api/chat").first().cloned().context("none yet")
        })
        .await?;
        let ended = seen.ended(Duration::from_secs(20)).await?;
        ensure!(matches!(ended, Ended::Abandoned(_)), "the client has read it all?");
        front.usage(1).await?;
        drop(idle);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_pauses_ends_when_its_time_is_over() {
    story(async {
        let front = Front::with(|launch| launch.env("UPSTREAM_TOTAL_TIMEOUT", "2s")).await?;
        front.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1_000_000)));
        let start = Instant::now();
        let text = front.workload.post("/api/chat", &chat()).send().await?.text().await?;
        ensure!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
        let last: Value = serde_json::from_str(text.lines().last().context("lines")?)?;
        ensure!(last["error"].is_string(), "it came to its end first: {last}");
        Ok(())
    })
    .await;
}

/// Many ask for models that an Ollama which hangs may have: none of them waits for the others.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_an_ollama_that_hangs_waits_once() {
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
        // The look that was under way, and one of their own.
        ensure!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ollama_requests_are_refused_at_once_and_served_again_when_it_is_back() {
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
        ensure!(ready["degraded"].as_array().is_some_and(|away| away.contains(&json!("ollama"))), "{ready}");
        drop(paddock);

        let fake = FakeOllama::start(&[]).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&fake.url());
        let paddock = launch.start().await?;
        let workload = paddock.caller(workload.key());
        assert_eq!(workload.post("/api/chat", &chat()).send().await?.status(), StatusCode::NOT_FOUND);
        ensure!(fake.work().is_empty());
        fake.offer(MODEL);
        fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
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
        let front = Front::start().await?;
        let mut script = Script::ndjson(chat_lines(MODEL, 2));
        // Bytes that a parser would write differently, cut anywhere, with the end it looks for.
        script.frames.insert(1, Bytes::from_static("{\"model\" : \"smollm2:135m\",\n".as_bytes()));
        script.frames.insert(2, Bytes::from_static("\t\"x\":1e0, \"message\":{\"content\":\"\\u00e9é\"},\"done\":false}\n".as_bytes()));
        let sent = script.frames.concat();
        front.fake.answer("/api/chat", script);
        let body = "{ \"messages\":[{\"content\":\"h\\u0065llo é\",\"role\":\"user\"}],\n\t\"options\":{\"temperature\":0.10},\"model\":\"smollm2:135m\" }";
        let request = front.workload.post("/api/chat", &Value::Null).body(body);
        assert_eq!(request.send().await?.bytes().await?, sent);
        let seen = front.fake.requests("/api/chat");
        assert_eq!(std::str::from_utf8(&seen[0].body)?, body);
        Ok(())
    })
    .await;
}
