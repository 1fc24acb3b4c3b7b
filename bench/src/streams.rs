//! What a proxy adds to the first token and to each further token of many streams, and whether it
//! changes the frames.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    frame::Dialect,
    load::median,
    markdown::table,
    peers::{Peer, Peers, missing_note},
    plan::Plan,
    setup::Cores,
    stream_load::{FrameErrors, StreamLoad, Summary},
    verdict::{Bound, Target},
};

/// A number of streams and their rate.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    dialect: Dialect,
    streams: u64,
    /// Frames per second and stream.
    rate: u64,
    has_slow_peers: bool,
}

const CASES: [Case; 3] = [
    Case { name: "256 NDJSON streams", dialect: Dialect::Native, streams: 256, rate: 50, has_slow_peers: true },
    Case { name: "256 SSE streams", dialect: Dialect::OpenAi, streams: 256, rate: 50, has_slow_peers: true },
    Case { name: "1000 NDJSON streams", dialect: Dialect::Native, streams: 1000, rate: 20, has_slow_peers: false },
];

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Streams {
    rows: Vec<Row>,
    missing: Vec<String>,
}

/// Medians over the rounds, in microseconds; errors of frames over all rounds.
#[derive(Clone, Serialize)]
struct Row {
    case: &'static str,
    peer: &'static str,
    streams: u64,
    first_p50: f64,
    first_p99: f64,
    delay_p50: f64,
    delay_p99: f64,
    added_first_p50: f64,
    added_first_p99: f64,
    added_delay_p50: f64,
    added_delay_p99: f64,
    frames: u64,
    frame_errors: FrameErrors,
    failed: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Streams> {
    let peers = Peers::start_all(cores).await?;
    let mut rows = Vec::new();
    for case in CASES.map(|case| Case { streams: case.streams.min(plan.streams), ..case }) {
        let takes_part = |peer: &&Peer| peer.dialects.contains(&case.dialect) && (case.has_slow_peers || !peer.is_slow);
        let taking_part: Vec<&Peer> = peers.all.iter().filter(takes_part).collect();
        let mut measured: Vec<Vec<Summary>> = vec![Vec::new(); taking_part.len()];
        for round in 0..plan.rounds.div_ceil(2) {
            for (peer, measured) in taking_part.iter().zip(&mut measured) {
                // A slow peer takes many seconds to end its streams.
                if !peer.is_slow || round == 0 {
                    let summary = load(plan, case, peer).run(&cores.load).await?;
                    ensure!(peer.is_slow || summary.recorded > 0, "no stream of {} ended: {summary:?}", peer.name);
                    measured.push(summary);
                }
            }
        }
        let mut base = None;
        for (peer, measured) in taking_part.iter().zip(&measured) {
            let row = row(case, peer, measured, base.as_ref());
            base = base.or_else(|| Some(row.clone()));
            rows.push(row);
        }
    }
    Ok(Streams { rows, missing: peers.missing })
}

fn load(plan: &Plan, case: Case, peer: &Peer) -> StreamLoad {
    // 1,000 streams that begin within a second would measure the beginnings.
    let period = if case.streams > 256 { Duration::from_secs(2) } else { Duration::from_secs(1) };
    let load = StreamLoad::steady(&peer.url, &peer.key, case.dialect, case.streams, case.rate, period);
    load.for_length(period + period.max(plan.length))
}

/// The figures of a peer. `base` is the row of `direct`.
fn row(case: Case, peer: &Peer, measured: &[Summary], base: Option<&Row>) -> Row {
    let of = |figure: fn(&Summary) -> f64| median(measured, figure);
    let mut frame_errors = FrameErrors::default();
    for summary in measured {
        frame_errors.add(&summary.frame_errors);
    }
    let (first_p50, first_p99) = (of(|s| s.first_frame.p50), of(|s| s.first_frame.p99));
    let (delay_p50, delay_p99) = (of(|s| s.frame_delay.p50), of(|s| s.frame_delay.p99));
    Row {
        case: case.name,
        peer: peer.name,
        streams: case.streams,
        first_p50,
        first_p99,
        delay_p50,
        delay_p99,
        added_first_p50: base.map_or(0.0, |base| first_p50 - base.first_p50),
        added_first_p99: base.map_or(0.0, |base| first_p99 - base.first_p99),
        added_delay_p50: base.map_or(0.0, |base| delay_p50 - base.delay_p50),
        added_delay_p99: base.map_or(0.0, |base| delay_p99 - base.delay_p99),
        frames: measured.iter().map(|summary| summary.frames).sum(),
        frame_errors,
        failed: measured.iter().map(|summary| summary.failed).sum(),
    }
}

impl Streams {
    fn row(&self, case: usize, peer: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.case == CASES[case].name && row.peer == peer)
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        use Bound::AtMost;
        let mut targets = Vec::new();
        if let (Some(paddock), Some(nginx)) = (self.row(0, "paddock"), self.row(0, "nginx")) {
            targets.extend([
                Target::new(
                    "added to the first token, 256 streams, p99",
                    "us",
                    paddock.added_first_p99,
                    AtMost(2_000.0),
                    AtMost(200.0),
                ),
                Target::new(
                    "added to each token, 256 streams, p99",
                    "us",
                    paddock.added_delay_p99,
                    AtMost(1_000.0),
                    AtMost(150.0),
                ),
                Target::new(
                    "added to each token, 256 streams, p50",
                    "us",
                    paddock.added_delay_p50,
                    AtMost(1_000.0),
                    AtMost(nginx.added_delay_p50 * 1.3),
                ),
            ]);
        }
        if let Some(many) = self.row(2, "paddock") {
            targets.extend([
                Target::new(
                    "added to the first token, 1,000 streams, p99",
                    "us",
                    many.added_first_p99,
                    AtMost(2_000.0),
                    AtMost(200.0),
                ),
                Target::new(
                    "added to each token, 1,000 streams, p99",
                    "us",
                    many.added_delay_p99,
                    AtMost(1_000.0),
                    AtMost(150.0),
                ),
            ]);
        }
        let broken = self.rows.iter().filter(|row| row.peer == "paddock");
        #[expect(clippy::cast_precision_loss, reason = "a count of frames fits")]
        let broken = broken.map(|row| row.frame_errors.sum() + row.failed).sum::<u64>() as f64;
        targets.push(Target::new(
            "frames lost, merged, split or reordered, and failed streams",
            "",
            broken,
            AtMost(0.0),
            AtMost(0.0),
        ));
        targets
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let times = [
                row.added_first_p50,
                row.added_first_p99,
                row.added_delay_p50,
                row.added_delay_p99,
                row.delay_p50,
                row.delay_p99,
            ];
            // A slow peer may begin no stream in time.
            let time = |time: f64| if row.first_p50 > 0.0 { format!("{time:.0}") } else { "-".to_owned() };
            let FrameErrors { lost, merged, split, reordered } = row.frame_errors;
            let counts = [row.frames, lost, merged, split, reordered, row.failed].map(|count| count.to_string());
            (format!("{}, {}", row.case, row.peer), times.map(time).into_iter().chain(counts).collect())
        });
        let columns = [
            "added first p50 us",
            "added first p99 us",
            "added token p50 us",
            "added token p99 us",
            "token p50 us",
            "token p99 us",
            "frames",
            "lost",
            "merged",
            "split",
            "reordered",
            "failed",
        ];
        format!(
            "## Streams\n\n{}\n256 streams have 50 frames per second each, 1,000 streams 20. A time counts from the moment at which the \
             request or the frame should have been sent; added is the difference to direct.\n{}",
            table("", &columns, rows),
            missing_note(&self.missing)
        )
    }
}
