//! The machine and the versions that the figures of a report come from.

use std::{fs, process::Command};

use anyhow::Result;
use paddock_tests::{
    nginx::Nginx,
    paddock::executable,
    process::run,
    testbed::{Part, repository},
};
use serde::Serialize;

use crate::{
    plan::Plan,
    setup::{Cores, cores},
};

/// Where and how the figures were measured.
#[derive(Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) pinned: bool,
    pub(crate) paddock: String,
    pub(crate) commit: String,
    pub(crate) optimised: bool,
    pub(crate) nginx: String,
    pub(crate) wrk: String,
    pub(crate) postgres: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
}

impl Machine {
    /// This machine.
    pub(crate) fn observe(pinned: &Cores, plan: &Plan) -> Result<Self> {
        let commit = run(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(repository()));
        let wrk = run(Command::new("sh").args(["-c", "\"$0\" -v 2>&1 | head -1; true"]).arg(Part::Wrk.locate()?))?;
        let postgres = run(Command::new(Part::Postgres.locate()?.join("postgres")).arg("--version"))?;
        Ok(Self {
            processor: processor(),
            cores: cores(),
            pinned: !pinned.proxy.is_empty(),
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
}

/// The machine's load averages of 1, 5 and 15 minutes; empty when unknown.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
}
