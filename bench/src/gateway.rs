//! The added latency, the processor time and the throughput of a chat without streaming, compared
//! with no proxy, nginx and gateways in Python.
//!
//! The load generator and the stand-in for Ollama share one core. The measured proxy has the other
//! core to itself.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::{
    load::{Load, Measure, Script, median, medians},
    markdown::table,
    peers::{Peer, Peers, missing_note},
    plan::Plan,
    process_tree::{memory_kib, processor_time},
    setup::Cores,
    verdict::{Bound, Target},
};

const MANY_CONNECTIONS: u32 = 32;

/// The measurements of a peer.
#[derive(Default)]
struct Measured {
    single: Vec<Measure>,
    many: Vec<Measure>,
    /// Microseconds of processor time per request over many connections, and seconds per second.
    processor: Vec<(f64, f64)>,
}

/// Medians over the rounds. Times are in microseconds.
#[derive(Clone, Serialize)]
struct Row {
    name: &'static str,
    p50: f64,
    p99: f64,
    added_p50: f64,
    added_p99: f64,
    rate_at_32: f64,
    p99_at_32: f64,
    /// Processor time per request at 32 connections; 0 for `direct`, which has no proxy.
    processor_at_32: f64,
    /// The busy part of the proxy's core at 32 connections.
    busy_at_32: f64,
    memory_mib: f64,
}

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Gateway {
    peers: Vec<Row>,
    missing: Vec<String>,
    /// Paddock's added latency and processor time as a multiple of nginx's, and its throughput as a
    /// fraction of nginx's.
    paddock_to_nginx: Ratios,
}

#[derive(Serialize)]
struct Ratios {
    added_p50: f64,
    added_p99: f64,
    rate_at_32: f64,
    processor_at_32: f64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Gateway> {
    let peers = Peers::start_all(cores).await?;
    let mut rows = Vec::new();
    let mut measured: Vec<Measured> = peers.all.iter().map(|_| Measured::default()).collect();
    for round in 0..plan.rounds {
        for (peer, measured) in peers.all.iter().zip(&mut measured) {
            if peer.runs_in(round) {
                measure_round(plan, cores, peer, measured)?;
            }
        }
    }
    for (peer, measured) in peers.all.iter().zip(&measured) {
        rows.push(row(peer, measured, rows.first())?);
    }
    Ok(Gateway::new(rows, peers.missing))
}

fn measure_round(plan: &Plan, cores: &Cores, peer: &Peer, measured: &mut Measured) -> Result<()> {
    let load = Load::new(Script::Chat, &peer.key, &cores.load)?;
    let url = peer.chat_url();
    measured.single.push(load.run(&url, 1, plan.length)?);
    let spent = || peer.process.map_or(Ok(std::time::Duration::ZERO), processor_time);
    let (before, began) = (spent()?, Instant::now());
    let many = load.run(&url, MANY_CONNECTIONS, plan.length)?;
    let (spent, took) = (spent()?.saturating_sub(before).as_secs_f64(), began.elapsed().as_secs_f64());
    measured.processor.push((spent * 1e6 / (many.rate * plan.length.as_secs_f64()), spent / took));
    measured.many.push(many);
    Ok(())
}

/// The figures of a peer. `base` is the row of `direct`.
fn row(peer: &Peer, measured: &Measured, base: Option<&Row>) -> Result<Row> {
    let (single, many) = (medians(&measured.single), medians(&measured.many));
    #[expect(clippy::cast_precision_loss, reason = "a size of memory fits")]
    let memory_mib = peer.process.map_or(Ok(0), memory_kib)? as f64 / 1024.0;
    Ok(Row {
        name: peer.name,
        p50: single.p50,
        p99: single.p99,
        added_p50: base.map_or(0.0, |base| single.p50 - base.p50),
        added_p99: base.map_or(0.0, |base| single.p99 - base.p99),
        rate_at_32: many.rate,
        p99_at_32: many.p99,
        processor_at_32: median(&measured.processor, |(time, _)| *time),
        busy_at_32: median(&measured.processor, |(_, busy)| *busy),
        memory_mib,
    })
}

impl Gateway {
    /// The second row is nginx, the third Paddock.
    fn new(peers: Vec<Row>, missing: Vec<String>) -> Self {
        let (nginx, paddock) = (&peers[1], &peers[2]);
        let paddock_to_nginx = Ratios {
            added_p50: paddock.added_p50 / nginx.added_p50,
            added_p99: paddock.added_p99 / nginx.added_p99,
            rate_at_32: paddock.rate_at_32 / nginx.rate_at_32,
            processor_at_32: paddock.processor_at_32 / nginx.processor_at_32,
        };
        Self { peers, missing, paddock_to_nginx }
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        use Bound::{AtLeast, AtMost};
        let (nginx, paddock) = (&self.peers[1], &self.peers[2]);
        vec![
            Target::new(
                "added latency of a chat, 1 connection, p50",
                "us",
                paddock.added_p50,
                AtMost(nginx.added_p50 * 1.5),
                AtMost(nginx.added_p50 * 1.15),
            ),
            Target::new(
                "added latency of a chat, 1 connection, p99",
                "us",
                paddock.added_p99,
                AtMost((nginx.added_p99 * 1.5).max(500.0)),
                AtMost(300.0),
            ),
            Target::new(
                "processor time per request, 32 connections",
                "us",
                paddock.processor_at_32,
                AtMost(nginx.processor_at_32 * 2.5),
                AtMost(nginx.processor_at_32 * 1.33),
            ),
            Target::new(
                "throughput of one core, 32 connections",
                "requests/s",
                paddock.rate_at_32,
                AtLeast((nginx.rate_at_32 * 0.4).max(20_000.0)),
                AtLeast(nginx.rate_at_32 * 0.75),
            ),
            Target::new("latency, 32 connections, p99", "us", paddock.p99_at_32, AtMost(10_000.0), AtMost(10_000.0)),
        ]
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = self.peers.iter().map(|row| {
            let figures = [
                row.p50,
                row.p99,
                row.added_p50,
                row.added_p99,
                row.rate_at_32,
                row.p99_at_32,
                row.processor_at_32,
                row.busy_at_32 * 100.0,
                row.memory_mib,
            ]
            .map(|f| format!("{f:.0}"));
            (row.name.to_owned(), figures.to_vec())
        });
        let columns = [
            "p50 us",
            "p99 us",
            "added p50 us",
            "added p99 us",
            "requests/s at 32",
            "p99 at 32 us",
            "processor us at 32",
            "core busy %",
            "memory MiB",
        ];
        let Ratios { added_p50, added_p99, rate_at_32, processor_at_32 } = self.paddock_to_nginx;
        format!(
            "## Gateway\n\n{}\nPaddock adds {added_p50:.2} times nginx's p50 and {added_p99:.2} times its p99. At 32 connections it \
             serves {rate_at_32:.2} times nginx's requests and takes {processor_at_32:.2} times its processor time for each. Load and \
             proxy have a core each. Paddock writes its default log and a usage record for each request, on SQLite.\n{}",
            table("", &columns, rows),
            missing_note(&self.missing)
        )
    }
}
