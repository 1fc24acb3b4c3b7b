//! A user with one request at a time, beside a user with 100 parallel requests for the same place.

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

/// The time of one request, which is one turn.
const TURN: Duration = Duration::from_millis(50);
const GREEDY_CLIENTS: u64 = 100;

/// The figures of this section, in microseconds.
#[derive(Serialize)]
pub(crate) struct Fairness {
    alone_p50: f64,
    beside_p50: f64,
    beside_p99: f64,
    added_turns_p50: f64,
    added_turns_p99: f64,
    errors: u64,
    greedy_rate: f64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Fairness> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let launch = launch_with_log(database.url())?
        .env("MAX_CONCURRENT_PER_MODEL", "1")
        .ollama(&upstream.url)
        .with_prefix(&cores.proxy);
    let (paddock, admin) = Paddock::seeded(launch).await?;
    let (greedy, modest) = (admin.create_workload().await?, admin.create_workload().await?);
    let load = |key: &str, clients, period| {
        StreamLoad::requests(paddock.url(), &[key.to_owned()], clients, period, TURN).for_length(plan.length * 5)
    };
    // A request that waits for a turn ends before the next one begins.
    let modest = StreamLoad { warm_up: plan.length, ..load(modest.key(), 1, TURN * 4) };
    let greedy = load(greedy.key(), GREEDY_CLIENTS, TURN);
    let alone = modest.run(&cores.load).await?;
    let (beside, greedy) = tokio::try_join!(modest.run(&cores.load), greedy.run(&cores.load))?;
    let recorded = [&alone, &beside, &greedy].map(|summary| summary.recorded);
    ensure!(!recorded.contains(&0), "no request was served: {recorded:?}");
    let turns = |figure: f64| (figure - alone.first_frame.p50) / (TURN.as_secs_f64() * 1e6);
    let errors = |summary: &Summary| summary.failed + summary.refused;
    Ok(Fairness {
        alone_p50: alone.first_frame.p50,
        beside_p50: beside.first_frame.p50,
        beside_p99: beside.first_frame.p99,
        added_turns_p50: turns(beside.first_frame.p50),
        added_turns_p99: turns(beside.first_frame.p99),
        errors: errors(&alone) + errors(&beside),
        greedy_rate: greedy.rate,
    })
}

impl Fairness {
    pub(crate) fn targets(&self) -> Vec<Target> {
        // A turn takes a little longer than the upstream's time.
        const ONE_TURN: f64 = 1.1;
        vec![Target::new(
            "wait of a single request beside 100 of another user, p99",
            "turns",
            self.added_turns_p99,
            Bound::AtMost(ONE_TURN),
            Bound::AtMost(ONE_TURN),
        )]
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = [
            ("alone, p50 ms", self.alone_p50 / 1e3),
            ("beside 100 requests of another user, p50 ms", self.beside_p50 / 1e3),
            ("beside 100 requests of another user, p99 ms", self.beside_p99 / 1e3),
        ];
        let rows = rows.map(|(name, figure)| (name.to_owned(), vec![format!("{figure:.1}")]));
        format!(
            "## Fairness\n\n{}\nMAX_CONCURRENT_PER_MODEL=1, and a request takes {} ms. The single request waits for {:.2} turns at the \
             median and {:.2} at p99.\n",
            table("a single request", &["figure"], rows),
            TURN.as_millis(),
            self.added_turns_p50,
            self.added_turns_p99
        )
    }
}
