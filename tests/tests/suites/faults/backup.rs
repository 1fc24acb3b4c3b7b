//! Backups taken while writers work, with the commands of docs/operations.md, and served again.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use paddock_tests::{
    paddock::{Launch, fetch_json},
    postgres::Postgres,
    process::run,
    reaper,
    story::story,
    testbed::Part,
};
use sqlx::{Connection as _, SqliteConnection};

use super::{assert_consistent, launch, rows, writers::WriterLoad};

const PROGRESS_TIMEOUT: Duration = Duration::from_mins(1);

/// Takes a backup while writers work. Asserts that the copy has everything acknowledged before it,
/// and can be served.
async fn back_up_and_restore(
    launch: &Launch,
    copy: &Launch,
    copied: &str,
    backup: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let bootstrap = launch.seed()?;
    let paddock = launch.clone().start().await?;
    let load = WriterLoad::start(&paddock.caller(&bootstrap.key), 8, None);
    load.acknowledged(100, PROGRESS_TIMEOUT).await?;
    let mut acknowledged = load.acknowledged_users();
    // The roles may change before the backup reads them.
    for user in &mut acknowledged {
        user.roles = None;
    }
    backup().await?;
    load.acknowledged(20, PROGRESS_TIMEOUT).await?;
    load.stop().await?;
    drop(paddock);

    assert_consistent(copy, copied, &acknowledged).await?;
    let restored = copy.clone().start().await?;
    let before: Vec<(i64,)> = rows(copied, "SELECT max(id) FROM users").await?;
    let new = restored.caller(&bootstrap.key).create_user(serde_json::json!({})).await?;
    ensure!(before.iter().all(|(last,)| *last < new), "user {new} was there before");
    fetch_json(restored.caller(&bootstrap.key).get("/audit?limit=1")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_is_copied_while_it_is_served() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        let (served, copied) = (url("paddock.db"), url("copy.db"));
        Box::pin(back_up_and_restore(&launch(&served)?, &launch(&copied)?, &copied, async || {
            let mut connection = SqliteConnection::connect(&served).await?;
            let copy = folder.path().join("copy.db").display().to_string();
            sqlx::query("VACUUM INTO $1").bind(copy).execute(&mut connection).await?;
            Ok(connection.close().await?)
        }))
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_database_is_dumped_while_it_is_served() {
    story(async {
        let postgres = Box::pin(Postgres::shared()).await?;
        let (served, copied) = (postgres.empty_database().await?, postgres.empty_database().await?);
        let bin = Part::Postgres.locate()?;
        Box::pin(back_up_and_restore(&launch(&served)?, &launch(&copied)?, &copied, async || {
            let folder = reaper::scratch_dir("dump")?;
            let file = folder.path().join("paddock.dump");
            run(Command::new(bin.join("pg_dump")).args(["--format=custom", "--file"]).arg(&file).arg(&served))?;
            let mut restore = Command::new(bin.join("pg_restore"));
            run(restore.args(["--no-owner", "--exit-on-error", "--dbname", &copied]).arg(&file))?;
            Ok(())
        }))
        .await
    })
    .await;
}
