//! Broken answers of Ollama: the client gets an error with the right status, and never half an
//! answer as a whole one.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::Script,
    paddock::{Caller, Launch, Paddock},
    raw_upstream::{RawAnswer, RawUpstream, Then},
    story::story,
    usage_rows::UsageRow,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    GatewayFixture, MODEL, chat,
    error_body::{ErrorBody, refused},
};

/// A whole answer to a chat that is no stream.
const COMPLETE: &str = r#"{"model":"smollm2:135m","message":{"role":"assistant","content":"hi"},"done":true,"prompt_eval_count":31,"eval_count":1}"#;

/// A Paddock in front of an upstream that answers every request with the same bytes, and a workload.
struct RawFixture {
    upstream: RawUpstream,
    database: Database,
    workload: Caller,
    _paddock: Paddock,
}

impl RawFixture {
    async fn start(answer: RawAnswer) -> Result<Self> {
        let upstream = RawUpstream::start(&[MODEL], move |_| answer.clone()).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&upstream.url());
        let (paddock, admin) = Paddock::seeded(launch).await?;
        let workload = admin.create_workload().await?;
        Ok(Self { upstream, database, workload, _paddock: paddock })
    }

    /// Waits until there are `count` usage rows, and returns the last one.
    async fn usage_row(&self, count: usize) -> Result<UsageRow> {
        eventually("the usage row", Duration::from_secs(10), async || {
            let rows = self.database.usage_rows().await?;
            ensure!(rows.len() == count, "{rows:?}");
            Ok(rows[count - 1].clone())
        })
        .await
    }
}

/// Requests of every dialect, streams and others.
fn bodies() -> [(&'static str, Value); 6] {
    let mut whole = chat();
    whole["stream"] = false.into();
    let messages = chat()["messages"].clone();
    [
        ("/api/chat", chat()),
        ("/api/chat", whole),
        ("/api/embed", json!({"model": MODEL, "input": "hi"})),
        ("/v1/chat/completions", json!({"model": MODEL, "messages": messages, "stream": true})),
        ("/v1/responses", json!({"model": MODEL, "input": "hi"})),
        ("/v1/messages", json!({"model": MODEL, "max_tokens": 9, "messages": messages, "stream": true})),
    ]
}

#[rstest]
#[case::empty("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::KeepOpen)]
#[case::empty_and_chunked("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Then::KeepOpen)]
#[case::empty_to_the_end("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Then::Close)]
#[case::reset_at_once("", Then::Reset)]
#[case::closed_at_once("", Then::Close)]
#[case::closed_within_the_head("HTTP/1.1 200 OK\r\nContent-Ty", Then::Close)]
#[case::closed_after_the_head("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", Then::Close)]
#[case::reset_after_the_head("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", Then::Reset)]
#[case::another_protocol(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    Then::Close
)]
#[case::early_hints(
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"done\": true} ",
    Then::KeepOpen
)]
#[case::processing(
    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"done\": true} ",
    Then::KeepOpen
)]
#[case::a_redirect("HTTP/1.1 307 Temporary Redirect\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", Then::KeepOpen)]
#[case::not_http("SSH-2.0-OpenSSH_9.9\r\n", Then::Close)]
#[case::a_body_alone("{\"done\":true}\n", Then::Close)]
#[case::two_lengths("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", Then::Close)]
#[case::a_malformed_chunk("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Then::Close)]
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_a_502_in_every_dialect(#[case] bytes: &str, #[case] then: Then) {
    story(async {
        let fixture = RawFixture::start(RawAnswer::new(bytes, then)).await?;
        for (path, body) in bodies() {
            let error = refused(fixture.workload.post(path, &body), 502).await?;
            ensure!(Some(error.dialect) == paddock_ollama::dialect_of(path), "{path}: {error:?}");
        }
        // None is sent a second time.
        assert_eq!(fixture.upstream.requests(), bodies().len());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::closed(Then::Close)]
#[case::reset(Then::Reset)]
#[tokio::test(flavor = "multi_thread")]
async fn half_of_an_answer_that_is_no_stream_is_a_502(#[case] then: Then) {
    story(async {
        let (half, _) = COMPLETE.split_at(COMPLETE.len() / 2);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", COMPLETE.len());
        let fixture = RawFixture::start(RawAnswer::new(head + half, then)).await?;
        let (path, body) = bodies()[1].clone();
        refused(fixture.workload.post(path, &body), 502).await?;
        Ok(())
    })
    .await;
}

/// The client would wait for the bytes that Ollama announced.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_object_that_is_shorter_than_announced_is_a_502() {
    story(async {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", COMPLETE.len() + 9);
        let fixture = RawFixture::start(RawAnswer::new(head + COMPLETE, Then::Close)).await?;
        let (path, body) = bodies()[1].clone();
        refused(fixture.workload.post(path, &body), 502).await?;
        Ok(())
    })
    .await;
}

/// Ollama announces the length of a stream that it does not flush, such as that of an empty prompt.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_a_length_is_whole_without_its_usage() {
    story(async {
        let chunk = |usage: &str| format!("data: {{\"choices\":[{{\"text\":\"\"}}],\"model\":\"{MODEL}\"{usage}}}\n\n");
        let end = "data: [DONE]\n\n";
        let sent = chunk(r#","usage":{"prompt_tokens":0,"total_tokens":0}"#) + end;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
        let fixture = RawFixture::start(RawAnswer::new(head + &sent, Then::KeepOpen)).await?;
        let body = json!({"model": MODEL, "prompt": "", "stream": true});
        let answer = fixture.workload.post("/v1/completions", &body).send().await?.error_for_status()?;
        assert_eq!(answer.text().await?, chunk("") + end);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_recorded_as_incomplete() {
    story(async {
        let empty = RawAnswer::new("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::KeepOpen);
        let fixture = RawFixture::start(empty).await?;
        for (place, (path, body)) in bodies().into_iter().enumerate() {
            refused(fixture.workload.post(path, &body), 502).await?;
            let row = fixture.usage_row(place + 1).await?;
            assert_eq!((row.status.as_str(), row.http_status), ("upstream_incomplete", 502), "{path}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continue_before_the_answer_is_no_failure() {
    story(async {
        let RawAnswer { bytes, then } = RawAnswer::json(COMPLETE);
        let fixture = RawFixture::start(RawAnswer::new(format!("HTTP/1.1 100 Continue\r\n\r\n{bytes}"), then)).await?;
        let (path, body) = bodies()[1].clone();
        let answer = fixture.workload.post(path, &body).send().await?;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await?, COMPLETE);
        Ok(())
    })
    .await;
}

/// A failure after admission has one log line and counts once, as itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_counted_and_logged_once() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/api/chat", Script::ndjson(Vec::<String>::new()));
        let answer = gateway.workload.post("/api/chat", &chat()).header("X-Request-Id", "failed").send().await?;
        assert_eq!(answer.status(), 502);
        ErrorBody::parse(&answer.text().await?)?;
        let line = gateway.log_line("failed").await?;
        ensure!(line["outcome"] == "upstream_incomplete" && line["status"] == 502, "{line}");
        let text = reqwest::get(format!("{}/metrics", gateway.paddock.metrics_url())).await?.text().await?;
        let counted = text.lines().filter(|line| line.starts_with("paddock_gateway_requests_total{"));
        let counted: Vec<&str> = counted.filter(|line| line.contains("route=\"/api/chat\"")).collect();
        ensure!(counted.len() == 1 && counted[0].ends_with(" 1"), "{counted:?}");
        ensure!(counted[0].contains("outcome=\"upstream_incomplete\""), "{counted:?}");
        Ok(())
    })
    .await;
}
