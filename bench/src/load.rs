//! The load generator: wrk, with the requests that workloads and admins send.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{process::run, reaper, testbed::Part};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// One measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measure {
    /// Requests answered per second.
    pub(crate) rate: f64,
    /// The median latency in microseconds.
    pub(crate) p50: f64,
    /// The 99th percentile of the latency in microseconds.
    pub(crate) p99: f64,
    /// The number of requests without a 2xx or 3xx answer.
    pub(crate) errors: u64,
}

impl Measure {
    /// Computes the figures from the latencies of requests and their total duration.
    pub(crate) fn of(mut each: Vec<Duration>, all: Duration) -> Self {
        each.sort_unstable();
        let at = |hundredth: usize| {
            let time = each.get(each.len() * hundredth / 100).or(each.last());
            time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        let count = u32::try_from(each.len()).unwrap_or(u32::MAX);
        Self { rate: f64::from(count) / all.as_secs_f64(), p50: at(50), p99: at(99), errors: 0 }
    }
}

/// Repeats `step` for `length`.
pub(crate) async fn repeat(length: Duration, mut step: impl AsyncFnMut() -> Result<()>) -> Result<Measure> {
    let (began, mut each) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        let start = Instant::now();
        step().await?;
        each.push(start.elapsed());
    }
    Ok(Measure::of(each, began.elapsed()))
}

/// The requests of a load.
#[derive(Clone, Copy)]
pub(crate) enum Script<'a> {
    /// A chat without streaming.
    Chat,
    /// A GET.
    Get,
    /// The creation of a new user.
    NewUser,
    /// A sign-in.
    Login { username: &'a str, password: &'a str },
    /// Chats with keys that do not exist, of so many key ids. They are refused, which is no error.
    FalseKeys { ids: u32 },
}

/// wrk, ready to run.
pub(crate) struct Load {
    prefix: Vec<String>,
    wrk: PathBuf,
    script: PathBuf,
    _folder: TempDir,
}

impl Load {
    /// A load with this key, started through a command such as `taskset -c 0`.
    pub(crate) fn new(script: Script<'_>, key: &str, prefix: &[String]) -> Result<Self> {
        let folder = reaper::scratch_dir("wrk")?;
        let path = folder.path().join("requests.lua");
        fs::write(&path, lua(script, key))?;
        Ok(Self { prefix: prefix.to_vec(), wrk: Part::Wrk.locate()?, script: path, _folder: folder })
    }

    /// Loads `url` over `connections` for `length`.
    ///
    /// Errors: a request failed, because a rate of refusals means nothing.
    pub(crate) fn run(&self, url: &str, connections: u32, length: Duration) -> Result<Measure> {
        /// Distinguishes the users of different runs.
        static RUN: AtomicU32 = AtomicU32::new(0);
        let wrk = self.wrk.to_string_lossy();
        let mut words = self.prefix.iter().map(String::as_str).chain([&*wrk]);
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
        Script::FalseKeys { ids } => format!("local IDS = {ids}\n{}", include_str!("false_keys.lua")),
    };
    let refusals = if matches!(script, Script::FalseKeys { .. }) { "e.status" } else { "0" };
    let key = match script {
        Script::Login { .. } | Script::FalseKeys { .. } => String::new(),
        _ => format!("wrk.headers[\"Authorization\"] = \"Bearer {key}\"\n"),
    };
    format!(
        r#"wrk.headers["Content-Type"] = "application/json"
{key}{request}done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('measure {{"rate":%f,"p50":%f,"p99":%f,"errors":%d}}\n',
    summary.requests / summary.duration * 1000000, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout - {refusals}))
end
"#
    )
}

/// The middle of a figure; of an even number of measurements, the upper of the two middle ones.
pub(crate) fn median<T>(measures: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = measures.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of each figure of several measurements.
pub(crate) fn medians(measures: &[Measure]) -> Measure {
    Measure {
        rate: median(measures, |m| m.rate),
        p50: median(measures, |m| m.p50),
        p99: median(measures, |m| m.p99),
        errors: measures.iter().map(|m| m.errors).sum(),
    }
}
