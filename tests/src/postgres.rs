//! A PostgreSQL cluster of our own, in a scratch folder, reached over 127.0.0.1.
//!
//! Each test gets a database of its own, copied from a template that is migrated once: copying costs some 30 ms, migrating and nothing else would cost more.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::process::{Log, Process, Signal, free_port, run};
use crate::sentinel;
use crate::shared::{self, Shared};
use crate::testbed::Part;

const START: Duration = Duration::from_secs(30);

/// A running cluster: ours, or one that `paddock-tests exec` has started for all test processes.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    log: Log,
    template: OnceCell<String>,
    server: Option<(Process, TempDir)>,
}

/// Whether a cluster's commits reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Commits do not wait for the disk: fast, and nothing that a test of our own code could notice, as only a crash of the machine loses them.
    Relaxed,
    /// As in production, for benchmarks.
    Full,
}

impl Postgres {
    /// The cluster that all tests share.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        let postgres = SHARED
            .get_or_try_init(async || match shared::given(Shared::Postgres) {
                Some((url, log)) => Ok(Self { url, log, template: OnceCell::new(), server: None }),
                None => Self::start(Durability::Relaxed).await,
            })
            .await?;
        crate::story::attach(&postgres.log);
        Ok(postgres)
    }

    /// Starts a cluster for the caller alone.
    pub async fn start(durability: Durability) -> Result<Self> {
        let bin = Part::Postgres.locate()?;
        let folder = sentinel::scratch("postgres")?;
        let account = account()?;
        if let Some((uid, gid)) = account {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let data = folder.path().join("data");
        let command = |name: &str| {
            let mut command = Command::new(bin.join(name));
            command.current_dir(folder.path());
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command
        };
        run(command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--no-sync", "--pgdata"])
            .arg(&data))?;

        let port = free_port()?;
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(&data).args(settings(folder.path(), port, durability));
        let server = Process::start("postgres", postgres, Signal::Quit)?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        server.ready(START, async || Ok(PgConnection::connect(&url).await?.close().await?)).await?;
        Ok(Self { url, log: server.log().clone(), template: OnceCell::new(), server: Some((server, folder)) })
    }

    /// The URL of the database `postgres`, as superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The server process, for tests that kill or freeze it; `None` when it is shared with other test processes.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.server.as_ref().map(|(process, _)| process)
    }

    /// A new, empty database, and its URL.
    pub async fn empty_database(&self) -> Result<String> {
        let name = format!("test_{}", Uuid::now_v7().simple());
        self.run(&format!(r#"create database "{name}""#)).await?;
        self.url_of(&name)
    }

    /// A new database with the present schema, and its URL.
    pub async fn database(&self) -> Result<String> {
        let template = self.template.get_or_try_init(async || self.migrated_template().await).await?;
        let name = format!("test_{}", Uuid::now_v7().simple());
        self.run(&format!(r#"create database "{name}" template "{template}""#)).await?;
        self.url_of(&name)
    }

    async fn migrated_template(&self) -> Result<String> {
        let name = format!("template_{}", Uuid::now_v7().simple());
        self.run(&format!(r#"create database "{name}""#)).await?;
        let mut connection = PgConnection::connect(&self.url_of(&name)?).await?;
        let folder = crate::testbed::repository().join("migrations/postgres");
        sqlx::migrate::Migrator::new(folder).await?.run(&mut connection).await.context("the migrations")?;
        connection.close().await?;
        Ok(name)
    }

    async fn run(&self, statement: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        // Names of databases cannot be bound; ours are made above, of letters and digits.
        connection.execute(AssertSqlSafe(statement.to_owned())).await?;
        Ok(connection.close().await?)
    }

    fn url_of(&self, database: &str) -> Result<String> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(format!("postgres://{}@{}:{}/{database}", options.get_username(), options.get_host(), options.get_port()))
    }
}

fn settings(folder: &Path, port: u16, durability: Durability) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", folder.display()),
        // Test processes run in parallel, each with pools of its own.
        "max_connections=500".to_owned(),
        // In the data folder instead of /dev/shm, where a killed server would leave it.
        "dynamic_shared_memory_type=mmap".to_owned(),
        "log_min_messages=warning".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    if durability == Durability::Relaxed {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings.into_iter().flat_map(|s| ["-c".to_owned(), s]).collect()
}

/// The account that the server runs under: nobody's choice unless we are root, which PostgreSQL refuses.
fn account() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let of =
        |name: &str, what: &str| -> Result<u32> { Ok(run(Command::new("id").args([what, name]))?.trim().parse()?) };
    let ids = |name| Ok((of(name, "-u")?, of(name, "-g")?));
    ids("postgres")
        .or_else(|_: anyhow::Error| ids("nobody"))
        .map(Some)
        .context("an account for PostgreSQL, which does not run as root")
}
