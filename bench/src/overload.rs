//! Ten times the load that the upstream can serve: how much of it is still served, and how fast the
//! rest is refused.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    paddock::Paddock,
};
use serde::Serialize;

use crate::{
    markdown::table,
    plan::Plan,
    setup::{Cores, launch_with_log, start_upstream},
    stream_load::{StreamLoad, Summary},
    verdict::{Bound, Target},
};

/// Requests that the upstream serves at once, and how long each takes: 400 requests per second.
const CONCURRENT: u64 = 8;
const SERVICE_TIME: Duration = Duration::from_millis(20);
const QUEUE_SIZE: u64 = 16;
/// Each client sends ten requests per second.
const PERIOD: Duration = Duration::from_millis(100);
const OVERLOAD: u64 = 10;

/// The figures of this section. Times are in microseconds.
#[derive(Serialize)]
pub(crate) struct Overload {
    /// Requests served per second with just enough clients.
    capacity_rate: f64,
    /// Requests served per second under overload.
    goodput: f64,
    goodput_fraction: f64,
    refused: u64,
    refusal_p50: f64,
    refusal_p99: f64,
    failed: u64,
    memory_before_kib: u64,
    memory_peak_kib: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Overload> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let launch = launch_with_log(database.url())?
        .env("MAX_CONCURRENT_PER_MODEL", &CONCURRENT.to_string())
        .env("QUEUE_SIZE", &QUEUE_SIZE.to_string())
        .ollama(&upstream.url)
        .with_prefix(&cores.proxy);
    let (paddock, admin) = Paddock::seeded(launch).await?;
    let mut keys = Vec::new();
    for _ in 0..CONCURRENT {
        keys.push(admin.create_workload().await?.key().to_owned());
    }
    let length = plan.length * 3;
    let load = |clients, period| {
        let load = StreamLoad::requests(paddock.url(), &keys, clients, period, SERVICE_TIME);
        StreamLoad { warm_up: plan.length / 2, ..load.for_length(length) }
    };
    // As many clients as run at once and fill half of the queue keep every place in use.
    let capacity = load(CONCURRENT + QUEUE_SIZE / 2, SERVICE_TIME / 2).run(&cores.load).await?;
    ensure!(capacity.recorded > 0, "no request was served: {capacity:?}");
    let memory_before_kib = paddock.process().memory_kib("VmHWM")?;
    // A client sends 1 / PERIOD requests per second.
    let offered = OVERLOAD * CONCURRENT * u64::try_from(PERIOD.as_millis() / SERVICE_TIME.as_millis())?;
    let overload: Summary = load(offered, PERIOD).run(&cores.load).await?;
    ensure!(overload.refused > 0, "no request was refused: {overload:?}");
    Ok(Overload {
        capacity_rate: capacity.rate,
        goodput: overload.rate,
        goodput_fraction: overload.rate / capacity.rate,
        refused: overload.refused,
        refusal_p50: overload.refusal.p50,
        refusal_p99: overload.refusal.p99,
        failed: capacity.failed + overload.failed,
        memory_before_kib,
        memory_peak_kib: paddock.process().memory_kib("VmHWM")?,
    })
}

impl Overload {
    pub(crate) fn targets(&self) -> Vec<Target> {
        vec![
            Target::new(
                "goodput at 10 times the capacity",
                "% of the capacity",
                self.goodput_fraction * 100.0,
                Bound::AtLeast(90.0),
                Bound::AtLeast(95.0),
            ),
            Target::new(
                "refusal at 10 times the capacity, p99",
                "us",
                self.refusal_p99,
                Bound::AtMost(20_000.0),
                Bound::AtMost(5_000.0),
            ),
        ]
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = [
            ("capacity, requests/s", self.capacity_rate),
            ("goodput, requests/s", self.goodput),
            ("refusal p50 us", self.refusal_p50),
            ("refusal p99 us", self.refusal_p99),
        ];
        let rows = rows.map(|(name, figure)| (name.to_owned(), vec![format!("{figure:.0}")]));
        format!(
            "## Overload\n\n{}\n{OVERLOAD} times the requests that MAX_CONCURRENT_PER_MODEL={CONCURRENT} can serve, at {} ms each; \
             QUEUE_SIZE={QUEUE_SIZE}. {} were refused with 429 or 503, {} failed. Peak memory grew by {} MiB.\n",
            table("", &["figure"], rows),
            SERVICE_TIME.as_millis(),
            self.refused,
            self.failed,
            self.memory_peak_kib.saturating_sub(self.memory_before_kib) / 1024
        )
    }
}
