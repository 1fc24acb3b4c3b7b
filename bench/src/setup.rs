//! The processes that the sections measure, and the cores they run on.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result};
use paddock_tests::{
    paddock::Launch,
    process::{Process, Signal},
};

/// `paddock api` on this database, without a rate limit that the load would meet.
pub(crate) fn launch(database_url: &str) -> Result<Launch> {
    Ok(launch_with_log(database_url)?.env("LOG_LEVEL", "warn"))
}

/// The same with its default log: a line for each request.
pub(crate) fn launch_with_log(database_url: &str) -> Result<Launch> {
    Ok(Launch::new(&["api"], database_url)?.env("RATE_LIMIT_PER_MINUTE", "1000000000"))
}

/// The commands that pin processes: the load to one core, the proxy to another. Empty on a machine
/// with one core.
pub(crate) struct Cores {
    pub(crate) load: Vec<String>,
    pub(crate) proxy: Vec<String>,
}

impl Cores {
    pub(crate) fn of_this_machine() -> Self {
        let pin = |core: u32| {
            if cores() > 1 { vec!["taskset".to_owned(), "-c".to_owned(), core.to_string()] } else { Vec::new() }
        };
        Self { load: pin(0), proxy: pin(1) }
    }
}

/// The number of cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A running stand-in for Ollama.
pub(crate) struct Upstream {
    pub(crate) url: String,
    _server: Process,
}

/// Starts the stand-in for Ollama through a command such as `taskset -c 0`.
pub(crate) async fn start_upstream(prefix: &[String]) -> Result<Upstream> {
    let mut command = own_command(prefix)?;
    command.arg("upstream");
    let server = Process::start("upstream", command, Signal::Term)?;
    let log = server.log().clone();
    let url = server
        .wait_until_ready(Duration::from_secs(10), async || {
            let text = log.text();
            let line = text.lines().next().context("nothing yet")?;
            Ok(line.to_owned())
        })
        .await?;
    Ok(Upstream { url, _server: server })
}

/// This executable, started through a command such as `taskset -c 0`.
pub(crate) fn own_command(prefix: &[String]) -> Result<Command> {
    let own = std::env::current_exe()?;
    let mut words = prefix.iter().map(Into::into).chain([own.into_os_string()]);
    let mut command = Command::new(words.next().context("a program")?);
    command.args(words);
    Ok(command)
}
