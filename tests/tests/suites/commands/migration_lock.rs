//! `paddock migrate` while another migration runs: it says for what it waits, and ends.

use std::{fs::File, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::Launch,
    process::{Process, Signal},
    story::story,
};
use rstest::rstest;
use sqlx::{Connection as _, PgConnection, migrate::Migrate as _};

use super::assert_refused;

/// The lock of a migration that does not end.
enum Held {
    Session(PgConnection),
    File(File),
}

impl Held {
    async fn take(database: &Database) -> Result<Self> {
        let Some(path) = database.url().strip_prefix("sqlite:") else {
            let mut connection = PgConnection::connect(database.url()).await?;
            connection.lock().await?;
            return Ok(Self::Session(connection));
        };
        let file = File::create(format!("{path}.migrate.lock"))?;
        file.lock()?;
        Ok(Self::File(file))
    }

    /// The words by which the waiting command names it.
    async fn words(&mut self) -> Result<String> {
        Ok(match self {
            Self::Session(connection) => {
                let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?;
                format!("pid {pid}")
            }
            Self::File(_) => ".migrate.lock".to_owned(),
        })
    }

    async fn release(self) -> Result<()> {
        match self {
            Self::Session(connection) => Ok(connection.close().await?),
            Self::File(file) => Ok(file.unlock()?),
        }
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_stays_is_named_and_ends_the_command(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let mut held = Held::take(&database).await?;
        let arguments = ["migrate", "--lock-timeout", "1s"];
        let mut command = Launch::new(&arguments, database.url())?.command(&arguments)?;
        let output = command.env("LOG_LEVEL", "error").output()?;
        assert_refused(&output, 1, &["migration", &held.words().await?])
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_goes_on_when_the_lock_is_free(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let mut held = Held::take(&database).await?;
        let words = held.words().await?;
        let command = Launch::new(&["migrate"], database.url())?.command(&["migrate"])?;
        let process = Process::start("paddock", command, Signal::Term)?;
        eventually("the log to name the lock", Duration::from_secs(20), async || {
            let log = process.log().text();
            ensure!(log.contains("waiting for another migration") && log.contains(&words), "{log}");
            Ok(())
        })
        .await?;
        held.release().await?;
        let status = process.wait_for_exit(Duration::from_secs(30)).await?;
        ensure!(status.success(), "{status}");
        let ran = database.texts("SELECT CAST(count(*) AS TEXT) FROM _sqlx_migrations").await?;
        ensure!(ran.first().context("a number")?.parse::<u32>()? > 0, "{ran:?}");
        Ok(())
    })
    .await;
}
