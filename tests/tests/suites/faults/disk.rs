//! Disks that are full, and have space again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use paddock_tests::disk::Disk;
use paddock_tests::paddock::{Launch, answer};
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::story::story;

use super::load::Load;
use super::{launch, sound};

/// With space again, the time within which the service is back.
const BACK: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest that a client waits to be refused.
const REFUSED: Duration = Duration::from_secs(5);

/// Fills the disk under writers until they are refused, and empties it again; `mend` is run before the service has to be
/// back.
async fn fill_and_empty(launch: &Launch, url: &str, disk: &Disk, mend: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let bootstrap = launch.seed()?;
    let paddock = launch.clone().start().await?;
    let admin = paddock.caller(&bootstrap.key);
    let load = Load::start(&admin, 16, None);
    load.acknowledged(100, PATIENCE).await?;

    let filling = disk.fill()?;
    load.unavailable(100).await?;
    filling.free()?;
    mend().await?;
    let free = Instant::now();
    load.acknowledged(100, BACK).await?;
    ensure!(free.elapsed() < BACK, "back after {:?}", free.elapsed());
    answer(admin.get("/users?limit=1")).await?;

    let (promised, summary) = load.stop().await?;
    ensure!(summary.slowest < REFUSED, "{summary:?}");
    ensure!(paddock.process().exited().is_none(), "paddock ended");
    sound(launch, url, &promised).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_on_a_full_disk_is_not_damaged_and_goes_on_when_there_is_space() {
    story(async {
        let disk = Disk::small(16)?;
        let url = format!("sqlite:{}", disk.path().join("paddock.db").display());
        Box::pin(fill_and_empty(&launch(&url)?, &url, &disk, async || Ok(()))).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_on_a_full_disk_comes_back_when_there_is_space() {
    story(async {
        let disk = Disk::small(96)?;
        let mut postgres = Postgres::start_on(&disk, Durability::Full).await?;
        let url = postgres.empty_database().await?;
        Box::pin(fill_and_empty(&launch(&url)?, &url, &disk, async || {
            // It gives up when not even its log can be written; then its supervisor starts it again.
            let over = postgres.process().is_some_and(|process| process.exited().is_some());
            if over { postgres.restart().await } else { Ok(()) }
        }))
        .await
    })
    .await;
}
