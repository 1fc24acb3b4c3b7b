#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
//! `paddock-bench`: measures the cost of Paddock and of named peers, alternately in one run. `make
//! bench` runs it.
//!
//! | section | measures | compared with |
//! |---|---|---|
//! | gateway | the added latency of a proxied request | no proxy, and nginx with a bearer check |
//! | login | sign-ins per second | Argon2 alone, with the same parameters and number of threads |
//! | writes | audited mutations per second, 1 to 50 clients | plain inserts, as many connections |
//! | lists | pages of 100,000 users, 1,000,000 events by default | the same queries, run directly |
//! | memory | resident memory at rest and after a load | |

mod gateway;
mod lists;
mod load;
mod login;
mod machine;
mod markdown;
mod memory;
mod plan;
mod report;
mod run;
mod setup;
mod upstream;
mod writes;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use paddock_tests::reaper;

use crate::plan::{Plan, Section};

/// Measures the cost of Paddock and of named peers, and writes target/bench/report.{json,md}. For
/// release builds.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The number of rounds; the report has the medians. Many short rounds are more precise than a
    /// few long ones, because a temporary load of the machine then slows both sides.
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
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// The stand-in for Ollama, which the sections start on a core of their choice.
    #[command(hide = true)]
    Upstream,
}

fn main() -> ExitCode {
    let Arguments { rounds, seconds, events, only, verb } = Arguments::parse();
    let outcome = if let Some(Verb::Upstream) = verb {
        // Its runtime has one thread, to fit on one core.
        upstream::serve(|url| println!("{url}"))
    } else {
        let outcome = measure(Plan { rounds, length: Duration::from_secs(seconds), events, only });
        reaper::finish();
        outcome.map(|report| println!("{report}"))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paddock-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn measure(plan: Plan) -> anyhow::Result<String> {
    run::bench(plan, |section, took| eprintln!("{section:?}: measured in {} s", took.as_secs())).await
}
