//! A shutdown lets open requests finish until the drain timeout.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use paddock_api::Config;
use paddock_tests::{
    database::Engine,
    fake_ollama::{End, Script, chat_lines},
    story::story,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Api, MODEL};

/// The API with this drain timeout.
async fn start(drain: Duration) -> Result<Api> {
    Api::start_with(Engine::Sqlite, |config| Config { drain_timeout: drain, ..config }).await
}

async fn chat(api: &Api) -> Result<reqwest::Response> {
    let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&api.admin);
    Ok(request.json(&json!({"model": MODEL, "messages": []})).send().await?.error_for_status()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_finishes_and_an_idle_connection_does_not_delay_the_end() {
    story(async {
        let api = start(Duration::from_secs(30)).await?;
        api.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 20)).every(Duration::from_millis(20)));
        let mut frames = chat(&api).await?.bytes_stream();
        let mut text = frames.next().await.context("a frame")??.to_vec();
        // A connection that has sent nothing.
        let address = api.contract.url.trim_start_matches("http://").to_owned();
        let _silent = tokio::net::TcpStream::connect(&address).await?;

        api.stop.cancel();
        while let Some(frame) = frames.next().await {
            text.extend_from_slice(&frame?);
        }
        assert_eq!(String::from_utf8(text)?.lines().count(), 21);
        timeout(Duration::from_secs(5), api.served).await???;
        ensure!(tokio::net::TcpStream::connect(&address).await.is_err(), "it still listens");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_drain_timeout_streams_end_with_an_error_and_other_connections_are_dropped() {
    story(async {
        let drain = Duration::from_secs(1);
        let api = start(drain).await?;
        let mut hanging = Script::ndjson(chat_lines(MODEL, 2)).ending(End::Hang);
        // Without its last object the answer is incomplete.
        hanging.frames.pop();
        api.fake.script("/api/chat", hanging);
        let mut frames = chat(&api).await?.bytes_stream();
        let mut text = frames.next().await.context("a frame")??.to_vec();
        // A client that sends half a head.
        let address = api.contract.url.trim_start_matches("http://").to_owned();
        let mut half_sent = tokio::net::TcpStream::connect(&address).await?;
        tokio::io::AsyncWriteExt::write_all(&mut half_sent, b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Le").await?;

        let start = Instant::now();
        api.stop.cancel();
        while let Some(frame) = frames.next().await {
            text.extend_from_slice(&frame?);
        }
        let text = String::from_utf8(text)?;
        let last: Value = serde_json::from_str(text.lines().last().context("lines")?)?;
        ensure!(last["error"].is_string(), "{text}");
        timeout(Duration::from_secs(10), api.served).await???;
        let took = start.elapsed();
        ensure!((drain..drain + Duration::from_secs(2)).contains(&took), "it took {took:?}");
        Ok(())
    })
    .await;
}
