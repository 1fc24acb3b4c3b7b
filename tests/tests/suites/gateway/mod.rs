//! The gateway: policy, refusals, metering, faults, and untouched streams.

mod attacks;
mod faults;
mod metering;
mod policy;
mod real_ollama;
mod streaming;

use std::time::Duration;

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
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&fake.url());
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
}

fn chat() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]})
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
