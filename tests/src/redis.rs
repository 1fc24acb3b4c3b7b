//! A Redis for one test, on 127.0.0.1. It starts in a few milliseconds and keeps nothing on disk.

use std::{process::Command, time::Duration};

use anyhow::Result;
use redis::{Client, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::{
    process::{Process, Signal, free_port},
    reaper,
    testbed::Part,
};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running Redis.
pub struct Redis {
    port: u16,
    password: Option<String>,
    process: Process,
    folder: TempDir,
}

impl Redis {
    /// Starts a Redis without a password.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// Starts a Redis with this password.
    pub async fn with_password(password: &str) -> Result<Self> {
        Self::start_with(Some(password.to_owned())).await
    }

    async fn start_with(password: Option<String>) -> Result<Self> {
        let folder = reaper::scratch_dir("redis")?;
        let port = free_port()?;
        let process = launch(port, password.as_deref(), &folder)?;
        let redis = Self { port, password, process, folder };
        redis.wait_until_ready().await?;
        Ok(redis)
    }

    /// Its URL, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        let user = self.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}/0", self.port)
    }

    /// Opens a connection for the test's own commands.
    pub async fn connect(&self) -> Result<MultiplexedConnection> {
        Ok(Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }

    /// Kills the server. Its connections break and its data is gone.
    pub async fn crash(&self) -> Result<()> {
        self.process.signal(Signal::Kill)?;
        self.process.wait_for_exit(Duration::from_secs(10)).await?;
        Ok(())
    }

    /// Starts the server again on the same port, without data.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = launch(self.port, self.password.as_deref(), &self.folder)?;
        self.wait_until_ready().await
    }

    /// Suspends the server until [`Redis::thaw`]. Connections stay open, and no command is
    /// answered.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::Stop)
    }

    /// Resumes the server.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::Cont)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let ping = async || Ok(redis::cmd("PING").query_async::<()>(&mut self.connect().await?).await?);
        self.process.wait_until_ready(START_TIMEOUT, ping).await
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
