//! What was used is known, whatever becomes of the database and of ourselves.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{FakeOllama, Script, chat_lines};
use paddock_tests::paddock::{Caller, Launch, Paddock, answer};
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::process::Signal;
use paddock_tests::sentinel;
use paddock_tests::story::story;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::{launch, rows};

const MODEL: &str = "smollm2:135m";
const PATIENCE: Duration = Duration::from_secs(20);
/// How many stream at once.
const MANY: usize = 12;
/// How many frames each answer has, and how far apart: long enough for the database to go in their midst.
const FRAMES: usize = 60;
const PACE: Duration = Duration::from_millis(25);

async fn ollama() -> Result<FakeOllama> {
    let fake = FakeOllama::start(&[MODEL]).await?;
    fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, FRAMES)).every(PACE));
    Ok(fake)
}

/// A stream from its first byte to its last.
async fn stream(workload: &Caller) -> Result<()> {
    let request = workload.post("/api/chat", &json!({"model": MODEL, "messages": []}));
    let text = request.send().await?.error_for_status()?.text().await?;
    ensure!(text.lines().last().is_some_and(|line| line.contains("\"done\":true")), "{text}");
    Ok(())
}

/// The value of a metric; 0 if there is none yet.
async fn metric(paddock: &Paddock, name: &str) -> Result<usize> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Ok(value.unwrap_or(0))
}

/// Each request is there once, with all its tokens, in the rows and in the totals.
async fn counted(url: &str, requests: usize) -> Result<()> {
    eventually(&format!("{requests} requests"), PATIENCE, async || {
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

fn files(folder: &Path) -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    files.collect()
}

fn spooling(url: &str, fake: &FakeOllama, folder: &Path) -> Result<Launch> {
    Ok(launch(url)?.ollama(&fake.url()).env("USAGE_SPOOL_DIR", &folder.display().to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_postgres_is_frozen_survives_kill_9_and_is_counted_once() {
    story(async {
        let postgres = Postgres::start(Durability::Relaxed).await?;
        let url = postgres.empty_database().await?;
        let (fake, folder) = (ollama().await?, sentinel::scratch("spool")?);
        let launch = spooling(&url, &fake, folder.path())?;
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        let workload = admin.create_workload().await?;
        stream(&workload).await?;
        counted(&url, 1).await?;

        let streams = try_join_all((0..MANY).map(|_| stream(&workload)));
        let freeze = async {
            eventually("the streams", PATIENCE, async || {
                ensure!(fake.requests("/api/chat").len() > MANY);
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            postgres.freeze()?;
            Ok(Instant::now())
        };
        let died = async {
            let (_, frozen) = futures_util::future::try_join(streams, freeze).await?;
            // The last byte of an answer waits for no database.
            let most = PACE * u32::try_from(FRAMES)? + Duration::from_secs(4);
            ensure!(frozen.elapsed() < most, "it took {:?}", frozen.elapsed());
            eventually("the spool", PATIENCE, async || {
                let spooled = metric(&paddock, "paddock_usage_spooled_total").await?;
                ensure!(spooled == MANY, "{spooled} are spooled");
                Ok(())
            })
            .await?;
            paddock.process().signal(Signal::Kill)?;
            paddock.process().ended(PATIENCE).await
        };
        let died: Result<_> = died.await;
        postgres.thaw()?;
        died?;
        // Half of one more record, as a crash of the machine leaves it.
        let left = files(folder.path())?;
        let left = folder.path().join(left.first().context("a spool")?);
        let mut torn = std::fs::read(&left)?;
        torn.extend_from_within(..100);
        std::fs::write(&left, torn)?;

        // Two at once look for it, and again later.
        let second = spooling(&url, &fake, folder.path())?;
        let (first, second) = futures_util::future::try_join(launch.clone().start(), second.start()).await?;
        counted(&url, 1 + MANY).await?;
        let log = [first.process().log().text(), second.process().log().text()].concat();
        ensure!(log.contains("torn off"), "nobody told of the torn tail");
        stream(&first.caller(workload.key())).await?;
        counted(&url, 2 + MANY).await?;
        for paddock in [first, second] {
            paddock.process().signal(Signal::Term)?;
            paddock.process().ended(PATIENCE).await?;
        }
        ensure!(files(folder.path())?.is_empty(), "{:?}", files(folder.path())?);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_sqlite_is_locked_is_counted_when_it_is_free_again() {
    story(async {
        let folder = sentinel::scratch("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let fake = ollama().await?;
        let (paddock, admin) = Paddock::seeded(launch(&url)?.ollama(&fake.url())).await?;
        let workload = admin.create_workload().await?;
        stream(&workload).await?;
        counted(&url, 1).await?;

        let mut other = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        try_join_all((0..MANY).map(|_| stream(&workload))).await?;
        eventually("the spool", PATIENCE, async || {
            let spooled = metric(&paddock, "paddock_usage_spooled_total").await?;
            ensure!(spooled == MANY, "{spooled} are spooled");
            Ok(())
        })
        .await?;
        // Reading goes on meanwhile, and shows what is there.
        let totals = answer(admin.get("/usage")).await?;
        ensure!(totals[0]["requests"] == 1, "{totals}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
        counted(&url, 1 + MANY).await?;
        eventually("an empty spool", PATIENCE, async || {
            let waiting = metric(&paddock, "paddock_usage_spool_bytes").await?;
            ensure!(waiting == 0, "{waiting} bytes wait");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    story(async {
        let folder = sentinel::scratch("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "")?;
        let launch = launch(&url)?.env("USAGE_SPOOL_DIR", &taken.display().to_string());
        launch.seed()?;
        let output = launch.command(&["api"])?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("USAGE_SPOOL_DIR"), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_under_way_is_settled_once() {
    story(async {
        let folder = sentinel::scratch("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let fake = ollama().await?;
        fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 100_000)).every(PACE));
        let launch = launch(&url)?.ollama(&fake.url());
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        let workload = admin.create_workload().await?;
        let begun = (0..MANY).map(|_| workload.post("/api/chat", &json!({"model": MODEL, "messages": []})).send());
        let open = try_join_all(begun).await?;
        eventually("the requests to be written down", PATIENCE, async || {
            let found: Vec<(i64,)> = rows(&url, "SELECT count(*) FROM usage_open").await?;
            ensure!(found == [(i64::try_from(MANY)?,)], "{found:?}");
            Ok(())
        })
        .await?;
        paddock.process().signal(Signal::Kill)?;
        paddock.process().ended(PATIENCE).await?;
        drop(open);
        for _ in 0..2 {
            let again = launch.clone().start().await?;
            eventually("the settlement", PATIENCE, async || {
                let found: Vec<(i64, i64)> =
                    rows(&url, "SELECT count(*), sum(CASE WHEN status = 'unknown' THEN 1 ELSE 0 END) FROM usage")
                        .await?;
                let many = i64::try_from(MANY)?;
                ensure!(found == [(many, many)], "{found:?}");
                Ok(())
            })
            .await?;
            let totals = answer(again.caller(admin.key()).get("/usage")).await?;
            ensure!(totals[0]["requests"] == MANY && totals[0]["failed"] == MANY, "{totals}");
            again.process().signal(Signal::Kill)?;
            again.process().ended(PATIENCE).await?;
        }
        let left: Vec<(i64,)> = rows(&url, "SELECT count(*) FROM usage_open").await?;
        ensure!(left == [(0,)], "{left:?}");
        Ok(())
    })
    .await;
}
