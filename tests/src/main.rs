#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
//! `paddock-tests`: starts the testbed's servers until Ctrl-C (`up`), or for the length of a
//! command (`exec`).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use paddock_tests::{
    demo::Demo, ollama_tables, process::terminate, reaper, release, servers::Servers, shared_servers::SharedServer,
    story::SkippedTests,
};
use tokio::{
    process::Command,
    signal::unix::{Signal, SignalKind, signal},
};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Starts the servers, prints how to use them, and keeps them until Ctrl-C.
    Up {
        #[command(flatten)]
        choice: Choice,
    },
    /// Starts the servers while a command runs. The command finds them through its environment.
    /// Exits with the exit code of the command.
    Exec {
        #[command(flatten)]
        choice: Choice,
        /// Sets the variables that `up` prints for the command. Tests do not need them: they find
        /// the servers by other variables.
        #[arg(long)]
        export: bool,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Runs Paddock and its operator on a real control plane, applies examples/quickstart, and
    /// chats with the issued key.
    Demo,
    /// Writes the snapshot of this release that the tests of later releases need: rows and
    /// statements. Run this once, for a release with a new migration.
    Release {
        /// tests/releases
        folder: PathBuf,
    },
    /// Prints Paddock's tables of Ollama's API as JSON. `make drift` compares them with a release of
    /// Ollama.
    OllamaTables,
}

#[derive(clap::Args)]
struct Choice {
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = SharedServer::ALL)]
    only: Vec<SharedServer>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Up { choice } => Box::pin(up(&choice.only)).await,
        Verb::Exec { choice, export, command } => Box::pin(exec(&choice.only, export, &command)).await,
        Verb::Demo => demo().await,
        Verb::Release { folder } => release::write(&folder).await.map(|()| ExitCode::SUCCESS),
        Verb::OllamaTables => {
            println!("{:#}", ollama_tables::tables());
            Ok(ExitCode::SUCCESS)
        }
    };
    reaper::finish();
    outcome.unwrap_or_else(|error| {
        eprintln!("paddock-tests: {error:#}");
        ExitCode::FAILURE
    })
}

/// The signals that ask this process to end.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for either signal.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `start` to its end; `None` when a signal comes first.
    async fn unless_stopped<T>(&mut self, start: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        tokio::select! {
            started = start => started.map(Some),
            () = self.recv() => Ok(None),
        }
    }
}

async fn up(wanted: &[SharedServer]) -> Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let Some(servers) = Box::pin(signals.unless_stopped(Servers::start(wanted))).await? else {
        return Ok(ExitCode::FAILURE);
    };
    for (name, value) in servers.exports() {
        println!("export {name}={value}");
    }
    for missing in servers.missing() {
        println!("# not started: {missing}");
    }
    println!("# up; Ctrl-C ends them. Logs: {}", reaper::root_dir().display());
    signals.recv().await;
    Ok(ExitCode::SUCCESS)
}

async fn demo() -> Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let Some(demo) = signals.unless_stopped(Demo::start()).await? else { return Ok(ExitCode::FAILURE) };
    demo.run_steps()?;
    println!("\n{}", demo.next_steps());
    signals.recv().await;
    Ok(ExitCode::SUCCESS)
}

async fn exec(wanted: &[SharedServer], export: bool, command: &[OsString]) -> Result<ExitCode> {
    // The terminal sends Ctrl-C to the command too. This process waits for its end, to stop the
    // servers after it.
    let mut signals = StopSignals::listen()?;
    let Some(servers) = Box::pin(signals.unless_stopped(Servers::start(wanted))).await? else {
        return Ok(ExitCode::FAILURE);
    };
    let (program, arguments) = command.split_first().context("a command")?;
    let skipped = SkippedTests::collect()?;
    let mut child = Command::new(program);
    child.args(arguments).envs(servers.variables());
    let (name, path) = skipped.variable();
    child.env(name, path);
    if export {
        child.envs(servers.exports());
    }
    let mut child = child.spawn().with_context(|| format!("starting {}", Path::new(program).display()))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = signals.interrupt.recv() => {}
            _ = signals.terminate.recv() => {
                if let Some(id) = child.id() {
                    terminate(id)?;
                }
            }
        }
    };
    let names = skipped.names();
    if !names.is_empty() {
        eprintln!("\nskipped, because the testbed lacks a part:");
        for name in names {
            eprintln!("  {name}");
        }
    }
    let code = status.code().unwrap_or(1);
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
