//! Streams pass untouched and at once; whoever leaves is noticed at once; a shutdown lets them finish.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{End, Ended, Script, chat_events, chat_lines};
use paddock_tests::process::Signal;
use paddock_tests::story::story;

use super::{Front, MODEL, chat, frames, streamed_chat_completion};

/// 50 frames a second.
const PACE: Duration = Duration::from_millis(20);
const STREAMS: usize = 32;

fn text(frames: &[bytes::Bytes]) -> Vec<String> {
    frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_streams_at_fifty_frames_a_second_arrive_frame_by_frame() {
    story(async {
        let front = Front::start().await?;
        let script = Script::ndjson(chat_lines(MODEL, 150)).every(PACE);
        let sent = text(&script.frames);
        front.fake.answer("/api/chat", script);
        let streams = (0..STREAMS).map(|_| async {
            let start = Instant::now();
            let answer = front.workload.post("/api/chat", &chat()).send().await?.error_for_status()?;
            assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
            let headers = start.elapsed();
            let received = frames(Box::pin(answer.bytes_stream()), "\n").await?;
            ensure!(received == sent, "sent {} frames, received {}: {received:?}", sent.len(), received.len());
            // The stream takes three seconds: whoever held it back would have sent nothing before its end.
            ensure!(headers < Duration::from_secs(2), "the headers took {headers:?}");
            ensure!(start.elapsed() > PACE * 149, "faster than it was sent");
            anyhow::Ok(())
        });
        try_join_all(streams).await?;
        let rows = front.usage(STREAMS).await?;
        ensure!(rows.iter().all(|row| row.completion_tokens == Some(150)), "{rows:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_openai_dialect_arrive_one_by_one_without_the_usage_nobody_asked_for() {
    story(async {
        let front = Front::start().await?;
        front.fake.answer("/v1/chat/completions", Script::events(chat_events(MODEL, 50, true)).every(PACE));
        let wanted = text(&Script::events(chat_events(MODEL, 50, false)).frames);
        let request = front.workload.post("/v1/chat/completions", &streamed_chat_completion());
        let answer = request.send().await?.error_for_status()?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n\n").await?, wanted);
        let asked = front.fake.requests("/v1/chat/completions")[0].json();
        assert_eq!(asked["stream_options"]["include_usage"], true, "{asked}");

        let mut request = streamed_chat_completion();
        request["stream_options"] = serde_json::json!({"include_usage": true});
        let wanted = text(&Script::events(chat_events(MODEL, 50, true)).frames);
        let answer = front.workload.post("/v1/chat/completions", &request).send().await?.error_for_status()?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n\n").await?, wanted);

        let rows = front.usage(2).await?;
        ensure!(rows.iter().all(|r| (r.prompt_tokens, r.completion_tokens) == (Some(31), Some(50))), "{rows:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_a_stream_as_it_comes() {
    story(async {
        let app = "https://app.example.com";
        let front = Front::with(|launch| launch.env("CORS_ALLOWED_ORIGINS", app)).await?;
        front.fake.answer("/v1/chat/completions", Script::events(chat_events(MODEL, 1, false)).ending(End::Hangs));
        // In local any port of this machine may, beside what is set.
        for (page, allowed) in [(app, true), ("http://localhost:5173", true), ("https://evil.example", false)] {
            let request = front.workload.post("/v1/chat/completions", &streamed_chat_completion());
            let answer = request.header("origin", page).send().await?.error_for_status()?;
            let told = answer.headers().get("access-control-allow-origin").cloned();
            ensure!(told.as_ref().is_some_and(|told| told == page) == allowed, "{page}: {told:?}");
            // The answer never ends: whoever held it back would never send this.
            answer.bytes_stream().next().await.context("a frame")??;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_closes_the_upstream_at_once() {
    story(async {
        let front = Front::start().await?;
        let words = || Script::ndjson(chat_lines(MODEL, 3)).ending(End::Hangs);
        let streaming = words().every(PACE);
        let silent = words().headers_after(Duration::from_hours(1));
        for (count, script) in [streaming, silent.clone(), words(), silent].into_iter().enumerate() {
            let waits_for_headers = !script.headers_after.is_zero();
            front.fake.answer("/api/chat", script);
            let request = tokio::spawn(front.workload.post("/api/chat", &chat()).send());
            let seen = eventually("the request upstream", Duration::from_secs(10), async || {
                front.fake.requests("/api/chat").get(count).cloned().context("none yet")
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
            let Ended::Abandoned(at) = seen.ended(Duration::from_secs(10)).await? else {
                anyhow::bail!("the answer was sent to its end");
            };
            let late = at.saturating_duration_since(left);
            ensure!(late < Duration::from_millis(500), "the upstream was closed {late:?} after the client left");
        }
        front.usage(4).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_streams_finish() {
    story(async {
        let front = Front::with(|launch| launch.env("DRAIN_TIMEOUT", "20s")).await?;
        let script = Script::ndjson(chat_lines(MODEL, 50)).every(PACE);
        let sent = text(&script.frames);
        front.fake.answer("/api/chat", script);
        let answer = front.workload.post("/api/chat", &chat()).send().await?.error_for_status()?;
        front.paddock.process().signal(Signal::Term)?;
        assert_eq!(frames(Box::pin(answer.bytes_stream()), "\n").await?, sent);
        let status = front.paddock.process().ended(Duration::from_secs(5)).await?;
        ensure!(status.success(), "{status}");
        let rows = front.usage(1).await?;
        assert_eq!(rows[0].completion_tokens, Some(50));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_within_the_drain_limit_whatever_streams_do() {
    story(async {
        let front = Front::with(|launch| launch.env("DRAIN_TIMEOUT", "2s")).await?;
        let script = Script::ndjson(chat_lines(MODEL, 100_000)).every(PACE);
        front.fake.answer("/api/chat", script);
        let streams = try_join_all((0..8).map(|_| front.workload.post("/api/chat", &chat()).send())).await?;
        let start = Instant::now();
        front.paddock.process().signal(Signal::Term)?;
        let status = front.paddock.process().ended(Duration::from_secs(30)).await?;
        ensure!(status.success(), "{status}");
        let took = start.elapsed();
        ensure!(took >= Duration::from_secs(2), "ended after {took:?}, before the limit");
        ensure!(took < Duration::from_secs(4), "ended after {took:?}");
        drop(streams);
        for row in front.usage(8).await? {
            assert_eq!(row.tokens_estimated, 1, "{row:?}");
        }
        Ok(())
    })
    .await;
}
