//! Prompts of 400 KB: what a proxy adds to them, and how much they disturb the streams of others.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    frame::{Dialect, Order},
    load::median,
    markdown::table,
    peers::{Peer, Peers},
    plan::Plan,
    setup::Cores,
    stream_load::{StreamLoad, Summary},
    verdict::{Bound, Target},
};

const PROMPT_BYTES: usize = 400_000;
/// The time between two prompts.
const PROMPT_INTERVAL: Duration = Duration::from_millis(50);
const STREAMS: u64 = 64;
const RATE: u64 = 20;

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct LongPrompts {
    rows: Vec<Row>,
}

/// Medians over the rounds, in microseconds.
#[derive(Clone, Serialize)]
struct Row {
    peer: &'static str,
    prompt_p50: f64,
    prompt_p99: f64,
    added_p50: f64,
    added_p99: f64,
    /// The delay of the other streams' frames without and beside long prompts.
    delay_p99_alone: f64,
    delay_p99_beside: f64,
    disturbance: f64,
    stream_errors: u64,
}

/// One round of one peer.
struct Round {
    alone: Summary,
    beside: Summary,
    prompts: Summary,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<LongPrompts> {
    let peers = Peers::start(cores).await?;
    let mut measured: Vec<Vec<Round>> = peers.all.iter().map(|_| Vec::new()).collect();
    for _ in 0..plan.rounds.div_ceil(2) {
        for (peer, measured) in peers.all.iter().zip(&mut measured) {
            measured.push(round(plan, cores, peer).await?);
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for (peer, measured) in peers.all.iter().zip(&measured) {
        rows.push(row(peer, measured, rows.first()));
    }
    Ok(LongPrompts { rows })
}

async fn round(plan: &Plan, cores: &Cores, peer: &Peer) -> Result<Round> {
    let period = Duration::from_secs(1);
    let streams = StreamLoad::steady(&peer.url, &peer.key, Dialect::Native, STREAMS, RATE, period)
        .for_length(period + plan.length);
    let prompts = StreamLoad {
        order: Order { frames: 1, ..Order::default() },
        prompt_bytes: PROMPT_BYTES,
        warm_up: period,
        ..StreamLoad::steady(&peer.url, &peer.key, Dialect::Native, 1, 1, PROMPT_INTERVAL)
            .for_length(period + plan.length)
    };
    let alone = streams.run(&cores.load).await?;
    let (beside, prompts) = tokio::try_join!(streams.run(&cores.load), prompts.run(&cores.load))?;
    let recorded = [&alone, &beside, &prompts].map(|summary| summary.recorded);
    ensure!(!recorded.contains(&0), "no stream of {} ended: {recorded:?}", peer.name);
    Ok(Round { alone, beside, prompts })
}

fn row(peer: &Peer, measured: &[Round], base: Option<&Row>) -> Row {
    let of = |figure: fn(&Round) -> f64| median(measured, figure);
    let (prompt_p50, prompt_p99) = (of(|r| r.prompts.first_frame.p50), of(|r| r.prompts.first_frame.p99));
    let errors = |summary: &Summary| summary.frame_errors.sum() + summary.failed + summary.refused;
    Row {
        peer: peer.name,
        prompt_p50,
        prompt_p99,
        added_p50: base.map_or(0.0, |base| prompt_p50 - base.prompt_p50),
        added_p99: base.map_or(0.0, |base| prompt_p99 - base.prompt_p99),
        delay_p99_alone: of(|r| r.alone.frame_delay.p99),
        delay_p99_beside: of(|r| r.beside.frame_delay.p99),
        disturbance: of(|r| r.beside.frame_delay.p99 - r.alone.frame_delay.p99),
        stream_errors: measured.iter().map(|r| errors(&r.alone) + errors(&r.beside) + errors(&r.prompts)).sum(),
    }
}

impl LongPrompts {
    pub(crate) fn targets(&self) -> Vec<Target> {
        let (direct, paddock) = (&self.rows[0], &self.rows[2]);
        vec![
            Target::new(
                "added to a prompt of 400 KB, p99",
                "us",
                paddock.added_p99,
                Bound::AtMost(3_000.0),
                Bound::AtMost(1_000.0),
            ),
            Target::new(
                "added to the tokens of other streams by such prompts, p99",
                "us",
                // The load generator and the fake upstream share a core, so prompts disturb streams
                // without a proxy too.
                paddock.disturbance - direct.disturbance.max(0.0),
                Bound::AtMost(1_000.0),
                Bound::AtMost(50.0),
            ),
        ]
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let figures = [
                row.prompt_p50,
                row.prompt_p99,
                row.added_p50,
                row.added_p99,
                row.delay_p99_alone,
                row.delay_p99_beside,
                row.disturbance,
            ]
            .map(|f| format!("{f:.0}"));
            (row.peer.to_owned(), figures.to_vec())
        });
        let columns = [
            "prompt p50 us",
            "prompt p99 us",
            "added p50 us",
            "added p99 us",
            "token p99 alone us",
            "token p99 beside us",
            "disturbance us",
        ];
        format!(
            "## Long prompts\n\n{}\nA prompt of 400 KB every {} ms, beside {STREAMS} streams of {RATE} frames per second.\n",
            table("", &columns, rows),
            PROMPT_INTERVAL.as_millis()
        )
    }
}
