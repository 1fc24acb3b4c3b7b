//! `make bench`: what Paddock costs, beside named peers that are measured in turn with it, in one run. Each section can be run alone.
//!
//! | section | what | beside |
//! |---|---|---|
//! | gateway | what a proxied request takes longer | no proxy, and nginx with a bearer check |
//! | login | sign-ins per second | Argon2 alone, at the same parameters and number of threads |
//! | writes | audited mutations per second of 1, 16 and 50 clients | plain inserts over as many connections |
//! | lists | pages of 100,000 users and 1,000,000 events, unless said otherwise | the same queries in psql, and in SQLite |
//! | memory | resident memory at rest and after a load | |

mod gateway;
mod lists;
mod load;
mod login;
mod memory;
mod report;
mod upstream;
mod writes;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

pub use upstream::serve as serve_upstream;

use crate::nginx::Nginx;
use crate::paddock::{Launch, executable};
use crate::process::{Process, Signal, run};
use crate::testbed::{Part, repository};
use load::Measure;
use report::{Machine, Report};

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// What a proxied request takes longer.
    Gateway,
    /// Sign-ins per second.
    Login,
    /// Audited mutations per second.
    Writes,
    /// Pages of long lists.
    Lists,
    /// Resident memory.
    Memory,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gateway, Self::Login, Self::Writes, Self::Lists, Self::Memory];
}

/// What to measure, how long and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds; each measures every peer. The report has their medians.
    pub rounds: u32,
    /// The length of one measurement.
    pub length: Duration,
    /// How many events a long list has; a tenth as many users.
    pub events: u32,
    /// Which sections.
    pub only: Vec<Section>,
}

/// Runs the sections, and returns the report for people. After each, of which `tell` hears, what there is of the report is
/// written to `report.json` and `report.md` in `target/bench`, so that a later section that fails takes nothing with it.
pub async fn bench(plan: Plan, tell: impl Fn(Section, Duration)) -> Result<String> {
    let cores = Cores::of_this_machine();
    let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let folder = target_folder().join("bench");
    std::fs::create_dir_all(&folder)?;
    let mut report = Report::default();
    let mut text = String::new();
    for section in &plan.only {
        let began = Instant::now();
        match section {
            Section::Gateway => report.gateway = Some(Box::pin(gateway::measure(&plan, &cores)).await?),
            Section::Login => report.login = Some(Box::pin(login::measure(&plan)).await?),
            Section::Writes => report.writes = Some(Box::pin(writes::measure(&plan)).await?),
            Section::Lists => report.lists = Some(Box::pin(lists::measure(&plan)).await?),
            Section::Memory => report.memory = Some(Box::pin(memory::measure(&plan, &cores)).await?),
        }
        report.machine = machine(&cores, &plan, &load_before)?;
        std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report)?)?;
        text = report.markdown();
        std::fs::write(folder.join("report.md"), &text)?;
        tell(*section, began.elapsed());
    }
    Ok(text)
}

/// `paddock api` on this database, without a limit of requests per minute, which loads would meet.
fn launch(database_url: &str) -> Result<Launch> {
    Ok(Launch::new(&["api"], database_url)?.env("RATE_LIMIT_PER_MINUTE", "1000000000").env("LOG_LEVEL", "warn"))
}

/// What to start processes under: the load on one core, the proxy on another. Empty where there is only one core.
struct Cores {
    load: Vec<String>,
    proxy: Vec<String>,
}

impl Cores {
    fn of_this_machine() -> Self {
        let pin = |core: u32| {
            if cores() > 1 { vec!["taskset".to_owned(), "-c".to_owned(), core.to_string()] } else { Vec::new() }
        };
        Self { load: pin(0), proxy: pin(1) }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

struct Upstream {
    url: String,
    _server: Process,
}

async fn start_upstream(under: &[String]) -> Result<Upstream> {
    let own = std::env::current_exe()?;
    let mut words = under.iter().map(Into::into).chain([own.into_os_string()]);
    let mut command = Command::new(words.next().context("a program")?);
    command.args(words).arg("bench-upstream");
    let server = Process::start("upstream", command, Signal::Term)?;
    let log = server.log().clone();
    let url = server
        .ready(Duration::from_secs(10), async || {
            let text = log.text();
            let line = text.lines().next().context("nothing yet")?;
            Ok(line.to_owned())
        })
        .await?;
    Ok(Upstream { url, _server: server })
}

fn machine(on: &Cores, plan: &Plan, load_before: &str) -> Result<Machine> {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map(|l| l.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
    };
    let commit = run(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(repository()));
    let wrk = run(Command::new("sh").args(["-c", "\"$0\" -v 2>&1 | head -1; true"]).arg(Part::Wrk.locate()?))?;
    let postgres = run(Command::new(Part::Postgres.locate()?.join("postgres")).arg("--version"))?;
    Ok(Machine {
        processor: first("/proc/cpuinfo", "model name"),
        cores: cores(),
        pinned: !on.proxy.is_empty(),
        load_before: load_before.trim().to_owned(),
        load_after: std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned(),
        paddock: run(Command::new(executable()?).arg("--version"))?.trim().to_owned(),
        commit: commit.map(|c| c.trim().to_owned()).unwrap_or_default(),
        optimised: !cfg!(debug_assertions),
        nginx: Nginx::version()?,
        wrk: wrk.split(" Copyright").next().unwrap_or_default().trim().to_owned(),
        postgres: postgres.trim().trim_start_matches("postgres (PostgreSQL) ").to_owned(),
        rounds: plan.rounds,
        seconds: plan.length.as_secs_f64(),
    })
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The middle of the values that `of` takes from measurements; of an even number the upper one of the two.
fn median(measures: &[Measure], of: impl Fn(&Measure) -> f64) -> f64 {
    let mut values: Vec<f64> = measures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The medians of each figure of several measurements.
fn medians(measures: &[Measure]) -> Measure {
    Measure {
        rate: median(measures, |m| m.rate),
        p50: median(measures, |m| m.p50),
        p99: median(measures, |m| m.p99),
        errors: measures.iter().map(|m| m.errors).sum(),
    }
}
