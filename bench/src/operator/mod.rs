//! The operator: from the creation of `ApiKey` objects to Ready, and a settled fleet. The peer makes
//! the same writes to the same API server in a loop without logic.

mod cluster;
mod fleet;
mod raw;

use std::time::{Duration, Instant};

use anyhow::Result;
use paddock_crds::ApiKey;
use serde::Serialize;

use self::{cluster::Cluster, fleet::Fleet};
use crate::{
    load::{Measure, medians},
    markdown::table,
    plan::Plan,
};

/// How many keys are created at once.
const BATCHES: [usize; 2] = [1, 100];

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Operator {
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fleets: Vec<Fleet>,
}

#[derive(Serialize)]
struct Row {
    keys: usize,
    /// Keys that become Ready in a second, and the latencies from the creation to Ready.
    paddock: Measure,
    reconciles_rate: f64,
    /// Writes to the API server for a key, with its creation.
    writes_per_key: f64,
    /// The same writes without logic: a key counts when its last write is answered.
    raw: Measure,
    /// Paddock's time for a batch as a multiple of the raw loop's.
    ratio: f64,
}

pub(crate) async fn measure(plan: &Plan) -> Result<Operator> {
    let cluster = Cluster::start().await?;
    let operator = cluster.launch()?.start().await?;
    cluster.create_users("ada", 1).await?;
    let mut ready = cluster.watch_ready();
    let mut rows = Vec::new();
    for keys in BATCHES {
        let (mut ours, mut theirs, mut writes, mut reconciles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            let name = format!("batch-{keys}-{round}");
            let (writes_before, reconciles_before) =
                (cluster.api_writes().await?, cluster.reconciles(&operator).await?);
            let began = Instant::now();
            let created = cluster.create_keys(&name, keys, "ada", 1).await?;
            let latencies = ready.wait_for(&created, &operator).await?;
            let took = began.elapsed();
            reconciles.push(since(reconciles_before, cluster.reconciles(&operator).await?) / took.as_secs_f64());
            // The number of the user's keys follows after two seconds.
            cluster.wait_until_quiet(Duration::from_secs(3)).await?;
            writes.push(since(writes_before, cluster.api_writes().await?) / as_f64(keys));
            ours.push(Measure::of(latencies, took));
            theirs.push(raw::measure(&cluster, &name, keys).await?);
            cluster.delete_all::<ApiKey>(&cluster.namespace).await?;
            cluster.wait_until_quiet(Duration::from_secs(3)).await?;
        }
        let (paddock, raw) = (medians(&ours), medians(&theirs));
        rows.push(Row {
            keys,
            ratio: raw.rate / paddock.rate,
            paddock,
            raw,
            reconciles_rate: mean(&reconciles),
            writes_per_key: mean(&writes),
        });
    }
    drop(operator);
    let mut fleets = Vec::new();
    for keys in &plan.objects {
        fleets.push(fleet::measure(&cluster, *keys, plan.settle).await?);
    }
    Ok(Operator { rows, fleets })
}

fn since(before: u64, after: u64) -> f64 {
    as_f64(usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX))
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / as_f64(figures.len())
}

impl Operator {
    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let figures = vec![
                format!("{:.0}", row.paddock.rate),
                format!("{:.0}", row.reconciles_rate),
                format!("{:.0}", row.paddock.p50 / 1e3),
                format!("{:.0}", row.paddock.p99 / 1e3),
                format!("{:.1}", row.writes_per_key),
                format!("{:.0}", row.raw.rate),
                format!("{:.0}", row.raw.p50 / 1e3),
                format!("{:.0}", row.raw.p99 / 1e3),
                format!("{:.2}", row.ratio),
            ];
            (row.keys.to_string(), figures)
        });
        let columns = [
            "Ready/s",
            "reconciles/s",
            "p50 ms",
            "p99 ms",
            "API writes/key",
            "raw keys/s",
            "raw p50 ms",
            "raw p99 ms",
            "ratio",
        ];
        let keys = table("keys at once", &columns, rows);
        format!(
            "## Operator\n\n{keys}\nFrom the creation of an `ApiKey` to Ready, and the same writes to the same API server \
             without logic, eight at a time.\n{}",
            fleet::markdown(&self.fleets)
        )
    }
}
