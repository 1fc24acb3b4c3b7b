//! A PostgreSQL cluster of our own, in a scratch folder, reached over 127.0.0.1.
//!
//! Each test gets a database of its own, copied from a template that is migrated once: copying costs some 30 ms, migrating and nothing else would cost more.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::disk::Disk;
use crate::process::{Child, Log, Process, Signal, free_port, run};
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
    server: Option<Server>,
}

/// What a cluster of ours is started from, and started again after a crash.
#[derive(Debug)]
struct Server {
    process: Process,
    folder: PathBuf,
    settings: Vec<String>,
    /// Removed with the cluster; `None` where the folder is the caller's.
    _scratch: Option<TempDir>,
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
        let scratch = sentinel::scratch("postgres")?;
        Self::begin(scratch.path().to_owned(), Some(scratch), durability).await
    }

    /// Starts a cluster in an empty folder of the caller's, a small disk, of which it takes some 60 MiB.
    pub async fn start_on(disk: &Disk, durability: Durability) -> Result<Self> {
        Self::begin(disk.path().to_owned(), None, durability).await
    }

    async fn begin(folder: PathBuf, scratch: Option<TempDir>, durability: Durability) -> Result<Self> {
        if let Some((uid, gid)) = account()? {
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
        answers(&process, &url).await?;
        let server = Server { process, folder, settings, _scratch: scratch };
        Ok(Self { url, log, template: OnceCell::new(), server: Some(server) })
    }

    /// Kills the server and every process of it at once, as a machine that loses its power does. Nothing is flushed.
    pub async fn crash(&self) -> Result<()> {
        let server = self.own()?;
        // Frozen first, so that it starts nothing more while its children are looked up.
        let children = self.freeze()?;
        for child in children {
            child.signal(Signal::Kill)?;
        }
        server.process.signal(Signal::Kill)?;
        server.process.ended(Duration::from_secs(10)).await?;
        Ok(())
    }

    /// Starts it again on the same data and the same port, and waits until it has recovered.
    pub async fn restart(&mut self) -> Result<()> {
        let url = self.url.clone();
        let server = self.server.as_mut().context("a shared cluster is not ours to restart")?;
        server.process = launch(&server.folder, &server.settings)?;
        self.log = server.process.log().clone();
        answers(&server.process, &url).await
    }

    /// Stops every process of it where it stands, until [`Postgres::thaw`]: connections stay open, and nothing is answered.
    /// Returns its children.
    pub fn freeze(&self) -> Result<Vec<Child>> {
        let server = self.own()?;
        server.process.signal(Signal::Stop)?;
        let children = server.process.children()?;
        for child in &children {
            child.signal(Signal::Stop)?;
        }
        Ok(children)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        let server = self.own()?;
        for child in server.process.children()? {
            child.signal(Signal::Cont)?;
        }
        server.process.signal(Signal::Cont)
    }

    fn own(&self) -> Result<&Server> {
        self.server.as_ref().context("a shared cluster is not ours to disturb")
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
        self.server.as_ref().map(|server| &server.process)
    }

    /// The folder that holds its data; `None` when it is shared with other test processes.
    #[must_use]
    pub fn data(&self) -> Option<PathBuf> {
        self.server.as_ref().map(|server| server.folder.join("data"))
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

/// An executable of PostgreSQL's, run in that folder under an account that it accepts.
fn command(name: &str, folder: &Path) -> Result<Command> {
    let mut command = Command::new(Part::Postgres.locate()?.join(name));
    command.current_dir(folder);
    if let Some((uid, gid)) = account()? {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

fn launch(folder: &Path, settings: &[String]) -> Result<Process> {
    let mut postgres = command("postgres", folder)?;
    postgres.arg("-D").arg(folder.join("data")).args(settings);
    Process::start("postgres", postgres, Signal::Quit)
}

async fn answers(server: &Process, url: &str) -> Result<()> {
    server.ready(START, async || Ok(PgConnection::connect(url).await?.close().await?)).await
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
