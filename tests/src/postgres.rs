//! A PostgreSQL cluster in a scratch folder, on 127.0.0.1.
//!
//! Each test gets its own database. [`Postgres::database`] copies a template that is migrated once;
//! a copy takes about 30 ms.

use std::{
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _,
    postgres::{PgConnectOptions, PgConnection},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    disk::Disk,
    process::{Child, Log, Process, Signal, free_port, run},
    reaper,
    shared_servers::{self, SharedServer},
    testbed::Part,
};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running cluster, started by this process or inherited from `paddock-tests exec`.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    log: Log,
    template: OnceCell<String>,
    server: Option<Server>,
}

/// The process of a cluster that this process started, and the data to restart it after a crash.
#[derive(Debug)]
struct Server {
    process: Process,
    folder: PathBuf,
    settings: Vec<String>,
    /// Removed with the cluster; `None` when the caller owns the folder.
    _scratch: Option<TempDir>,
}

/// Whether a cluster's commits reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Commits do not wait for the disk. Only a crash of the machine loses them, so tests do not
    /// notice.
    Relaxed,
    /// Commits wait for the disk, as in production.
    Full,
}

impl Postgres {
    /// The cluster that all tests share.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        let postgres = SHARED
            .get_or_try_init(async || match shared_servers::inherited(SharedServer::Postgres) {
                Some((url, log)) => Ok(Self { url, log, template: OnceCell::new(), server: None }),
                None => Self::start(Durability::Relaxed).await,
            })
            .await?;
        crate::story::attach_log(&postgres.log);
        Ok(postgres)
    }

    /// Starts a cluster for one test.
    pub async fn start(durability: Durability) -> Result<Self> {
        let scratch = reaper::scratch_dir("postgres")?;
        Self::start_in(scratch.path().to_owned(), Some(scratch), durability).await
    }

    /// Starts a cluster on a small disk. The cluster takes about 60 MiB of it.
    pub async fn start_on(disk: &Disk, durability: Durability) -> Result<Self> {
        Self::start_in(disk.path().to_owned(), None, durability).await
    }

    async fn start_in(folder: PathBuf, scratch: Option<TempDir>, durability: Durability) -> Result<Self> {
        if let Some((uid, gid)) = unprivileged_account()? {
            chown(&folder, Some(uid), Some(gid))?;
        }
        let mut initdb = command("initdb", &folder)?;
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        if scratch.is_none() {
            initdb.arg("--wal-segsize=1");
        }
        run(initdb.arg("--pgdata").arg(folder.join("data")))?;
        let port = free_port()?;
        let mut settings = settings(&folder, port, durability);
        if scratch.is_none() {
            settings.extend(["-c", "max_wal_size=8MB", "-c", "min_wal_size=2MB"].map(str::to_owned));
        }
        let process = launch(&folder, &settings)?;
        let (log, url) = (process.log().clone(), format!("postgres://postgres@127.0.0.1:{port}/postgres"));
        wait_until_ready(&process, &url).await?;
        let server = Server { process, folder, settings, _scratch: scratch };
        Ok(Self { url, log, template: OnceCell::new(), server: Some(server) })
    }

    /// Kills all processes of the server at once, as a power failure does. Nothing is flushed.
    pub async fn crash(&self) -> Result<()> {
        let server = self.server()?;
        // Suspended first, so that the server starts no child while its children are listed.
        let children = self.freeze()?;
        for child in children {
            child.signal(Signal::Kill)?;
        }
        server.process.signal(Signal::Kill)?;
        server.process.wait_for_exit(Duration::from_secs(10)).await?;
        Ok(())
    }

    /// Starts the server again on the same data and port, and waits until it has recovered.
    pub async fn restart(&mut self) -> Result<()> {
        let url = self.url.clone();
        let server = self.server.as_mut().context("an inherited cluster cannot be restarted")?;
        server.process = launch(&server.folder, &server.settings)?;
        self.log = server.process.log().clone();
        wait_until_ready(&server.process, &url).await
    }

    /// Suspends all processes of the server until [`Postgres::thaw`], and returns its children.
    /// Connections stay open, and no query is answered.
    pub fn freeze(&self) -> Result<Vec<Child>> {
        let server = self.server()?;
        server.process.signal(Signal::Stop)?;
        let children = server.process.children()?;
        for child in &children {
            child.signal(Signal::Stop)?;
        }
        Ok(children)
    }

    /// Resumes the server.
    pub fn thaw(&self) -> Result<()> {
        let server = self.server()?;
        for child in server.process.children()? {
            child.signal(Signal::Cont)?;
        }
        server.process.signal(Signal::Cont)
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("an inherited cluster cannot be disturbed")
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

    /// The server process, for tests that kill or suspend it; `None` when it is inherited.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.server.as_ref().map(|server| &server.process)
    }

    /// Its data folder; `None` when it is inherited.
    #[must_use]
    pub fn data_dir(&self) -> Option<PathBuf> {
        self.server.as_ref().map(|server| server.folder.join("data"))
    }

    /// Creates an empty database and returns its URL.
    pub async fn empty_database(&self) -> Result<String> {
        let name = format!("test_{}", Uuid::now_v7().simple());
        self.run(&format!(r#"create database "{name}""#)).await?;
        self.database_url(&name)
    }

    /// Creates a database with the present schema and returns its URL.
    pub async fn database(&self) -> Result<String> {
        let template = self.template.get_or_try_init(async || self.migrated_template().await).await?;
        let name = format!("test_{}", Uuid::now_v7().simple());
        self.run(&format!(r#"create database "{name}" template "{template}""#)).await?;
        self.database_url(&name)
    }

    async fn migrated_template(&self) -> Result<String> {
        let name = format!("template_{}", Uuid::now_v7().simple());
        self.run(&format!(r#"create database "{name}""#)).await?;
        let mut connection = PgConnection::connect(&self.database_url(&name)?).await?;
        let folder = crate::testbed::repository().join("migrations/postgres");
        sqlx::migrate::Migrator::new(folder).await?.run(&mut connection).await.context("the migrations")?;
        connection.close().await?;
        Ok(name)
    }

    async fn run(&self, statement: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        // Database names cannot be bound. They are made above, of letters and digits.
        connection.execute(AssertSqlSafe(statement.to_owned())).await?;
        Ok(connection.close().await?)
    }

    fn database_url(&self, database: &str) -> Result<String> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(format!("postgres://{}@{}:{}/{database}", options.get_username(), options.get_host(), options.get_port()))
    }
}

/// A command of PostgreSQL, run in that folder under an account that PostgreSQL accepts.
fn command(name: &str, folder: &Path) -> Result<Command> {
    let mut command = Command::new(Part::Postgres.locate()?.join(name));
    command.current_dir(folder);
    if let Some((uid, gid)) = unprivileged_account()? {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

fn launch(folder: &Path, settings: &[String]) -> Result<Process> {
    let mut postgres = command("postgres", folder)?;
    postgres.arg("-D").arg(folder.join("data")).args(settings);
    Process::start("postgres", postgres, Signal::Quit)
}

async fn wait_until_ready(server: &Process, url: &str) -> Result<()> {
    server.wait_until_ready(START_TIMEOUT, async || Ok(PgConnection::connect(url).await?.close().await?)).await
}

fn settings(folder: &Path, port: u16, durability: Durability) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", folder.display()),
        // Test processes run in parallel, each with its own pools.
        "max_connections=500".to_owned(),
        // In the data folder, because a killed server would leave it in /dev/shm.
        "dynamic_shared_memory_type=mmap".to_owned(),
        "log_min_messages=warning".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    if durability == Durability::Relaxed {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings.into_iter().flat_map(|s| ["-c".to_owned(), s]).collect()
}

/// The account to run the server under. `None` unless this process runs as root, which PostgreSQL
/// refuses.
pub(crate) fn unprivileged_account() -> Result<Option<(u32, u32)>> {
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
