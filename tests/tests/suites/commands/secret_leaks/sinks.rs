//! Where things are written, and how to read all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::eventually::eventually;
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::process::run;
use paddock_tests::reaper;
use paddock_tests::testbed::Part;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::encodings::Secret;
use super::{DATABASE_PASSWORD, SEEN};

/// What was written somewhere, and a text that must be found there, or nothing would be shown by what is not.
pub(super) struct Sink {
    name: String,
    bytes: Vec<u8>,
}

impl Sink {
    /// Errors: the control is not there.
    pub(super) fn new(name: &str, bytes: impl Into<Vec<u8>>, control: &'static str) -> Result<Self> {
        let mut bytes = bytes.into();
        // Files of databases are zeros for the most part, and a text of two bytes each character is one of one without them.
        bytes.retain(|&byte| byte != 0);
        ensure!(Secret::new("control", control).found(&bytes).is_some(), "{name} has no {control}: nothing is shown");
        Ok(Self { name: name.to_owned(), bytes })
    }

    /// What is found of these, each with what stands before it.
    pub(super) fn leaks<'a>(&'a self, secrets: &'a [Secret]) -> impl Iterator<Item = String> + 'a {
        secrets.iter().filter_map(|secret| {
            let (form, at) = secret.found(&self.bytes)?;
            let before = String::from_utf8_lossy(&self.bytes[at.saturating_sub(120)..at]);
            Some(format!("{}: the {} {form}, after {before:?}", self.name, secret.what))
        })
    }
}

/// A database to be served, and the ways to read it past Paddock.
pub(super) enum ServedDatabase {
    Postgres { cluster: Box<Postgres>, direct: String, url: String },
    Sqlite { folder: TempDir, url: String },
}

impl ServedDatabase {
    /// A cluster of its own, which knows Paddock by a password and logs each statement with its values.
    pub(super) async fn postgres() -> Result<Self> {
        let cluster = Postgres::start(Durability::Relaxed).await?;
        let direct = cluster.empty_database().await?;
        let mut connection = PgConnection::connect(&direct).await?;
        let name: PgConnectOptions = direct.parse()?;
        let name = name.get_database().context("a name")?.to_owned();
        let role = format!("CREATE ROLE paddock LOGIN PASSWORD '{DATABASE_PASSWORD}'");
        connection.execute(AssertSqlSafe(role)).await?;
        connection.execute(AssertSqlSafe(format!(r#"ALTER DATABASE "{name}" OWNER TO paddock"#))).await?;
        connection.execute("ALTER SYSTEM SET log_statement = 'all'").await?;
        let rules = data(&cluster)?.join("pg_hba.conf");
        let others = fs::read_to_string(&rules)?;
        fs::write(&rules, format!("host all paddock 127.0.0.1/32 scram-sha-256\n{others}"))?;
        connection.execute("SELECT pg_reload_conf()").await?;
        let with = |password: &str| direct.replace("postgres@", &format!("paddock:{password}@"));
        eventually("the password to count", Duration::from_secs(10), async || {
            ensure!(PgConnection::connect(&with("another")).await.is_err());
            Ok(())
        })
        .await?;
        let url = with(DATABASE_PASSWORD);
        Ok(Self::Postgres { cluster: Box::new(cluster), direct, url })
    }

    pub(super) fn sqlite() -> Result<Self> {
        let folder = reaper::scratch_dir("canaries")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        Ok(Self::Sqlite { folder, url })
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::Postgres { url, .. } | Self::Sqlite { url, .. } => url,
        }
    }

    pub(super) async fn execute(&self, statement: &'static str) -> Result<()> {
        match self {
            Self::Postgres { direct, .. } => {
                PgConnection::connect(direct).await?.execute(statement).await?;
            }
            Self::Sqlite { url, .. } => {
                SqliteConnection::connect(url).await?.execute(statement).await?;
            }
        }
        Ok(())
    }

    /// A dump of it, its files and its write-ahead log as they are while it is served.
    pub(super) async fn sinks(&self) -> Result<Vec<Sink>> {
        match self {
            Self::Postgres { cluster, direct, .. } => {
                let mut connection = PgConnection::connect(direct).await?;
                connection.execute("CHECKPOINT").await?;
                let (own,): (String,) =
                    sqlx::query_as("SELECT oid::text FROM pg_database WHERE datname = current_database()")
                        .fetch_one(&mut connection)
                        .await?;
                let mut dump = Command::new(Part::Postgres.locate()?.join("pg_dump"));
                let (base, log) = (data(cluster)?.join("base").join(own), data(cluster)?.join("pg_wal"));
                Ok(vec![
                    Sink::new("the dump", run(dump.args(["--inserts", direct]))?, SEEN)?,
                    Sink::new("PostgreSQL's files", files(&base)?, SEEN)?,
                    Sink::new("PostgreSQL's write-ahead log", files(&log)?, SEEN)?,
                    Sink::new("PostgreSQL's log", cluster.log().text(), SEEN)?,
                ])
            }
            Self::Sqlite { folder, url } => {
                let copies = reaper::scratch_dir("copy")?;
                let copy = copies.path().join("copy.db");
                let into = format!("VACUUM INTO '{}'", copy.display());
                SqliteConnection::connect(url).await?.execute(AssertSqlSafe(into)).await?;
                let of = |name: &str| fs::read(folder.path().join(name)).with_context(|| name.to_owned());
                Ok(vec![
                    Sink::new("the copy", fs::read(copy)?, SEEN)?,
                    Sink::new("SQLite's write-ahead log", of("paddock.db-wal")?, SEEN)?,
                    Sink::new("the folder of the SQLite file", files(folder.path())?, SEEN)?,
                ])
            }
        }
    }

    /// What is left of it when it is not served any more.
    pub(super) fn rest(&self) -> Result<Option<Sink>> {
        match self {
            Self::Postgres { .. } => Ok(None),
            Self::Sqlite { folder, .. } => {
                Ok(Some(Sink::new("the folder that is left of SQLite", files(folder.path())?, SEEN)?))
            }
        }
    }
}

fn data(cluster: &Postgres) -> Result<PathBuf> {
    cluster.data_dir().context("a cluster of its own")
}

/// The names and the bytes of all files below a folder.
pub(super) fn files(folder: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        bytes.extend(path.as_os_str().as_encoded_bytes());
        bytes.extend(if path.is_dir() { files(&path)? } else { fs::read(path)? });
    }
    Ok(bytes)
}
