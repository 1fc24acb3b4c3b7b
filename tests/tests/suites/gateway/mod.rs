//! The gateway: what it lets through, what it refuses, what it notes, and that streams pass it untouched.

mod faults;
mod metering;
mod policy;
mod real;
mod streaming;

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _};
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::FakeOllama;
use paddock_tests::paddock::{Caller, Launch, Paddock};
use paddock_tests::usage::UsageRow;
use serde_json::{Value, json};

/// The model that the scripted Ollama offers and workloads may use.
const MODEL: &str = "smollm2:135m";
/// One that it offers too.
const OTHER_MODEL: &str = "llama3.2:1b";

/// A Paddock in front of a scripted Ollama, a workload's key, and an administrator.
struct Front {
    fake: FakeOllama,
    database: Database,
    paddock: Paddock,
    admin: Caller,
    workload: Caller,
}

impl Front {
    async fn start() -> Result<Self> {
        Self::with(|launch| launch).await
    }

    /// With settings of the test's own.
    async fn with(settings: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let fake = FakeOllama::start(&[MODEL, OTHER_MODEL]).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&fake.url());
        let (paddock, admin) = Paddock::seeded(settings(launch)).await?;
        let workload = admin.create_workload().await?;
        Ok(Self { fake, database, paddock, admin, workload })
    }

    /// Waits for the usage rows to be `count`: they are written after the answer.
    async fn usage(&self, count: usize) -> Result<Vec<UsageRow>> {
        eventually(&format!("{count} usage rows"), Duration::from_secs(10), async || {
            let rows = self.database.usage().await?;
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

/// The frames of a body, each ended by `separator`, as they came: a chunk that holds more than one was merged on its way.
///
/// Errors: a merged chunk, one that ends in another frame than it began in, a body that breaks.
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
            // A frame may come in two reads, but the second one ends with it.
            anyhow::ensure!(!open.contains(separator), "merged: {open:?}");
        }
    }
    anyhow::ensure!(open.is_empty(), "an unfinished frame: {open:?}");
    Ok(frames)
}
