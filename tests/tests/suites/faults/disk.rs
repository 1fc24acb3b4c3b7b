//! Disks that fill up, and have space again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use paddock_tests::{
    disk::Disk,
    paddock::{Launch, fetch_json},
    postgres::{Durability, Postgres},
    story::story,
};

use super::{assert_consistent, launch, writers::WriterLoad};

/// The time in which the service must recover once the disk has space.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(5);
const PROGRESS_TIMEOUT: Duration = Duration::from_mins(1);
/// The time in which a client must get a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Fills the disk while writers work until they are refused, then frees the space and runs
/// `recover`. Asserts that the service recovers and loses nothing.
async fn fill_and_empty(
    launch: &Launch,
    url: &str,
    disk: &Disk,
    recover: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let bootstrap = launch.seed()?;
    let paddock = launch.clone().start().await?;
    let admin = paddock.caller(&bootstrap.key);
    let load = WriterLoad::start(&admin, 16, None);
    load.acknowledged(100, PROGRESS_TIMEOUT).await?;

    let filling = disk.fill()?;
    load.unavailable(100).await?;
    filling.free()?;
    recover().await?;
    let free = Instant::now();
    load.acknowledged(100, RECOVERY_TIMEOUT).await?;
    ensure!(free.elapsed() < RECOVERY_TIMEOUT, "back after {:?}", free.elapsed());
    fetch_json(admin.get("/users?limit=1")).await?;

    let (acknowledged, summary) = load.stop().await?;
    ensure!(summary.slowest < REFUSAL_TIMEOUT, "{summary:?}");
    ensure!(paddock.process().exit_status().is_none(), "paddock ended");
    assert_consistent(launch, url, &acknowledged).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_survives_a_full_disk() {
    story(async {
        let disk = Disk::small(16)?;
        let url = format!("sqlite:{}", disk.path().join("paddock.db").display());
        Box::pin(fill_and_empty(&launch(&url)?, &url, &disk, async || Ok(()))).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_survives_a_full_disk() {
    story(async {
        let disk = Disk::small(96)?;
        let mut postgres = Postgres::start_on(&disk, Durability::Full).await?;
        let url = postgres.empty_database().await?;
        Box::pin(fill_and_empty(&launch(&url)?, &url, &disk, async || {
            // PostgreSQL exits when it cannot write its log. Its supervisor then restarts it.
            let has_exited = postgres.process().is_some_and(|process| process.exit_status().is_some());
            if has_exited { postgres.restart().await } else { Ok(()) }
        }))
        .await
    })
    .await;
}
