//! The gateway: policy, refusals, metering, faults, and untouched streams.

mod attacks;
mod backends;
mod credentials;
mod dead_keys;
mod discovery;
mod early_refusals;
mod error_body;
mod faults;
mod headers;
mod honest_ends;
mod limits;
mod metering;
mod models_of_paths;
mod policy;
mod queue;
mod real_ollama;
mod redaction;
mod routes;
mod shared_state;
mod stale_connections;
mod stickiness;
mod streaming;
mod timeouts;
mod tls_upstream;
mod vanished;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::FakeOllama,
    paddock::{Caller, Launch, Paddock},
    usage_rows::UsageRow,
};
use serde_json::{Value, json};

/// The model that the fake Ollama has and workloads may use.
const MODEL: &str = "smollm2:135m";
/// Another model that the fake Ollama has.
const OTHER_MODEL: &str = "llama3.2:1b";

/// A Paddock in front of a fake Ollama, an administrator, and a workload.
struct GatewayFixture {
    fake: FakeOllama,
    database: Database,
    paddock: Paddock,
    admin: Caller,
    workload: Caller,
}

impl GatewayFixture {
    async fn start() -> Result<Self> {
        Self::with_settings(|launch| launch).await
    }

    async fn with_settings(settings: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let fake = FakeOllama::start(&[MODEL, OTHER_MODEL]).await?;
        let url = fake.url();
        Self::in_front_of(fake, &url, settings).await
    }

    /// A Paddock that reaches the fake Ollama at this URL. Its log is JSON.
    async fn in_front_of(fake: FakeOllama, url: &str, settings: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(url).env("LOG_FORMAT", "json");
        let (paddock, admin) = Paddock::seeded(settings(launch)).await?;
        let workload = admin.create_workload().await?;
        Ok(Self { fake, database, paddock, admin, workload })
    }

    /// Waits until there are `count` usage rows, which are written after the answers.
    async fn usage_rows(&self, count: usize) -> Result<Vec<UsageRow>> {
        eventually(&format!("{count} usage rows"), Duration::from_secs(10), async || {
            let rows = self.database.usage_rows().await?;
            anyhow::ensure!(rows.len() == count, "{rows:?}");
            Ok(rows)
        })
        .await
    }

    /// Waits for the gateway's log line about the request with this id, which is written at its
    /// end.
    ///
    /// Errors: there are more than one.
    async fn log_line(&self, request_id: &str) -> Result<Value> {
        let is_about =
            |line: &Value| line["message"] == "gateway request" && line["request_id"].as_str() == Some(request_id);
        eventually(&format!("the log line about {request_id}"), Duration::from_secs(10), async || {
            let text = self.paddock.process().log().text();
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let mut about: Vec<Value> = lines.filter(is_about).collect();
            anyhow::ensure!(about.len() == 1, "{about:?}");
            Ok(about.remove(0))
        })
        .await
    }

    /// The value of a counter, by its name and labels as the metrics show them; 0 without it.
    async fn counter(&self, series: &str) -> Result<u64> {
        let answer = reqwest::get(format!("{}/metrics", self.paddock.metrics_url())).await?.error_for_status()?;
        let text = answer.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map(str::parse::<u64>).transpose()?.unwrap_or(0))
    }
}

fn chat() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]})
}

/// A chat that begins like no other one, so that no backend has seen its beginning.
fn new_chat(model: &str) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let text = format!("{:08}: say hello.", COUNT.fetch_add(1, Ordering::Relaxed));
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

fn streamed_chat_completion() -> Value {
    json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "Say hello."}]})
}

/// The frames of a body, each ended by `separator`.
///
/// Errors: a chunk with parts of several frames, which were merged on their way, or a broken body.
async fn frames(
    mut body: impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin,
    separator: &str,
) -> Result<Vec<String>> {
    let mut frames = Vec::new();
    let mut open = String::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.with_context(|| format!("after {} frames", frames.len()))?;
        open.push_str(std::str::from_utf8(&chunk).context("frames are cut between characters here")?);
        if let Some(frame) = open.strip_suffix(separator) {
            anyhow::ensure!(!frame.contains(separator), "merged: {open:?}");
            frames.push(std::mem::take(&mut open));
        } else {
            // A frame may come in two reads, and then the second one ends with it.
            anyhow::ensure!(!open.contains(separator), "merged: {open:?}");
        }
    }
    anyhow::ensure!(open.is_empty(), "an unfinished frame: {open:?}");
    Ok(frames)
}

/// The last line of an NDJSON body.
fn last_line(text: &str) -> Result<Value> {
    let last = text.lines().last().context("lines")?;
    serde_json::from_str(last).with_context(|| text.to_owned())
}
