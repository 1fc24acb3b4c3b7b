//! The places that Paddock and its database write to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    postgres::{Durability, Postgres},
    process::run,
    reaper,
    testbed::Part,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use super::{CONTROL_EMAIL, DATABASE_PASSWORD, encodings::Secret};

/// All bytes that were written to one place.
pub(super) struct Sink {
    name: String,
    bytes: Vec<u8>,
}

impl Sink {
    /// Errors: the control text is not found, which would make the search for secrets meaningless.
    pub(super) fn new(name: &str, bytes: impl Into<Vec<u8>>, control: &'static str) -> Result<Self> {
        let mut bytes = bytes.into();
        // Most bytes of database files are zeros. Without them UTF-16 reads as ASCII.
        bytes.retain(|&byte| byte != 0);
        ensure!(Secret::new("control", control).found(&bytes).is_some(), "{name} has no {control}");
        Ok(Self { name: name.to_owned(), bytes })
    }

    /// The secrets that are found, each with the bytes before it.
    pub(super) fn leaks<'a>(&'a self, secrets: &'a [Secret]) -> impl Iterator<Item = String> + 'a {
        secrets.iter().filter_map(|secret| {
            let (encoding, at) = secret.found(&self.bytes)?;
            let before = String::from_utf8_lossy(&self.bytes[at.saturating_sub(120)..at]);
            Some(format!("{}: the {} {encoding}, after {before:?}", self.name, secret.name))
        })
    }
}

/// A database for a server, and access to it past Paddock.
pub(super) enum ServedDatabase {
    Postgres { cluster: Box<Postgres>, direct: String, url: String },
    Sqlite { folder: TempDir, url: String },
}

impl ServedDatabase {
    pub(super) async fn new(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Postgres => Self::postgres().await,
            Engine::Sqlite => Self::sqlite(),
        }
    }

    /// A cluster of its own, which asks Paddock for a password and logs each statement with its
    /// values.
    async fn postgres() -> Result<Self> {
        let cluster = Postgres::start(Durability::Relaxed).await?;
        let direct = cluster.empty_database().await?;
        let mut connection = PgConnection::connect(&direct).await?;
        let name: PgConnectOptions = direct.parse()?;
        let name = name.get_database().context("a name")?.to_owned();
        let role = format!("CREATE ROLE paddock LOGIN PASSWORD '{DATABASE_PASSWORD}'");
        connection.execute(AssertSqlSafe(role)).await?;
        connection.execute(AssertSqlSafe(format!(r#"ALTER DATABASE "{name}" OWNER TO paddock"#))).await?;
        connection.execute("ALTER SYSTEM SET log_statement = 'all'").await?;
        let hba = data_dir(&cluster)?.join("pg_hba.conf");
        let others = fs::read_to_string(&hba)?;
        fs::write(&hba, format!("host all paddock 127.0.0.1/32 scram-sha-256\n{others}"))?;
        connection.execute("SELECT pg_reload_conf()").await?;
        let url_with = |password: &str| direct.replace("postgres@", &format!("paddock:{password}@"));
        eventually("the password to count", Duration::from_secs(10), async || {
            ensure!(PgConnection::connect(&url_with("another")).await.is_err());
            Ok(())
        })
        .await?;
        let url = url_with(DATABASE_PASSWORD);
        Ok(Self::Postgres { cluster: Box::new(cluster), direct, url })
    }

    fn sqlite() -> Result<Self> {
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

    /// A dump, the files and the write-ahead log while the server runs.
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
                let (base, log) = (data_dir(cluster)?.join("base").join(own), data_dir(cluster)?.join("pg_wal"));
                Ok(vec![
                    Sink::new("the dump", run(dump.args(["--inserts", direct]))?, CONTROL_EMAIL)?,
                    Sink::new("PostgreSQL's files", files(&base)?, CONTROL_EMAIL)?,
                    Sink::new("PostgreSQL's write-ahead log", files(&log)?, CONTROL_EMAIL)?,
                    Sink::new("PostgreSQL's log", cluster.log().text(), CONTROL_EMAIL)?,
                ])
            }
            Self::Sqlite { folder, url } => {
                let copies = reaper::scratch_dir("copy")?;
                let copy = copies.path().join("copy.db");
                let into = format!("VACUUM INTO '{}'", copy.display());
                SqliteConnection::connect(url).await?.execute(AssertSqlSafe(into)).await?;
                let of = |name: &str| fs::read(folder.path().join(name)).with_context(|| name.to_owned());
                Ok(vec![
                    Sink::new("the copy", fs::read(copy)?, CONTROL_EMAIL)?,
                    Sink::new("SQLite's write-ahead log", of("paddock.db-wal")?, CONTROL_EMAIL)?,
                    Sink::new("the folder of the SQLite file", files(folder.path())?, CONTROL_EMAIL)?,
                ])
            }
        }
    }

    /// The files that SQLite leaves when the server has ended.
    pub(super) fn sinks_after_shutdown(&self) -> Result<Option<Sink>> {
        match self {
            Self::Postgres { .. } => Ok(None),
            Self::Sqlite { folder, .. } => Ok(Some(Sink::new(
                "the folder of the SQLite file after shutdown",
                files(folder.path())?,
                CONTROL_EMAIL,
            )?)),
        }
    }
}

fn data_dir(cluster: &Postgres) -> Result<PathBuf> {
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
