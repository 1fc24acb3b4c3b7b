//! The load generator: wrk, with the request that workloads send.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::process::run;
use crate::sentinel;
use crate::testbed::Part;

/// One measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measure {
    /// Requests answered per second.
    pub(crate) rate: f64,
    /// Microseconds that half of the requests took at most.
    pub(crate) p50: f64,
    /// Microseconds that 99 of 100 requests took at most.
    pub(crate) p99: f64,
    /// Requests that had no answer, or not a 2xx or 3xx one.
    pub(crate) errors: u64,
}

/// wrk, ready to run.
pub(crate) struct Load {
    under: Vec<String>,
    wrk: PathBuf,
    script: PathBuf,
    _folder: TempDir,
}

impl Load {
    /// Chats without streaming, with this key, started under a command such as `taskset -c 0`.
    pub(crate) fn new(key: &str, under: &[String]) -> Result<Self> {
        let folder = sentinel::scratch("wrk")?;
        let script = folder.path().join("chat.lua");
        fs::write(&script, lua(key))?;
        Ok(Self { under: under.to_vec(), wrk: Part::Wrk.locate()?, script, _folder: folder })
    }

    /// Loads `url` over `connections` for `length`.
    ///
    /// Errors: when a request failed, as a rate of refusals means nothing.
    pub(crate) fn run(&self, url: &str, connections: u32, length: Duration) -> Result<Measure> {
        let wrk = self.wrk.to_string_lossy();
        let mut words = self.under.iter().map(String::as_str).chain([&*wrk]);
        let mut command = Command::new(words.next().context("a program")?);
        command
            .args(words)
            .args(["--threads", "1", "--connections", &connections.to_string()])
            .args(["--duration", &format!("{}s", length.as_secs().max(1))])
            .arg("--script")
            .arg(&self.script)
            .arg(format!("{url}/api/chat"));
        let output = run(&mut command)?;
        let line = output.lines().find_map(|line| line.strip_prefix("measure ")).with_context(|| output.clone())?;
        let measure: Measure = serde_json::from_str(line)?;
        ensure!(measure.errors == 0, "{url} failed {} requests: {output}", measure.errors);
        Ok(measure)
    }
}

fn lua(key: &str) -> String {
    format!(
        r#"wrk.method = "POST"
wrk.body = '{{"model":"smollm2:135m","stream":false,"messages":[{{"role":"user","content":"Say hello."}}]}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('measure {{"rate":%f,"p50":%f,"p99":%f,"errors":%d}}\n',
    summary.requests / summary.duration * 1000000, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#
    )
}
