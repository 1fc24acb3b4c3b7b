//! An Ollama that vanishes without closing its connections: no packet says so, and the health check
//! notices it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use http::StatusCode;
use paddock_tests::{
    chaos_proxy::ChaosProxy,
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    story::story,
};
use reqwest::Response;
use serde_json::{Value, json};

use super::{GatewayFixture, MODEL, OTHER_MODEL, chat, error_body::ErrorBody};

/// The time in which the health check notices it: two polls, each after 2 s, that get no answer for
/// 4 s; and 2 s more for a slow machine.
const NOTICED: Duration = Duration::from_secs(14);
/// The time in which new requests are refused while it is down.
const REFUSED: Duration = Duration::from_millis(500);

/// A gateway whose Ollama is behind a proxy that can stop to forward.
async fn start() -> Result<(ChaosProxy, GatewayFixture)> {
    let fake = FakeOllama::start(&[MODEL, OTHER_MODEL]).await?;
    let proxy = ChaosProxy::start("127.0.0.1", fake.port()).await?;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let gateway = GatewayFixture::in_front_of(fake, &url, |launch| launch).await?;
    gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
    Ok((proxy, gateway))
}

fn chat_without_stream() -> Value {
    let mut body = chat();
    body["stream"] = false.into();
    body
}

/// Sends a chat, and returns the answer and how long its head took.
async fn timed(gateway: &GatewayFixture, body: &Value) -> Result<(Response, Duration)> {
    let start = Instant::now();
    let answer = gateway.workload.post("/api/chat", body).send().await?;
    Ok((answer, start.elapsed()))
}

async fn assert_unavailable(answer: Response) -> Result<()> {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    ensure!(answer.headers().contains_key("retry-after"), "{answer:?}");
    ErrorBody::parse(&answer.text().await?)?;
    Ok(())
}

/// Waits until new requests are refused at once.
async fn wait_until_down(gateway: &GatewayFixture) -> Result<()> {
    eventually("a refusal at once", 2 * NOTICED, async || {
        let (answer, took) = timed(gateway, &chat()).await?;
        ensure!(answer.status() == StatusCode::SERVICE_UNAVAILABLE && took < REFUSED, "{took:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_its_connections_end_when_the_health_check_notices_it() {
    story(async {
        let (proxy, gateway) = start().await?;
        // Leaves connections in the pool, which look alive.
        try_join_all((0..8).map(|_| async { anyhow::Ok(timed(&gateway, &chat()).await?.0.bytes().await?) })).await?;
        proxy.set_frozen(true);
        let bodies = [chat(), chat_without_stream()];
        let waiting = (0..8).map(|number| timed(&gateway, &bodies[number % 2]));
        for (answer, took) in try_join_all(waiting).await? {
            ensure!(took < NOTICED, "it took {took:?}");
            assert_unavailable(answer).await?;
        }
        for row in gateway.usage_rows(16).await?.iter().skip(8) {
            assert_eq!((row.status.as_str(), row.http_status), ("upstream_unavailable", 503));
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_head_ends_when_the_health_check_notices_it() {
    story(async {
        let (proxy, gateway) = start().await?;
        let silent = Script::ndjson(chat_lines(MODEL, 1)).headers_after(Duration::from_hours(1));
        gateway.fake.script("/api/chat", silent);
        let waiting = tokio::spawn(gateway.workload.post("/api/chat", &chat()).send());
        eventually("the request upstream", Duration::from_secs(10), async || {
            gateway.fake.requests("/api/chat").first().map(|_| ()).context("none yet")
        })
        .await?;
        let start = Instant::now();
        proxy.set_frozen(true);
        let answer = waiting.await??;
        ensure!(start.elapsed() < NOTICED, "it took {:?}", start.elapsed());
        assert_unavailable(answer).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_requests_are_refused_at_once_while_it_is_down() {
    story(async {
        let (proxy, gateway) = start().await?;
        proxy.set_frozen(true);
        wait_until_down(&gateway).await?;
        for _ in 0..10 {
            let (answer, took) = timed(&gateway, &chat()).await?;
            ensure!(took < REFUSED, "it took {took:?}");
            assert_unavailable(answer).await?;
        }
        let ready: Value = reqwest::get(format!("{}/readyz", gateway.paddock.url())).await?.json().await?;
        ensure!(ready["degraded"].as_array().is_some_and(|parts| parts.contains(&json!("ollama"))), "{ready}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_served_again_after_it_is_back() {
    story(async {
        let (proxy, gateway) = start().await?;
        proxy.set_frozen(true);
        wait_until_down(&gateway).await?;
        proxy.set_frozen(false);
        eventually("an answer", NOTICED, async || {
            let (answer, _) = timed(&gateway, &chat()).await?;
            ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
            Ok(())
        })
        .await?;
        for _ in 0..10 {
            let (answer, _) = timed(&gateway, &chat()).await?;
            assert_eq!(answer.status(), StatusCode::OK);
        }
        Ok(())
    })
    .await;
}
