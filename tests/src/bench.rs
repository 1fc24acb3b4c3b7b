//! `make bench`: what the gateway adds, beside no proxy at all and beside nginx with a bearer check, from one interleaved run.
//!
//! The load generator and the stand-in for Ollama share one core, the proxy under measurement has the other to itself.

mod load;
mod report;
mod upstream;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

pub use upstream::serve as serve_upstream;

use crate::database::{Database, Engine};
use crate::nginx::Nginx;
use crate::paddock::{Launch, Paddock, executable};
use crate::process::{Process, Signal, run};
use crate::testbed::{Part, repository};
use load::{Load, Measure};
use report::{Machine, Peer, Report};

const MANY: u32 = 32;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; each measures every peer at one and at 32 connections. The report has their medians.
    pub rounds: u32,
    /// The length of one measurement.
    pub length: Duration,
}

/// Runs all of it, writes `report.json` and `report.md` into `target/bench`, and returns the latter's text.
pub async fn bench(plan: Plan) -> Result<String> {
    let cores = Cores::of_this_machine();
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let launch = Launch::new(&["api"], database.url())?.ollama(&upstream.url).under(&cores.proxy);
    let (paddock, admin) = Paddock::seeded(launch).await?;
    let key = admin.create_workload().await?.key().to_owned();
    let nginx = Nginx::start(upstream.url.trim_start_matches("http://"), &key, &cores.proxy).await?;

    let load = Load::new(&key, &cores.load)?;
    let mut peers =
        [Peer::new("direct", &upstream.url), Peer::new("nginx", nginx.url()), Peer::new("paddock", paddock.url())];
    let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    for _ in 0..plan.rounds {
        for peer in &mut peers {
            peer.single.push(load.run(&peer.url, 1, plan.length)?);
            peer.many.push(load.run(&peer.url, MANY, plan.length)?);
        }
    }
    let report = Report::new(&peers, machine(&cores, plan, &load_before)?);
    let folder = target_folder().join("bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    let text = report.markdown();
    std::fs::write(folder.join("report.md"), &text)?;
    Ok(text)
}

/// What to start processes under: the load on one core, the proxy on another. Empty where there is only one core.
struct Cores {
    load: Vec<String>,
    proxy: Vec<String>,
}

impl Cores {
    fn of_this_machine() -> Self {
        let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let pin = |core: u32| {
            if several { vec!["taskset".to_owned(), "-c".to_owned(), core.to_string()] } else { Vec::new() }
        };
        Self { load: pin(0), proxy: pin(1) }
    }
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

fn machine(cores: &Cores, plan: Plan, load_before: &str) -> Result<Machine> {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map(|l| l.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
    };
    let commit = run(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(repository()));
    let wrk = run(Command::new("sh").args(["-c", "\"$0\" -v 2>&1 | head -1; true"]).arg(Part::Wrk.locate()?))?;
    Ok(Machine {
        processor: first("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        pinned: !cores.proxy.is_empty(),
        load_before: load_before.trim().to_owned(),
        load_after: std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned(),
        paddock: run(Command::new(executable()?).arg("--version"))?.trim().to_owned(),
        commit: commit.map(|c| c.trim().to_owned()).unwrap_or_default(),
        optimised: !cfg!(debug_assertions),
        nginx: Nginx::version()?,
        wrk: wrk.split(" Copyright").next().unwrap_or_default().trim().to_owned(),
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
