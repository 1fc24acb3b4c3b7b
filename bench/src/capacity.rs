//! The most streams of ten frames per second of which no frame is lost, merged or late.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::{
    frame::Dialect,
    markdown::table,
    peers::{Peer, Peers},
    plan::Plan,
    setup::Cores,
    stream_load::{FrameErrors, StreamLoad, Summary},
    verdict::{Bound, Target},
};

const LEVELS: [u64; 3] = [1_000, 2_000, 4_096];
const RATE: u64 = 10;
/// Runs without an error that a level takes.
const RUNS: usize = 3;
/// The clients begin their streams during this time.
const RAMP: Duration = Duration::from_secs(3);

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Capacity {
    rows: Vec<Row>,
    /// The most streams of each peer, of the levels that were tried.
    most: Vec<Most>,
}

#[derive(Serialize)]
struct Row {
    peer: &'static str,
    streams: u64,
    runs: usize,
    frames: u64,
    frame_errors: FrameErrors,
    late: u64,
    failed: u64,
    /// Microseconds; the worst run.
    delay_p99: f64,
}

#[derive(Serialize)]
struct Most {
    peer: &'static str,
    streams: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Capacity> {
    let peers = Peers::start(cores).await?;
    let mut capacity = Capacity { rows: Vec::new(), most: Vec::new() };
    for peer in &peers.all {
        let runs = if peer.name == "paddock" { RUNS } else { 1 };
        let mut most = 0;
        let mut levels = LEVELS.map(|streams| streams.min(plan.streams)).to_vec();
        levels.dedup();
        for streams in levels {
            let row = level(plan, cores, peer, streams, runs).await?;
            let is_clean = row.frame_errors.sum() + row.late + row.failed == 0;
            capacity.rows.push(row);
            if !is_clean {
                break;
            }
            most = streams;
        }
        capacity.most.push(Most { peer: peer.name, streams: most });
    }
    Ok(capacity)
}

async fn level(plan: &Plan, cores: &Cores, peer: &Peer, streams: u64, runs: usize) -> Result<Row> {
    let mut row = Row {
        peer: peer.name,
        streams,
        runs: 0,
        frames: 0,
        frame_errors: FrameErrors::default(),
        late: 0,
        failed: 0,
        delay_p99: 0.0,
    };
    // Every stream lasts until the last one has begun, and then at least as long as a measurement.
    let load = StreamLoad::steady(&peer.url, &peer.key, Dialect::Native, streams, RATE, RAMP + plan.length);
    let load = StreamLoad { ramp: RAMP, length: RAMP, warm_up: Duration::ZERO, ..load };
    for _ in 0..runs {
        let summary: Summary = load.run(&cores.load).await?;
        row.runs += 1;
        row.frames += summary.frames;
        row.frame_errors.add(&summary.frame_errors);
        row.late += summary.late;
        row.failed += summary.failed + summary.refused;
        row.delay_p99 = row.delay_p99.max(summary.frame_delay.p99);
        if summary.frame_errors.sum() + summary.late + summary.failed + summary.refused > 0 {
            break;
        }
    }
    Ok(row)
}

impl Capacity {
    pub(crate) fn targets(&self) -> Vec<Target> {
        let most = self.most.iter().find(|most| most.peer == "paddock").map_or(0, |most| most.streams);
        #[expect(clippy::cast_precision_loss, reason = "a count of streams fits")]
        let most = most as f64;
        vec![Target::new(
            "most streams of 10 frames/s, no frame lost, merged or 100 ms late, 3 runs",
            "streams",
            most,
            Bound::AtLeast(1_000.0),
            Bound::AtLeast(4_096.0),
        )]
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let FrameErrors { lost, merged, split, reordered } = row.frame_errors;
            let counts = [row.runs as u64, row.frames, lost, merged, split, reordered, row.late, row.failed];
            let counts = counts.map(|count| count.to_string()).into_iter();
            (format!("{}, {}", row.peer, row.streams), counts.chain([format!("{:.1}", row.delay_p99 / 1e3)]).collect())
        });
        let columns = ["runs", "frames", "lost", "merged", "split", "reordered", "late", "failed", "token p99 ms"];
        format!(
            "## Capacity\n\n{}\nEach stream has {RATE} frames per second. A level counts if no run has an error.\n",
            table("peer, streams", &columns, rows)
        )
    }
}
