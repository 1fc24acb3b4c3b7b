//! The load generator: wrk, with the requests that workloads and admins send.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::process::run;
use crate::sentinel;
use crate::testbed::Part;

/// One measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Measure {
    /// Requests answered per second.
    pub(super) rate: f64,
    /// Microseconds that half of the requests took at most.
    pub(super) p50: f64,
    /// Microseconds that 99 of 100 requests took at most.
    pub(super) p99: f64,
    /// Requests that had no answer, or not a 2xx or 3xx one.
    pub(super) errors: u64,
}

impl Measure {
    /// From what each of many took, one after the other on each of so many connections, in all of this time.
    pub(super) fn of(mut each: Vec<Duration>, all: Duration) -> Self {
        each.sort_unstable();
        let at = |hundredth: usize| {
            let time = each.get(each.len() * hundredth / 100).or(each.last());
            time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        let count = u32::try_from(each.len()).unwrap_or(u32::MAX);
        Self { rate: f64::from(count) / all.as_secs_f64(), p50: at(50), p99: at(99), errors: 0 }
    }
}

/// Runs `step` again and again for `length`.
pub(super) async fn repeat(length: Duration, mut step: impl AsyncFnMut() -> Result<()>) -> Result<Measure> {
    let (began, mut each) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        let start = Instant::now();
        step().await?;
        each.push(start.elapsed());
    }
    Ok(Measure::of(each, began.elapsed()))
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Script<'a> {
    /// A chat without streaming.
    Chat,
    /// A GET.
    Get,
    /// A user who is not there yet.
    NewUser,
    /// A sign-in.
    Login { username: &'a str, password: &'a str },
}

/// wrk, ready to run.
pub(super) struct Load {
    under: Vec<String>,
    wrk: PathBuf,
    script: PathBuf,
    _folder: TempDir,
}

impl Load {
    /// With this key, started under a command such as `taskset -c 0`.
    pub(super) fn new(script: Script<'_>, key: &str, under: &[String]) -> Result<Self> {
        let folder = sentinel::scratch("wrk")?;
        let path = folder.path().join("requests.lua");
        fs::write(&path, lua(script, key))?;
        Ok(Self { under: under.to_vec(), wrk: Part::Wrk.locate()?, script: path, _folder: folder })
    }

    /// Loads `url` over `connections` for `length`.
    ///
    /// Errors: when a request failed, as a rate of refusals means nothing.
    pub(super) fn run(&self, url: &str, connections: u32, length: Duration) -> Result<Measure> {
        /// Tells what one run makes from what the others make.
        static RUN: AtomicU32 = AtomicU32::new(0);
        let wrk = self.wrk.to_string_lossy();
        let mut words = self.under.iter().map(String::as_str).chain([&*wrk]);
        let mut command = Command::new(words.next().context("a program")?);
        command
            .args(words)
            .args(["--threads", "1", "--connections", &connections.to_string(), "--timeout", "10s"])
            .args(["--duration", &format!("{}s", length.as_secs().max(1))])
            .arg("--script")
            .arg(&self.script)
            .args([url, "--", &format!("run-{}-", RUN.fetch_add(1, Ordering::Relaxed))]);
        let output = run(&mut command)?;
        let line = output.lines().find_map(|line| line.strip_prefix("measure ")).with_context(|| output.clone())?;
        let measure: Measure = serde_json::from_str(line)?;
        ensure!(measure.errors == 0, "{url} failed {} requests: {output}", measure.errors);
        Ok(measure)
    }
}

fn lua(script: Script<'_>, key: &str) -> String {
    let request = match script {
        Script::Chat => r#"wrk.method = "POST"
wrk.body = '{"model":"smollm2:135m","stream":false,"messages":[{"role":"user","content":"Say hello."}]}'
"#
        .to_owned(),
        Script::Get => String::new(),
        Script::NewUser => r#"local count, run = 0, ""
init = function(arguments) run = arguments[1] end
request = function()
  count = count + 1
  return wrk.format("POST", nil, nil, '{"email":"' .. run .. count .. '@example.com","roles":["user"]}')
end
"#
        .to_owned(),
        Script::Login { username, password } => format!(
            r#"wrk.method = "POST"
wrk.body = '{{"username":"{username}","password":"{password}"}}'
"#
        ),
    };
    let key = match script {
        Script::Login { .. } => String::new(),
        _ => format!("wrk.headers[\"Authorization\"] = \"Bearer {key}\"\n"),
    };
    format!(
        r#"wrk.headers["Content-Type"] = "application/json"
{key}{request}done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('measure {{"rate":%f,"p50":%f,"p99":%f,"errors":%d}}\n',
    summary.requests / summary.duration * 1000000, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#
    )
}
