#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
//! `paddock-tests`: the testbed's servers for a maintainer to play with (`up`), or for the length of a command (`exec`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use paddock_tests::bench::{Plan, Section, bench, serve_upstream};
use paddock_tests::demo::Demo;
use paddock_tests::process::ask_to_end;
use paddock_tests::release;
use paddock_tests::sentinel;
use paddock_tests::servers::Servers;
use paddock_tests::shared::Shared;
use paddock_tests::story::Skipped;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

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
    /// Starts the servers for the length of a command, which tests and `--export` find them through. Ends with the command's exit code.
    Exec {
        #[command(flatten)]
        choice: Choice,
        /// Sets for the command what `up` prints. Tests do not want that: they find the servers by other names.
        #[arg(long)]
        export: bool,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Runs Paddock and its operator on a real control plane, applies examples/quickstart, and chats with the key that comes of it.
    Demo,
    /// Measures what Paddock costs beside named peers, and writes target/bench/report.{json,md}. For release builds.
    Bench {
        /// How often each is measured; the report has the medians. Many short rounds tell more than a few long ones: what slows
        /// the machine for a while then slows both sides.
        #[arg(long, default_value_t = 15)]
        rounds: u32,
        /// How long one measurement takes.
        #[arg(long, default_value_t = 1)]
        seconds: u64,
        /// How many events a long list has; a tenth as many users.
        #[arg(long, default_value_t = 1_000_000)]
        events: u32,
        /// Only these sections.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = Section::ALL)]
        only: Vec<Section>,
    },
    /// Writes into a folder of this one what the tests of later releases need of this one's: rows and statements. Once, at a release
    /// that has a new migration.
    Release {
        /// tests/releases
        folder: PathBuf,
    },
    /// The stand-in for Ollama that `bench` starts on a core of its choice.
    #[command(hide = true)]
    BenchUpstream,
}

#[derive(clap::Args)]
struct Choice {
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Shared::ALL)]
    only: Vec<Shared>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        // It has a runtime of one thread, to fit on one core.
        Verb::BenchUpstream => serve_upstream(|url| println!("{url}")).map(|()| ExitCode::SUCCESS),
        verb => {
            let outcome = in_runtime(verb);
            sentinel::finish();
            outcome
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("paddock-tests: {error:#}");
        ExitCode::FAILURE
    })
}

#[tokio::main]
async fn in_runtime(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { choice } => Box::pin(up(&choice.only)).await,
        Verb::Exec { choice, export, command } => Box::pin(exec(&choice.only, export, &command)).await,
        Verb::Demo => demo().await,
        Verb::Bench { rounds, seconds, events, only } => {
            let length = Duration::from_secs(seconds);
            let tell = |section, took: Duration| eprintln!("{section:?}: measured in {} s", took.as_secs());
            println!("{}", bench(Plan { rounds, length, events, only }, tell).await?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Release { folder } => release::write(&folder).await.map(|()| ExitCode::SUCCESS),
        Verb::BenchUpstream => unreachable!("served before there is a runtime"),
    }
}

async fn up(wanted: &[Shared]) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let servers = tokio::select! {
        servers = Servers::start(wanted) => servers?,
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
    };
    for (name, value) in servers.exports() {
        println!("export {name}={value}");
    }
    for missing in servers.missing() {
        println!("# not started: {missing}");
    }
    println!("# up; Ctrl-C ends them. Logs: {}", sentinel::root().display());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn demo() -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let demo = tokio::select! {
        demo = Demo::start() => demo?,
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
    };
    demo.tell()?;
    println!("\n{}", demo.advice());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn exec(wanted: &[Shared], export: bool, command: &[OsString]) -> Result<ExitCode> {
    // The command gets Ctrl-C from the terminal too; we wait for it to end, to stop the servers after it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let servers = tokio::select! {
        servers = Servers::start(wanted) => servers?,
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
    };
    let (program, arguments) = command.split_first().context("a command")?;
    let skipped = Skipped::collect()?;
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
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(id) = child.id() {
                    ask_to_end(id)?;
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
