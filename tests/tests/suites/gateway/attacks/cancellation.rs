//! Clients that leave: Ollama is stopped at once, and each request has its usage row.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{Outcome, ReceivedRequest, Script, chat_events, chat_lines},
    random::{SeededRng, random_below},
    story::story,
};
use serde_json::{Value, json};

use crate::gateway::{GatewayFixture, MODEL, chat, streamed_chat_completion};

/// The clients that leave, and how many of them there are at once.
const CLIENTS: usize = 200;
const CONCURRENCY: usize = 20;
/// A client leaves after fewer tokens than this.
const MAX_TOKENS: u64 = 40;
/// The longest that the 99th percentile of the clients may keep Ollama busy after they have left.
const MAX_DELAY: Duration = Duration::from_millis(500);
/// 200 tokens a second.
const PACE: Duration = Duration::from_millis(5);

/// A client, and when it leaves.
#[derive(Clone, Copy, Debug)]
enum Leaver {
    /// After this many tokens of a native stream.
    Native(usize),
    /// After this many tokens of a stream of events.
    Events(usize),
    /// While Ollama reads the prompt.
    Prompt,
}

impl Leaver {
    fn random(random: &mut SeededRng) -> Self {
        let tokens = 1 + usize::try_from(random.below(MAX_TOKENS)).expect("a small number");
        *random.pick(&[Self::Native(tokens), Self::Events(tokens), Self::Prompt])
    }

    fn request(self) -> (&'static str, Value) {
        match self {
            Self::Native(_) => ("/api/chat", chat()),
            Self::Events(_) => ("/v1/chat/completions", streamed_chat_completion()),
            Self::Prompt => ("/api/generate", json!({"model": MODEL, "prompt": "Say hello."})),
        }
    }

    /// The tokens that the client has read at least.
    fn tokens(self) -> usize {
        match self {
            Self::Native(tokens) | Self::Events(tokens) => tokens,
            Self::Prompt => 0,
        }
    }

    /// An event ends with an empty line.
    fn lines_per_token(self) -> usize {
        if matches!(self, Self::Events(_)) { 2 } else { 1 }
    }
}

/// Waits until the fake has received the request with this id.
async fn received(gateway: &GatewayFixture, path: &str, id: &str) -> Result<Arc<ReceivedRequest>> {
    eventually(&format!("the request {id} at Ollama"), Duration::from_secs(20), async || {
        let requests = gateway.fake.requests(path);
        requests.into_iter().find(|request| request.headers["x-request-id"] == id).context("none yet")
    })
    .await
}

/// Sends a request, leaves, and returns how long Ollama was kept busy after that.
async fn leave(gateway: &GatewayFixture, id: &str, leaver: Leaver) -> Result<Duration> {
    let (path, body) = leaver.request();
    let request = gateway.workload.post(path, &body).header("X-Request-Id", id).send();
    let (seen, left) = if leaver.tokens() == 0 {
        let waiting = tokio::spawn(request);
        let seen = received(gateway, path, id).await?;
        ensure!(!waiting.is_finished(), "{id} was answered");
        waiting.abort();
        let _ = waiting.await;
        (seen, Instant::now())
    } else {
        let mut stream = request.await?.error_for_status()?.bytes_stream();
        let mut lines = 0;
        while lines < leaver.tokens() * leaver.lines_per_token() {
            let chunk = stream.next().await.with_context(|| format!("{id}: the end after {lines} lines"))??;
            lines += memchr::memchr_iter(b'\n', &chunk).count();
        }
        let seen = received(gateway, path, id).await?;
        drop(stream);
        (seen, Instant::now())
    };
    match seen.outcome(Duration::from_secs(20)).await? {
        Outcome::Abandoned(at) => Ok(at.saturating_duration_since(left)),
        Outcome::Sent => bail!("{id}: the whole answer was sent"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_that_leave_stop_ollama_and_are_recorded() {
    story(async {
        let seed = random_below(u64::MAX);
        let gateway = GatewayFixture::start().await?;
        // Answers of ten seconds, which nobody reads to their end.
        gateway.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 2_000)).every(PACE));
        gateway.fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 2_000, true)).every(PACE));
        let unanswered = Script::ndjson(chat_lines(MODEL, 1)).headers_after(Duration::from_hours(1));
        gateway.fake.script("/api/generate", unanswered);

        let mut random = SeededRng::new(seed);
        let leavers: HashMap<String, Leaver> =
            (0..CLIENTS).map(|number| (format!("leaver-{number}"), Leaver::random(&mut random))).collect();
        let left = leavers.iter().map(|(id, &leaver)| leave(&gateway, id, leaver));
        let mut delays: Vec<Duration> = stream::iter(left)
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
            .with_context(|| format!("the seed {seed}"))?;
        delays.sort_unstable();
        let p99 = delays[CLIENTS * 99 / 100 - 1];
        ensure!(p99 <= MAX_DELAY, "the seed {seed}: p99 {p99:?}, longest {:?}", delays.last());

        let rows = gateway.usage_rows(CLIENTS).await?;
        let ids: HashSet<&str> = rows.iter().map(|row| row.request_id.as_str()).collect();
        assert_eq!(ids.len(), CLIENTS, "one row for each request");
        for row in &rows {
            let leaver = leavers[&row.request_id];
            ensure!(row.status == "client_gone" && row.tokens_estimated == 1, "{leaver:?}: {row:?}");
            ensure!(row.prompt_tokens > Some(0), "{leaver:?}: {row:?}");
            let counted = usize::try_from(row.completion_tokens.context("an estimate")?)?;
            ensure!(counted >= leaver.tokens() && counted < 2_000, "{leaver:?}: {row:?}");
        }
        eventually("the gauge of requests in flight to be zero", Duration::from_secs(10), async || {
            let text = reqwest::get(format!("{}/metrics", gateway.paddock.metrics_url())).await?.text().await?;
            let gauge = text.lines().find(|line| line.starts_with("paddock_gateway_in_flight"));
            let gauge = gauge.context("no gauge")?.to_owned();
            ensure!(gauge.rsplit(' ').next() == Some("0"), "{gauge}");
            Ok(())
        })
        .await
    })
    .await;
}
