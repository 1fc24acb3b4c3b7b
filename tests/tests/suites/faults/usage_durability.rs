//! Usage records survive faults of the database and crashes of the process.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    paddock::{Caller, Launch, Paddock, fetch_json},
    postgres::{Durability, Postgres},
    process::Signal,
    reaper,
    story::story,
};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::{launch, rows};

const MODEL: &str = "smollm2:135m";
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);
/// The number of concurrent streams.
const STREAMS: usize = 12;
/// The frames of each answer, and the time between them: long enough for a fault in between.
const FRAMES: usize = 60;
const PACE: Duration = Duration::from_millis(25);

async fn ollama() -> Result<FakeOllama> {
    let fake = FakeOllama::start(&[MODEL]).await?;
    fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, FRAMES)).every(PACE));
    Ok(fake)
}

/// Reads a stream to its end.
async fn stream(workload: &Caller) -> Result<()> {
    let request = workload.post("/api/chat", &json!({"model": MODEL, "messages": []}));
    let text = request.send().await?.error_for_status()?.text().await?;
    ensure!(text.lines().last().is_some_and(|line| line.contains("\"done\":true")), "{text}");
    Ok(())
}

/// The value of a metric; 0 while it does not exist.
async fn metric(paddock: &Paddock, name: &str) -> Result<usize> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Ok(value.unwrap_or(0))
}

/// Waits until this many requests are recorded once, with all tokens, in the rows and in the
/// totals.
async fn wait_for_records(url: &str, requests: usize) -> Result<()> {
    eventually(&format!("{requests} requests"), EVENT_TIMEOUT, async || {
        let found: Vec<(String, i64)> = rows(url, "SELECT status, completion_tokens FROM usage").await?;
        ensure!(found.len() == requests, "{} of {requests}", found.len());
        let frames = i64::try_from(FRAMES)?;
        ensure!(found.iter().all(|(status, tokens)| status == "ok" && *tokens == frames), "{found:?}");
        let totals: Vec<(i64, i64)> = rows(url, "SELECT requests, completion_tokens FROM usage_days").await?;
        let (all, tokens) = totals.iter().fold((0, 0), |(all, tokens), row| (all + row.0, tokens + row.1));
        let requests = i64::try_from(requests)?;
        ensure!((all, tokens) == (requests, frames * requests), "{totals:?}");
        Ok(())
    })
    .await
}

/// Waits until the records of all streams are in the spool.
async fn wait_until_spooled(paddock: &Paddock) -> Result<()> {
    eventually("the spool", EVENT_TIMEOUT, async || {
        let spooled = metric(paddock, "paddock_usage_spooled_total").await?;
        ensure!(spooled == STREAMS, "{spooled} are spooled");
        Ok(())
    })
    .await
}

/// The names of the files in a folder.
fn files(folder: &Path) -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    files.collect()
}

/// `paddock api` with a spool in this folder.
fn spooling(url: &str, fake: &FakeOllama, folder: &Path) -> Result<Launch> {
    Ok(launch(url)?.ollama(&fake.url()).env("USAGE_SPOOL_DIR", &folder.display().to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_spooled_while_postgres_is_frozen_survives_a_crash_and_is_recorded_once() {
    story(async {
        let postgres = Postgres::start(Durability::Relaxed).await?;
        let url = postgres.empty_database().await?;
        let (fake, folder) = (ollama().await?, reaper::scratch_dir("spool")?);
        let launch = spooling(&url, &fake, folder.path())?;
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        let workload = admin.create_workload().await?;
        stream(&workload).await?;
        wait_for_records(&url, 1).await?;

        let streams = try_join_all((0..STREAMS).map(|_| stream(&workload)));
        let freeze = async {
            eventually("the streams", EVENT_TIMEOUT, async || {
                ensure!(fake.requests("/api/chat").len() > STREAMS);
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            postgres.freeze()?;
            Ok(Instant::now())
        };
        let crash = async {
            let (_, frozen) = futures_util::future::try_join(streams, freeze).await?;
            // The end of an answer does not wait for the database.
            let most = PACE * u32::try_from(FRAMES)? + Duration::from_secs(4);
            ensure!(frozen.elapsed() < most, "it took {:?}", frozen.elapsed());
            wait_until_spooled(&paddock).await?;
            paddock.process().signal(Signal::Kill)?;
            paddock.process().wait_for_exit(EVENT_TIMEOUT).await
        };
        let crashed: Result<_> = crash.await;
        postgres.thaw()?;
        crashed?;
        // A crash of the machine can leave half a record.
        let left = files(folder.path())?;
        let left = folder.path().join(left.first().context("a spool")?);
        let mut torn = std::fs::read(&left)?;
        torn.extend_from_within(..100);
        std::fs::write(&left, torn)?;

        // Two processes find the spool at the same time.
        let second = spooling(&url, &fake, folder.path())?;
        let (first, second) = futures_util::future::try_join(launch.clone().start(), second.start()).await?;
        wait_for_records(&url, 1 + STREAMS).await?;
        let log = [first.process().log().text(), second.process().log().text()].concat();
        ensure!(log.contains("incomplete last record"), "the torn record is not logged");
        stream(&first.caller(workload.key())).await?;
        wait_for_records(&url, 2 + STREAMS).await?;
        for paddock in [first, second] {
            paddock.process().signal(Signal::Term)?;
            paddock.process().wait_for_exit(EVENT_TIMEOUT).await?;
        }
        ensure!(files(folder.path())?.is_empty(), "{:?}", files(folder.path())?);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_spooled_while_sqlite_is_locked_is_recorded_later() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let fake = ollama().await?;
        let (paddock, admin) = Paddock::seeded(launch(&url)?.ollama(&fake.url())).await?;
        let workload = admin.create_workload().await?;
        stream(&workload).await?;
        wait_for_records(&url, 1).await?;

        let mut other = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        try_join_all((0..STREAMS).map(|_| stream(&workload))).await?;
        wait_until_spooled(&paddock).await?;
        // Reads continue meanwhile, and show what is recorded.
        let totals = fetch_json(admin.get("/usage")).await?;
        ensure!(totals[0]["requests"] == 1, "{totals}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
        wait_for_records(&url, 1 + STREAMS).await?;
        eventually("an empty spool", EVENT_TIMEOUT, async || {
            let waiting = metric(&paddock, "paddock_usage_spool_bytes").await?;
            ensure!(waiting == 0, "{waiting} bytes wait");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn an_unusable_spool_folder_is_refused_at_the_start() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "")?;
        let launch = launch(&url)?.env("USAGE_SPOOL_DIR", &taken.display().to_string());
        launch.seed()?;
        let output = launch.command(&["api"])?.output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && error.contains("USAGE_SPOOL_DIR"), "{error}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_requests_of_a_killed_process_are_settled_once() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let fake = ollama().await?;
        fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 100_000)).every(PACE));
        let launch = launch(&url)?.ollama(&fake.url());
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        let workload = admin.create_workload().await?;
        let begun = (0..STREAMS).map(|_| workload.post("/api/chat", &json!({"model": MODEL, "messages": []})).send());
        let open = try_join_all(begun).await?;
        eventually("the open requests to be recorded", EVENT_TIMEOUT, async || {
            let found: Vec<(i64,)> = rows(&url, "SELECT count(*) FROM usage_open").await?;
            ensure!(found == [(i64::try_from(STREAMS)?,)], "{found:?}");
            Ok(())
        })
        .await?;
        paddock.process().signal(Signal::Kill)?;
        paddock.process().wait_for_exit(EVENT_TIMEOUT).await?;
        drop(open);
        for _ in 0..2 {
            let again = launch.clone().start().await?;
            eventually("the settlement", EVENT_TIMEOUT, async || {
                let found: Vec<(i64, i64)> =
                    rows(&url, "SELECT count(*), sum(CASE WHEN status = 'unknown' THEN 1 ELSE 0 END) FROM usage")
                        .await?;
                let many = i64::try_from(STREAMS)?;
                ensure!(found == [(many, many)], "{found:?}");
                Ok(())
            })
            .await?;
            let totals = fetch_json(again.caller(admin.key()).get("/usage")).await?;
            ensure!(totals[0]["requests"] == STREAMS && totals[0]["failed"] == STREAMS, "{totals}");
            again.process().signal(Signal::Kill)?;
            again.process().wait_for_exit(EVENT_TIMEOUT).await?;
        }
        let left: Vec<(i64,)> = rows(&url, "SELECT count(*) FROM usage_open").await?;
        ensure!(left == [(0,)], "{left:?}");
        Ok(())
    })
    .await;
}
