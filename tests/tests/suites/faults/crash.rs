//! `kill -9`, of the database and of ourselves.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::process::Signal;
use paddock_tests::sentinel;
use paddock_tests::story::{length, story};
use uuid::Uuid;

use super::load::{Load, Summary};
use super::{launch, sound};

/// After a crash, the time within which the service is back.
const BACK: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(1);

/// How often our own process is killed.
fn kills() -> usize {
    length(100, 20)
}

/// A number below `limit`, another one each time.
fn random(limit: u64) -> u64 {
    let bits = Uuid::now_v7().as_u128() & u128::from(u32::MAX);
    u64::try_from(bits).unwrap_or_default() % limit
}

/// Prints the figures of a run; `served`: so many requests were acknowledged in so much time without a crash.
#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn tell(summary: &Summary, served: (usize, Duration), back: &[Duration]) {
    let per_second = |(count, time): (usize, Duration)| {
        count * 1000 / usize::try_from(time.as_millis()).unwrap_or(usize::MAX).max(1)
    };
    println!(
        "{} requests/s acknowledged while it was up, {} in all, back after {back:?}: {summary:?}",
        per_second(served),
        per_second((summary.acknowledged, summary.took)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_loses_nothing_and_the_service_comes_back_with_it() {
    story(async {
        let mut postgres = Postgres::start(Durability::Full).await?;
        let url = postgres.empty_database().await?;
        let launch = launch(&url)?;
        let admin = launch.seed()?;
        let paddock = launch.clone().start().await?;
        let load = Load::start(&paddock.caller(&admin.key), 32, Some(200));
        let mut back = Vec::new();
        let mut served = (0, Duration::ZERO);
        for crash in 0..5 {
            let (before, since) = (load.count(), Instant::now());
            load.acknowledged(400, PATIENCE).await?;
            served = (served.0 + load.count() - before, served.1 + since.elapsed());
            postgres.crash().await?;
            load.unavailable(16).await.context("while PostgreSQL is down")?;
            postgres.restart().await?;
            let restarted = Instant::now();
            load.acknowledged(16, BACK).await.with_context(|| format!("after crash {crash}"))?;
            back.push(restarted.elapsed());
        }
        load.acknowledged(400, PATIENCE).await?;
        let (promised, summary) = load.stop().await?;
        tell(&summary, served, &back);
        ensure!(paddock.process().exited().is_none(), "paddock ended");
        sound(&launch, &url, &promised).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paddock_that_is_killed_leaves_a_whole_sqlite_file_with_all_it_promised() {
    story(async {
        let folder = sentinel::scratch("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let launch = launch(&url)?;
        let admin = launch.seed()?;
        let mut load = None;
        for kill in 0..kills() {
            if kill % 5 == 4 {
                // While it starts, and recovers from the last time.
                let starting = launch.clone().spawn()?;
                tokio::time::sleep(Duration::from_millis(random(300))).await;
                starting.process().signal(Signal::Kill)?;
                starting.process().ended(PATIENCE).await?;
            }
            let paddock = launch.clone().start().await?;
            let load = load.get_or_insert_with(|| Load::start(&paddock.caller(&admin.key), 50, None));
            load.acknowledged(usize::try_from(random(150))?, PATIENCE).await?;
            tokio::time::sleep(Duration::from_micros(random(20_000))).await;
            paddock.process().signal(Signal::Kill)?;
            paddock.process().ended(PATIENCE).await?;
            sound(&launch, &url, &load.promised()).await.with_context(|| format!("after kill {kill}"))?;
        }
        let paddock = launch.clone().start().await?;
        let load = load.context("there were rounds")?;
        load.acknowledged(50, PATIENCE).await?;
        let (promised, summary) = load.stop().await?;
        tell(&summary, (summary.acknowledged, summary.took), &[]);
        ensure!(summary.unavailable == 0, "clients were told to come back: {:?}", summary.heard);
        drop(paddock);
        sound(&launch, &url, &promised).await
    })
    .await;
}
