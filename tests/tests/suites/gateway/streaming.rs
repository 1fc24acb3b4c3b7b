//! Streams pass untouched and frame by frame, end with their client, and finish during a shutdown.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, future::try_join_all};
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{End, Outcome, Script, chat_events, chat_lines},
    process::Signal,
    story::story,
};

use super::{GatewayFixture, MODEL, chat, frames, streamed_chat_completion};

/// 50 frames a second.
const PACE: Duration = Duration::from_millis(20);
const STREAMS: usize = 32;

fn text(frames: &[bytes::Bytes]) -> Vec<String> {
    frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_streams_at_fifty_frames_a_second_arrive_frame_by_frame() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let script = Script::ndjson(chat_lines(MODEL, 150)).every(PACE);
        let sent = text(&script.frames);
        gateway.fake.script("/api/chat", script);
        let streams = (0..STREAMS).map(|_| async {
            let start = Instant::now();
            let answer = gateway.workload.post("/api/chat", &chat()).send().await?.error_for_status()?;
            assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
            let headers = start.elapsed();
            let received = frames(Box::pin(answer.bytes_stream()), "\n").await?;
            ensure!(received == sent, "sent {} frames, received {}: {received:?}", sent.len(), received.len());
            // The stream takes three seconds. A buffering gateway would send nothing before its
            // end.
            ensure!(headers < Duration::from_secs(2), "the headers took {headers:?}");
            ensure!(start.elapsed() > PACE * 149, "faster than it was sent");
            anyhow::Ok(())
        });
        try_join_all(streams).await?;
        let rows = gateway.usage_rows(STREAMS).await?;
        ensure!(rows.iter().all(|row| row.completion_tokens == Some(150)), "{rows:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_events_arrive_one_by_one_without_unrequested_usage() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 50, true)).every(PACE));
        let wanted = text(&Script::events(chat_events(MODEL, 50, false)).frames);
        let request = gateway.workload.post("/v1/chat/completions", &streamed_chat_completion());
        let answer = request.send().await?.error_for_status()?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n\n").await?, wanted);
        let asked = gateway.fake.requests("/v1/chat/completions")[0].json();
        assert_eq!(asked["stream_options"]["include_usage"], true, "{asked}");
        let rows = gateway.usage_rows(1).await?;
        ensure!(rows.iter().all(|r| (r.prompt_tokens, r.completion_tokens) == (Some(31), Some(50))), "{rows:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_events_contain_the_usage_on_request() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        gateway.fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 50, true)).every(PACE));
        let mut request = streamed_chat_completion();
        request["stream_options"] = serde_json::json!({"include_usage": true});
        let wanted = text(&Script::events(chat_events(MODEL, 50, true)).frames);
        let answer = gateway.workload.post("/v1/chat/completions", &request).send().await?.error_for_status()?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n\n").await?, wanted);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_reads_a_stream_frame_by_frame() {
    story(async {
        let app = "https://app.example.com";
        let gateway = GatewayFixture::with_settings(|launch| launch.env("CORS_ALLOWED_ORIGINS", app)).await?;
        gateway.fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 1, false)).ending(End::Hang));
        // In the environment `local`, every port of this machine is allowed too.
        for (page, allowed) in [(app, true), ("http://localhost:5173", true), ("https://evil.example", false)] {
            let request = gateway.workload.post("/v1/chat/completions", &streamed_chat_completion());
            let answer = request.header("origin", page).send().await?.error_for_status()?;
            let allowed_origin = answer.headers().get("access-control-allow-origin").cloned();
            ensure!(
                allowed_origin.as_ref().is_some_and(|origin| origin == page) == allowed,
                "{page}: {allowed_origin:?}"
            );
            // The answer never ends. A buffering gateway would never send this frame.
            answer.bytes_stream().next().await.context("a frame")??;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_closes_the_upstream_at_once() {
    story(async {
        let gateway = GatewayFixture::start().await?;
        let words = || Script::ndjson(chat_lines(MODEL, 3)).ending(End::Hang);
        let streaming = words().every(PACE);
        let silent = words().headers_after(Duration::from_hours(1));
        for (count, script) in [streaming, silent.clone(), words(), silent].into_iter().enumerate() {
            let waits_for_headers = !script.headers_after.is_zero();
            gateway.fake.script("/api/chat", script);
            let request = tokio::spawn(gateway.workload.post("/api/chat", &chat()).send());
            let seen = eventually("the request upstream", Duration::from_secs(10), async || {
                gateway.fake.requests("/api/chat").get(count).cloned().context("none yet")
            })
            .await?;
            if waits_for_headers {
                request.abort();
                let _ = request.await;
            } else {
                let mut body = request.await??.bytes_stream();
                body.next().await.context("a frame")??;
            }
            let left = Instant::now();
            let Outcome::Abandoned(at) = seen.outcome(Duration::from_secs(10)).await? else {
                anyhow::bail!("the whole answer was sent");
            };
            let late = at.saturating_duration_since(left);
            ensure!(late < Duration::from_millis(500), "the upstream was closed {late:?} after the client left");
        }
        gateway.usage_rows(4).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_streams_finish() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("DRAIN_TIMEOUT", "20s")).await?;
        let script = Script::ndjson(chat_lines(MODEL, 50)).every(PACE);
        let sent = text(&script.frames);
        gateway.fake.script("/api/chat", script);
        let answer = gateway.workload.post("/api/chat", &chat()).send().await?.error_for_status()?;
        gateway.paddock.process().signal(Signal::Term)?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n").await?, sent);
        let status = gateway.paddock.process().wait_for_exit(Duration::from_secs(5)).await?;
        ensure!(status.success(), "{status}");
        let rows = gateway.usage_rows(1).await?;
        assert_eq!(rows[0].completion_tokens, Some(50));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_open_streams_after_the_drain_timeout() {
    story(async {
        let gateway = GatewayFixture::with_settings(|launch| launch.env("DRAIN_TIMEOUT", "2s")).await?;
        let script = Script::ndjson(chat_lines(MODEL, 100_000)).every(PACE);
        gateway.fake.script("/api/chat", script);
        let streams = try_join_all((0..8).map(|_| gateway.workload.post("/api/chat", &chat()).send())).await?;
        let start = Instant::now();
        gateway.paddock.process().signal(Signal::Term)?;
        let status = gateway.paddock.process().wait_for_exit(Duration::from_secs(30)).await?;
        ensure!(status.success(), "{status}");
        let took = start.elapsed();
        ensure!(took >= Duration::from_secs(2), "ended after {took:?}, before the limit");
        ensure!(took < Duration::from_secs(4), "ended after {took:?}");
        drop(streams);
        for row in gateway.usage_rows(8).await? {
            assert_eq!(row.tokens_estimated, 1, "{row:?}");
        }
        Ok(())
    })
    .await;
}
