//! The added latency of the gateway, compared with no proxy and with nginx that checks a bearer
//! token.
//!
//! The load generator and the stand-in for Ollama share one core. The measured proxy has the other
//! core to itself.

use anyhow::Result;
use paddock_tests::{
    database::{Database, Engine},
    nginx::Nginx,
    paddock::Paddock,
};
use serde::Serialize;

use crate::{
    load::{Load, Measure, Script, medians},
    markdown::table,
    plan::Plan,
    setup::{Cores, launch, start_upstream},
};

const MANY_CONNECTIONS: u32 = 32;

/// A measured server.
struct Peer {
    name: &'static str,
    url: String,
    single: Vec<Measure>,
    many: Vec<Measure>,
}

impl Peer {
    fn new(name: &'static str, url: &str) -> Self {
        Self { name, url: url.to_owned(), single: Vec::new(), many: Vec::new() }
    }
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

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Gateway {
    peers: Vec<Row>,
    /// Paddock's added latency as a multiple of nginx's, and its throughput as a fraction of
    /// nginx's.
    paddock_to_nginx: Ratios,
}

#[derive(Serialize)]
struct Ratios {
    added_p50: f64,
    added_p99: f64,
    rate_at_32: f64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<Gateway> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let (paddock, admin) =
        Paddock::seeded(launch(database.url())?.ollama(&upstream.url).with_prefix(&cores.proxy)).await?;
    let key = admin.create_workload().await?.key().to_owned();
    let nginx = Nginx::start(upstream.url.trim_start_matches("http://"), &key, &cores.proxy).await?;

    let load = Load::new(Script::Chat, &key, &cores.load)?;
    let mut peers =
        [Peer::new("direct", &upstream.url), Peer::new("nginx", nginx.url()), Peer::new("paddock", paddock.url())];
    for _ in 0..plan.rounds {
        for peer in &mut peers {
            let url = format!("{}/api/chat", peer.url);
            peer.single.push(load.run(&url, 1, plan.length)?);
            peer.many.push(load.run(&url, MANY_CONNECTIONS, plan.length)?);
        }
    }
    Ok(Gateway::new(&peers))
}

impl Gateway {
    /// The first peer is the base of the added latencies. The second is nginx, the third Paddock.
    fn new(peers: &[Peer; 3]) -> Self {
        let base = medians(&peers[0].single);
        let row = |peer: &Peer| {
            let (single, many) = (medians(&peer.single), medians(&peer.many));
            Row {
                name: peer.name,
                p50: single.p50,
                p99: single.p99,
                added_p50: single.p50 - base.p50,
                added_p99: single.p99 - base.p99,
                rate_at_32: many.rate,
                p99_at_32: many.p99,
            }
        };
        let peers: Vec<Row> = peers.iter().map(row).collect();
        let (nginx, paddock) = (&peers[1], &peers[2]);
        let paddock_to_nginx = Ratios {
            added_p50: paddock.added_p50 / nginx.added_p50,
            added_p99: paddock.added_p99 / nginx.added_p99,
            rate_at_32: paddock.rate_at_32 / nginx.rate_at_32,
        };
        Self { peers, paddock_to_nginx }
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = self.peers.iter().map(|row| {
            let figures = [row.p50, row.p99, row.added_p50, row.added_p99, row.rate_at_32, row.p99_at_32]
                .map(|f| format!("{f:.0}"));
            (row.name.to_owned(), figures.to_vec())
        });
        let columns = ["p50 us", "p99 us", "added p50 us", "added p99 us", "requests/s at 32", "p99 at 32 us"];
        let Ratios { added_p50, added_p99, rate_at_32 } = self.paddock_to_nginx;
        format!(
            "## Gateway\n\n{}\nPaddock adds {added_p50:.2} times nginx's p50 and {added_p99:.2} times its p99, and serves \
             {rate_at_32:.2} times its requests at 32 connections. Load and proxy have a core each.\n",
            table("", &columns, rows)
        )
    }
}
