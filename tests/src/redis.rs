//! A Redis of the test's own, reached over 127.0.0.1. It starts in a few milliseconds and keeps nothing on disk.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use redis::Client;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::process::{Process, Signal, free_port};
use crate::sentinel;
use crate::testbed::Part;

/// A running Redis.
pub struct Redis {
    port: u16,
    password: Option<String>,
    process: Process,
    folder: TempDir,
}

impl Redis {
    /// Starts one that lets everybody in.
    pub async fn start() -> Result<Self> {
        Self::begin(None).await
    }

    /// Starts one that asks for this password.
    pub async fn with_password(password: &str) -> Result<Self> {
        Self::begin(Some(password.to_owned())).await
    }

    async fn begin(password: Option<String>) -> Result<Self> {
        let folder = sentinel::scratch("redis")?;
        let port = free_port()?;
        let process = launch(port, password.as_deref(), &folder)?;
        let redis = Self { port, password, process, folder };
        redis.answers().await?;
        Ok(redis)
    }

    /// Its URL, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        let user = self.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}/0", self.port)
    }

    /// A new connection to it, for commands of the test's.
    pub async fn connect(&self) -> Result<MultiplexedConnection> {
        Ok(Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }

    /// Kills it: connections break, and all that it held is gone.
    pub async fn crash(&self) -> Result<()> {
        self.process.signal(Signal::Kill)?;
        self.process.ended(Duration::from_secs(10)).await?;
        Ok(())
    }

    /// Starts it again after a crash, on the same port, with nothing in it.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = launch(self.port, self.password.as_deref(), &self.folder)?;
        self.answers().await
    }

    /// Stops it where it stands, until [`Redis::thaw`]: connections stay open, and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::Stop)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::Cont)
    }

    async fn answers(&self) -> Result<()> {
        let ping = async || Ok(redis::cmd("PING").query_async::<()>(&mut self.connect().await?).await?);
        self.process.ready(Duration::from_secs(10), ping).await
    }
}

fn launch(port: u16, password: Option<&str>, folder: &TempDir) -> Result<Process> {
    let mut command = Command::new(Part::Redis.locate()?);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder.path());
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    Process::start("redis", command, Signal::Term)
}
