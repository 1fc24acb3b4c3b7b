//! `kill -9` of the database and of Paddock.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use paddock_tests::{
    eventually::eventually,
    paddock::fetch_json,
    postgres::{Durability, Postgres},
    process::Signal,
    random::random_below,
    reaper,
    story::{soak_or, story},
};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{
    assert_consistent, launch, rows,
    writers::{Summary, WriterLoad},
};

/// The time in which the service must recover after a crash.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(5);
const PROGRESS_TIMEOUT: Duration = Duration::from_mins(1);

/// The number of times that Paddock is killed.
fn kills() -> usize {
    soak_or(100, 20)
}

/// Prints the figures of a run. `served` is the number of acknowledged requests without crashes,
/// and the time they took.
#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn print_figures(summary: &Summary, served: (usize, Duration), back: &[Duration]) {
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
async fn a_killed_postgres_loses_nothing_and_the_service_recovers() {
    story(async {
        let mut postgres = Postgres::start(Durability::Full).await?;
        let url = postgres.empty_database().await?;
        let launch = launch(&url)?;
        let admin = launch.seed()?;
        let paddock = launch.clone().start().await?;
        let load = WriterLoad::start(&paddock.caller(&admin.key), 32, Some(200));
        let mut back = Vec::new();
        let mut served = (0, Duration::ZERO);
        for crash in 0..5 {
            let (before, since) = (load.count(), Instant::now());
            load.acknowledged(400, PROGRESS_TIMEOUT).await?;
            served = (served.0 + load.count() - before, served.1 + since.elapsed());
            postgres.crash().await?;
            load.unavailable(16).await.context("while PostgreSQL is down")?;
            postgres.restart().await?;
            let restarted = Instant::now();
            load.acknowledged(16, RECOVERY_TIMEOUT).await.with_context(|| format!("after crash {crash}"))?;
            back.push(restarted.elapsed());
        }
        load.acknowledged(400, PROGRESS_TIMEOUT).await?;
        let (acknowledged, summary) = load.stop().await?;
        print_figures(&summary, served, &back);
        ensure!(paddock.process().exit_status().is_none(), "paddock ended");
        assert_consistent(&launch, &url, &acknowledged).await
    })
    .await;
}

/// Another process has made the same change, which others see before it is on the disk. The service has
/// nothing to change, and must not confirm what a crash can still undo.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_change_that_another_process_made_survives_a_crash() {
    story(async {
        let mut postgres = Postgres::start(Durability::Full).await?;
        let url = postgres.empty_database().await?;
        let launch = launch(&url)?;
        let seeded = launch.seed()?;
        let paddock = launch.start().await?;
        let admin = paddock.caller(&seeded.key);
        let user = admin.create_user(json!({"roles": ["user"]})).await?;

        let mut other = PgConnection::connect(&url).await?;
        // The log is then written for a commit that waits for it only.
        for statement in ["ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()"] {
            other.execute(statement).await?;
        }
        eventually("the setting", PROGRESS_TIMEOUT, async || {
            let mut fresh = PgConnection::connect(&url).await?;
            let delay: String = sqlx::query_scalar("SHOW wal_writer_delay").fetch_one(&mut fresh).await?;
            ensure!(delay == "10s", "{delay}");
            anyhow::Ok(())
        })
        .await?;
        other.execute("SET synchronous_commit = off").await?;
        let changed = sqlx::query("UPDATE users SET roles = '' WHERE id = $1").bind(user).execute(&mut other).await?;
        assert_eq!(changed.rows_affected(), 1);
        let confirmed = fetch_json(admin.patch(&format!("/users/{user}"), &json!({"roles": []}))).await?;
        assert_eq!(confirmed["roles"], json!([]), "{confirmed}");

        postgres.crash().await?;
        postgres.restart().await?;
        let roles: Vec<(i64, String)> = rows(&url, "SELECT id, roles FROM users").await?;
        ensure!(roles.contains(&(user, String::new())), "{roles:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_paddock_leaves_a_valid_sqlite_file_with_every_acknowledged_change() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let launch = launch(&url)?;
        let admin = launch.seed()?;
        let mut load = None;
        for kill in 0..kills() {
            if kill % 5 == 4 {
                // During the start, while it recovers from the last kill.
                let starting = launch.clone().spawn()?;
                tokio::time::sleep(Duration::from_millis(random_below(300))).await;
                starting.process().signal(Signal::Kill)?;
                starting.process().wait_for_exit(PROGRESS_TIMEOUT).await?;
            }
            let paddock = launch.clone().start().await?;
            let load = load.get_or_insert_with(|| WriterLoad::start(&paddock.caller(&admin.key), 50, None));
            load.acknowledged(usize::try_from(random_below(150))?, PROGRESS_TIMEOUT).await?;
            tokio::time::sleep(Duration::from_micros(random_below(20_000))).await;
            paddock.process().signal(Signal::Kill)?;
            paddock.process().wait_for_exit(PROGRESS_TIMEOUT).await?;
            assert_consistent(&launch, &url, &load.acknowledged_users())
                .await
                .with_context(|| format!("after kill {kill}"))?;
        }
        let paddock = launch.clone().start().await?;
        let load = load.context("at least one round")?;
        load.acknowledged(50, PROGRESS_TIMEOUT).await?;
        let (acknowledged, summary) = load.stop().await?;
        print_figures(&summary, (summary.acknowledged, summary.took), &[]);
        ensure!(summary.unavailable == 0, "clients got a 503: {:?}", summary.outcomes);
        drop(paddock);
        assert_consistent(&launch, &url, &acknowledged).await
    })
    .await;
}
