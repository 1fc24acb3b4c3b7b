//! Resident memory of `paddock api` on SQLite: at rest, with cached keys and open streams, and after
//! other loads.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use paddock_tests::{
    database::{Database, Engine},
    paddock::{Caller, Paddock},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    frame::Dialect,
    load::{Load, Script},
    markdown::table,
    plan::Plan,
    setup::{Cores, launch, start_upstream},
    stream_load::StreamLoad,
    verdict::{Bound, Target},
};

/// Frames per second of each open stream.
const RATE: u64 = 2;
const RAMP: Duration = Duration::from_secs(2);

/// The figures of this section, in KiB.
#[derive(Serialize)]
pub(crate) struct Memory {
    at_rest: u64,
    keys: u32,
    with_keys: u64,
    streams: u64,
    with_streams: u64,
    per_stream: u64,
    after_chats: u64,
    after_writes: u64,
    highest: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Memory> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let launch = launch(database.url())?.ollama(&upstream.url);
    let admin = launch.seed()?.key;
    // The keys are made by another process, because making them takes memory too.
    let keys = {
        let paddock = launch.clone().start().await?;
        make_keys(&paddock.caller(&admin), plan.keys).await?
    };
    let paddock = launch.start().await?;
    let resident = || paddock.process().memory_kib("VmRSS");
    let at_rest = resident()?;

    cache_keys(&paddock, &keys).await?;
    let with_keys = resident()?;
    let streams = plan.streams.min(1_000);
    let with_streams = with_streams(&paddock, cores, &keys, streams).await?;

    let length = plan.length * plan.rounds;
    let admin = paddock.caller(&admin);
    let key = admin.create_workload().await?.key().to_owned();
    let chats = Load::new(Script::Chat, &key, &cores.load)?;
    chats.run(&format!("{}/api/chat", paddock.url()), 32, length)?;
    let after_chats = resident()?;
    let writes = Load::new(Script::NewUser, admin.key(), &cores.load)?;
    writes.run(&format!("{}/users", paddock.url()), 16, length)?;
    Ok(Memory {
        at_rest,
        keys: plan.keys,
        with_keys,
        streams,
        with_streams,
        per_stream: with_streams.saturating_sub(with_keys) / streams.max(1),
        after_chats,
        after_writes: resident()?,
        highest: paddock.process().memory_kib("VmHWM")?,
    })
}

/// Creates keys of one user.
async fn make_keys(admin: &Caller, count: u32) -> Result<Vec<String>> {
    let user = admin.create_user(json!({"roles": ["user"]})).await?;
    let made = (0..count).map(|_| async move { Ok(admin.create_key(user, json!({})).await?.1.key().to_owned()) });
    stream::iter(made).buffer_unordered(4).try_collect().await
}

/// Sends a request with each key, so that Paddock caches all of them.
async fn cache_keys(paddock: &Paddock, keys: &[String]) -> Result<()> {
    let used = keys.iter().map(|key| async move {
        paddock.caller(key).get("/v1/models").send().await?.error_for_status()?;
        anyhow::Ok(())
    });
    stream::iter(used).buffer_unordered(16).try_collect().await
}

/// The most memory while so many streams are open.
async fn with_streams(paddock: &Paddock, cores: &Cores, keys: &[String], streams: u64) -> Result<u64> {
    const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
    let load = StreamLoad::steady(paddock.url(), "", Dialect::Native, streams, RATE, RAMP * 2);
    let keys = keys.iter().take(100).cloned().collect();
    let load = StreamLoad { keys, ramp: RAMP, length: RAMP, warm_up: Duration::ZERO, ..load };
    let mut highest = 0;
    let running = load.run(&cores.load);
    tokio::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => {
                ended?;
                return Ok(highest);
            }
            () = tokio::time::sleep(SAMPLE_INTERVAL) => highest = highest.max(paddock.process().memory_kib("VmRSS")?),
        }
    }
}

impl Memory {
    pub(crate) fn targets(&self) -> Vec<Target> {
        use Bound::AtMost;
        #[expect(clippy::cast_precision_loss, reason = "a size of memory fits")]
        let mib = |kib: u64| kib as f64 / 1024.0;
        #[expect(clippy::cast_precision_loss, reason = "a size of memory fits")]
        let per_stream = self.per_stream as f64;
        vec![
            Target::new("memory at rest", "MiB", mib(self.at_rest), AtMost(60.0), AtMost(20.0)),
            Target::new(
                "memory with 10,000 keys cached and 1,000 streams",
                "MiB",
                mib(self.with_streams),
                AtMost(150.0),
                AtMost(60.0),
            ),
            Target::new("memory per stream", "KiB", per_stream, AtMost(64.0), AtMost(32.0)),
        ]
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = [
            ("at rest".to_owned(), self.at_rest),
            (format!("with {} keys cached", self.keys), self.with_keys),
            (format!("and {} streams open", self.streams), self.with_streams),
            ("after chats of 32 clients".to_owned(), self.after_chats),
            ("after writes of 16 clients".to_owned(), self.after_writes),
            ("highest".to_owned(), self.highest),
        ];
        let rows = rows.map(|(name, kibibytes)| (name, vec![(kibibytes / 1024).to_string()]));
        format!(
            "## Memory\n\n{}\n{} KiB per stream.\n",
            table("`paddock api`, SQLite", &["MiB"], rows),
            self.per_stream
        )
    }
}
