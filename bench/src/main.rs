#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
//! `paddock-bench`: measures the cost of Paddock and of named peers, alternately in one run. `make
//! bench` runs it.
//!
//! | section | measures | compared with |
//! |---|---|---|
//! | gateway | added latency, processor time and throughput of a chat | no proxy, nginx, FastAPI, LiteLLM |
//! | streams | what is added to each token of 256 and 1,000 streams; errors of frames | the same |
//! | capacity | the most streams without a lost, merged or late frame | no proxy, nginx |
//! | long-prompts | prompts of 400 KB, and the streams beside them | no proxy, nginx |
//! | keys | cached keys, new keys, a flood of false keys | the load without the flood |
//! | overload | goodput and refusals at ten times the capacity | the capacity |
//! | fairness | a single request beside 100 of another user | the request alone |
//! | budget | the overshoot of a token budget on two replicas | |
//! | slow-readers | memory for clients that read slowly | |
//! | login | sign-ins per second | Argon2 alone, with the same parameters and number of threads |
//! | writes | audited mutations per second, 1 to 50 clients | plain inserts, as many connections |
//! | lists | pages of 100,000 users, 1,000,000 events by default | the same queries, run directly |
//! | memory | resident memory at rest, with keys and streams, after a load | |
//! | operator | keys that become Ready, in batches and many from cold | the same writes to the API server, without logic |

mod budget;
mod capacity;
mod clock;
mod fairness;
mod frame;
mod gateway;
mod keys;
mod lists;
mod load;
mod login;
mod long_prompts;
mod machine;
mod markdown;
mod memory;
mod metrics;
mod operator;
mod overload;
mod peers;
mod plan;
mod process_tree;
mod report;
mod run;
mod setup;
mod slow_readers;
mod stream_load;
mod streams;
mod upstream;
mod verdict;
mod writes;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use paddock_tests::reaper;

use crate::{
    plan::{Plan, Section},
    run::Progress,
    stream_load::StreamLoad,
};

/// Measures the cost of Paddock and of named peers, and writes target/bench/report.{json,md}. For
/// release builds.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The number of rounds; the report has the medians. Many short rounds are more precise than a
    /// few long ones, because a temporary load of the machine then slows both sides.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// How long one measurement takes.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// How many events a long list has; a tenth as many users.
    #[arg(long, default_value_t = 1_000_000)]
    events: u32,
    /// How many keys are cached while memory is measured.
    #[arg(long, default_value_t = 10_000)]
    keys: u32,
    /// The most streams at once.
    #[arg(long, default_value_t = 4_096)]
    streams: u64,
    /// How many keys the operator starts with: several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',')]
    objects: Vec<usize>,
    /// How long the settled operator is watched for writes, in seconds.
    #[arg(long, default_value_t = 10)]
    settle: u64,
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
    /// The load generator of streams, which the sections start on a core of their choice.
    #[command(hide = true)]
    StreamLoad {
        /// What to send, in JSON.
        load: String,
    },
}

fn main() -> ExitCode {
    let Arguments { rounds, seconds, events, keys, streams, objects, settle, only, verb } = Arguments::parse();
    let outcome = match verb {
        // Their runtimes have one thread, to fit on one core.
        Some(Verb::Upstream) => upstream::serve(|url| println!("{url}")),
        Some(Verb::StreamLoad { load }) => load_streams(&load).map(|summary| println!("{summary}")),
        None => {
            let (length, settle) = (Duration::from_secs(seconds), Duration::from_secs(settle));
            let outcome = measure(Plan { rounds, length, events, keys, streams, objects, settle, only });
            reaper::finish();
            outcome.map(|report| println!("{report}"))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paddock-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a load, and returns its outcome in JSON.
fn load_streams(load: &str) -> anyhow::Result<String> {
    let load: StreamLoad = serde_json::from_str(load)?;
    Ok(serde_json::to_string(&load.run_here()?)?)
}

#[tokio::main]
async fn measure(plan: Plan) -> anyhow::Result<String> {
    let count = plan.only.len();
    let begun = std::cell::Cell::new(0);
    let progress = |section: Section, progress| match progress {
        Progress::Began => {
            begun.set(begun.get() + 1);
            eprintln!("{} ({} of {count}): measuring", section.name(), begun.get());
        }
        Progress::Ended(took) => eprintln!("{}: measured in {} s", section.name(), took.as_secs()),
    };
    run::bench(plan, progress).await
}
