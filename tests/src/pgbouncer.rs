//! `PgBouncer` in front of a PostgreSQL, on 127.0.0.1.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use sqlx::{Connection as _, postgres::PgConnection};
use tempfile::TempDir;

use crate::{
    postgres::unprivileged_account,
    process::{Process, Signal, free_port},
    reaper,
    testbed::Part,
};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running `PgBouncer`. Dropping it stops it.
pub struct PgBouncer {
    url: String,
    process: Process,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts it in front of the database at this URL, which asks for no password. `mode` is its
    /// `pool_mode`.
    pub async fn start(database_url: &str, mode: &str) -> Result<Self> {
        Self::start_on(free_port()?, database_url, mode).await
    }

    /// The same on a port of the caller's.
    pub async fn start_on(port: u16, database_url: &str, mode: &str) -> Result<Self> {
        let server: sqlx::postgres::PgConnectOptions = database_url.parse()?;
        let folder = reaper::scratch_dir("pgbouncer")?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("users"), format!("\"{}\" \"\"\n", server.get_username()))?;
        fs::write(path("ini"), settings(&server, port, mode, &path("users").display().to_string()))?;
        let mut command = Command::new(Part::PgBouncer.locate()?);
        // It does not run as root.
        if let Some((uid, gid)) = unprivileged_account()? {
            chown(folder.path(), Some(uid), Some(gid))?;
            command.uid(uid).gid(gid);
        }
        command.arg(path("ini")).current_dir(folder.path());
        let process = Process::start("pgbouncer", command, Signal::Int)?;
        let database = server.get_database().unwrap_or("postgres");
        let url = format!("postgres://{}@127.0.0.1:{port}/{database}", server.get_username());
        let bouncer = Self { url, process, _folder: folder };
        bouncer.wait_until_ready(port).await?;
        Ok(bouncer)
    }

    /// The URL of the same database through it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until it takes connections, which says nothing about the database.
    async fn wait_until_ready(&self, port: u16) -> Result<()> {
        let connect = async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop)?);
        self.process.wait_until_ready(START_TIMEOUT, connect).await
    }

    /// Opens a connection through it.
    pub async fn connect(&self) -> Result<PgConnection> {
        let options: sqlx::postgres::PgConnectOptions = self.url.parse()?;
        Ok(PgConnection::connect_with(&options.extra_float_digits(None)).await?)
    }
}

fn settings(server: &sqlx::postgres::PgConnectOptions, port: u16, mode: &str, users: &str) -> String {
    let (host, database_port) = (server.get_host(), server.get_port());
    format!(
        "[databases]\n* = host={host} port={database_port}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = trust\nauth_file = {users}\npool_mode = {mode}\n"
    )
}
