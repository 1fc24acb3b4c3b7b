//! What a run found: figures only as differences and ratios within the run, with the machine they are from.

use std::fmt::Write as _;

use serde::Serialize;

use super::load::Measure;
use super::median;

/// One of the things measured.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) single: Vec<Measure>,
    pub(crate) many: Vec<Measure>,
}

impl Peer {
    pub(crate) fn new(name: &'static str, url: &str) -> Self {
        Self { name, url: url.to_owned(), single: Vec::new(), many: Vec::new() }
    }
}

/// Where and how it was measured.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) pinned: bool,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) paddock: String,
    pub(crate) commit: String,
    pub(crate) optimised: bool,
    pub(crate) nginx: String,
    pub(crate) wrk: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
}

/// Medians over the rounds. Times are in microseconds.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    p50: f64,
    p99: f64,
    added_p50: f64,
    added_p99: f64,
    rate_at_32: f64,
    p99_at_32: f64,
}

/// The whole report, as it is written to `report.json`.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    peers: Vec<Row>,
    /// Paddock's added latency as a multiple of nginx's, and its throughput as a fraction of nginx's.
    paddock_to_nginx: Ratios,
}

#[derive(Serialize)]
struct Ratios {
    added_p50: f64,
    added_p99: f64,
    rate_at_32: f64,
}

impl Report {
    /// The first peer is the one that the others' latency is compared with; the second and third are nginx and Paddock.
    pub(crate) fn new(peers: &[Peer; 3], machine: Machine) -> Self {
        let base = (median(&peers[0].single, |m| m.p50), median(&peers[0].single, |m| m.p99));
        let row = |peer: &Peer| {
            let (p50, p99) = (median(&peer.single, |m| m.p50), median(&peer.single, |m| m.p99));
            Row {
                name: peer.name,
                p50,
                p99,
                added_p50: p50 - base.0,
                added_p99: p99 - base.1,
                rate_at_32: median(&peer.many, |m| m.rate),
                p99_at_32: median(&peer.many, |m| m.p99),
            }
        };
        let peers: Vec<Row> = peers.iter().map(row).collect();
        let (nginx, paddock) = (&peers[1], &peers[2]);
        let paddock_to_nginx = Ratios {
            added_p50: paddock.added_p50 / nginx.added_p50,
            added_p99: paddock.added_p99 / nginx.added_p99,
            rate_at_32: paddock.rate_at_32 / nginx.rate_at_32,
        };
        Self { machine, peers, paddock_to_nginx }
    }

    /// The same for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| | p50 us | p99 us | added p50 us | added p99 us | requests/s at 32 | p99 at 32 us |\n|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.peers {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                row.name, row.p50, row.p99, row.added_p50, row.added_p99, row.rate_at_32, row.p99_at_32
            );
        }
        let Ratios { added_p50, added_p99, rate_at_32 } = self.paddock_to_nginx;
        let _ = writeln!(
            text,
            "\nPaddock adds {added_p50:.2} times nginx's p50 and {added_p99:.2} times its p99, and serves {rate_at_32:.2} times its requests at 32 connections."
        );
        let m = &self.machine;
        let _ = writeln!(
            text,
            "\nMedians of {} rounds of {} s, interleaved. {} ({}{}), {}, {}. {} cores of {}, {}; load {} before, {} after.",
            m.rounds,
            m.seconds,
            m.paddock,
            m.commit,
            if m.optimised { "" } else { ", NOT a release build" },
            m.nginx,
            m.wrk,
            m.cores,
            m.processor,
            if m.pinned { "load and proxy on a core each" } else { "not pinned" },
            m.load_before,
            m.load_after,
        );
        text
    }
}
