//! What keys cost: a cached key, a new one, and a flood of false ones beside an honest load.
//!
//! PostgreSQL itself shows that a cached key causes no look-up: it counts the scans of the table of
//! key hashes. The look-ups of false keys are counted by Paddock, because a single one may be
//! several scans.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Caller, Paddock},
};
use serde::Serialize;

use crate::{
    load::{Load, Measure, Script},
    markdown::table,
    metrics::metric,
    plan::Plan,
    setup::{Cores, launch, start_upstream},
    stream_load::{StreamLoad, Summary},
    verdict::{Bound, Target},
};

/// Distinct key ids of the flood. Each has many secrets.
const FALSE_IDS: u32 = 500;
const FLOOD_CONNECTIONS: u32 = 8;
const COLD_KEYS: usize = 200;
const MISSES: &str = "paddock_credential_cache_misses_total";
const SCANS: &str = "SELECT CAST(coalesce(seq_scan, 0) + coalesce(idx_scan, 0) AS text) FROM pg_stat_user_tables WHERE relname = 'credential_secrets'";

/// The figures of this section. Times are in microseconds.
#[derive(Serialize)]
pub(crate) struct Keys {
    warm_requests: f64,
    warm_lookups: f64,
    cold: Measure,
    honest_p50_alone: f64,
    honest_p99_alone: f64,
    honest_p50_beside: f64,
    honest_p99_beside: f64,
    honest_errors: u64,
    /// Requests with false keys per second.
    flood_rate: f64,
    false_ids: u32,
    flood_lookups: f64,
    lookups_per_id: f64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Keys> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Postgres).await?;
    let launch = launch(database.url())?.ollama(&upstream.url).with_prefix(&cores.proxy);
    let (paddock, admin) = Paddock::seeded(launch).await?;
    let workload = admin.create_workload().await?;
    let honest = honest(&paddock, workload.key(), plan);

    honest.run(&cores.load).await?;
    let scans = scans(&database).await?;
    let alone = honest.run(&cores.load).await?;
    let warm_lookups = scans_since(&database, scans).await?;

    let cold = cold(&paddock, &admin).await?;
    let misses = metric(&paddock, MISSES).await?;
    let (beside, flood) = flood(plan, cores, &paddock, &honest).await?;
    ensure!(alone.recorded > 0 && beside.recorded > 0, "no request was served: {alone:?}, {beside:?}");
    let flood_lookups = metric(&paddock, MISSES).await? - misses;
    ensure!(flood_lookups > 0.0, "no false key was looked up");

    let errors = |summary: &Summary| summary.failed + summary.refused;
    #[expect(clippy::cast_precision_loss, reason = "a count of requests fits")]
    let warm_requests = alone.streams as f64;
    Ok(Keys {
        warm_requests,
        warm_lookups,
        cold,
        honest_p50_alone: alone.first_frame.p50,
        honest_p99_alone: alone.first_frame.p99,
        honest_p50_beside: beside.first_frame.p50,
        honest_p99_beside: beside.first_frame.p99,
        honest_errors: errors(&alone) + errors(&beside),
        flood_rate: flood.rate,
        false_ids: FALSE_IDS,
        flood_lookups,
        lookups_per_id: flood_lookups / f64::from(FALSE_IDS),
    })
}

/// 200 requests per second with one key.
fn honest(paddock: &Paddock, key: &str, plan: &Plan) -> StreamLoad {
    let load = StreamLoad::requests(paddock.url(), &[key.to_owned()], 20, Duration::from_millis(100), Duration::ZERO);
    load.for_length(plan.length * 3)
}

/// The honest load, and meanwhile a flood of well-formed keys that do not exist.
async fn flood(plan: &Plan, cores: &Cores, paddock: &Paddock, honest: &StreamLoad) -> Result<(Summary, Measure)> {
    let load = Load::new(Script::FalseKeys { ids: FALSE_IDS }, "", &cores.load)?;
    let (url, length) = (format!("{}/api/chat", paddock.url()), plan.length * 3);
    let flood = tokio::task::spawn_blocking(move || load.run(&url, FLOOD_CONNECTIONS, length));
    let beside = honest.run(&cores.load).await?;
    Ok((beside, flood.await??))
}

/// The first request with each of some keys.
async fn cold(paddock: &Paddock, admin: &Caller) -> Result<Measure> {
    let user = admin.create_user(serde_json::json!({"roles": ["user"]})).await?;
    let mut keys = Vec::new();
    for _ in 0..COLD_KEYS {
        keys.push(admin.create_key(user, serde_json::json!({})).await?.1);
    }
    let (began, mut each) = (Instant::now(), Vec::new());
    for key in keys {
        let caller = paddock.caller(key.key());
        let start = Instant::now();
        caller.get("/v1/models").send().await?.error_for_status()?;
        each.push(start.elapsed());
    }
    Ok(Measure::of(each, began.elapsed()))
}

/// The look-ups that PostgreSQL has counted so far.
async fn scans(database: &Database) -> Result<f64> {
    let texts = database.texts(SCANS).await?;
    Ok(texts.first().context("the counts of a table")?.parse()?)
}

/// The look-ups since an earlier count. An idle session of PostgreSQL reports its counts after 10
/// seconds, so this waits until they no longer change.
async fn scans_since(database: &Database, before: f64) -> Result<f64> {
    const REPORT_INTERVAL: Duration = Duration::from_secs(11);
    let mut last = (scans(database).await?, Instant::now());
    eventually("the counts of PostgreSQL to be complete", Duration::from_mins(1), async || {
        let now = scans(database).await.map_err(|error| error.to_string())?;
        if (now - last.0).abs() > 0.5 {
            last = (now, Instant::now());
        }
        if last.1.elapsed() > REPORT_INTERVAL { Ok(()) } else { Err("they have changed".to_owned()) }
    })
    .await?;
    Ok(last.0 - before)
}

impl Keys {
    pub(crate) fn targets(&self) -> Vec<Target> {
        use Bound::AtMost;
        vec![
            Target::new(
                "key look-ups of requests with a cached key",
                "queries",
                self.warm_lookups,
                AtMost(0.0),
                AtMost(0.0),
            ),
            Target::new("first request with a key, p99", "us", self.cold.p99, AtMost(5_000.0), AtMost(5_000.0)),
            Target::new("look-ups per distinct false key id", "queries", self.lookups_per_id, AtMost(1.0), AtMost(1.0)),
            Target::new(
                "honest requests beside a flood of false keys, p99",
                "times as long",
                self.honest_p99_beside / self.honest_p99_alone,
                AtMost(3.0),
                AtMost(2.0),
            ),
        ]
    }

    pub(crate) fn markdown(&self) -> String {
        let row = |name: &str, p50: f64, p99: f64| (name.to_owned(), vec![format!("{p50:.0}"), format!("{p99:.0}")]);
        let rows = [
            row("honest, alone", self.honest_p50_alone, self.honest_p99_alone),
            row("honest, beside the flood", self.honest_p50_beside, self.honest_p99_beside),
            row("first request of a key", self.cold.p50, self.cold.p99),
        ];
        format!(
            "## Keys\n\n{}\n{:.0} requests with a cached key caused {:.0} look-ups. {:.0} false keys per second, of {} key ids, caused \
             {:.0} look-ups, which is {:.2} per id. The honest load is 200 requests per second. Database: PostgreSQL.\n",
            table("", &["p50 us", "p99 us"], rows),
            self.warm_requests,
            self.warm_lookups,
            self.flood_rate,
            self.false_ids,
            self.flood_lookups,
            self.lookups_per_id
        )
    }
}
