//! Audited mutations per second: users created over the API, each with its audit row, committed to
//! the disk. Beside them, plain inserts of as many bytes, one per commit, over as many connections.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Result;
use futures_util::future::try_join_all;
use paddock_tests::{
    paddock::Paddock,
    postgres::{Durability, Postgres},
    reaper,
};
use serde::Serialize;
use sqlx::{
    PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    load::{Load, Measure, Script, medians, repeat},
    markdown::table,
    plan::Plan,
    setup::launch,
};

const WRITERS: [u32; 3] = [1, 16, 50];

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Writes {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    engine: &'static str,
    writers: u32,
    paddock: Measure,
    plain_insert: Measure,
    /// Paddock's rate as a fraction of the plain rate.
    fraction: f64,
}

pub(crate) async fn measure(plan: &Plan) -> Result<Writes> {
    let postgres = Postgres::start(Durability::Full).await?;
    let url = postgres.empty_database().await?;
    let pool = PgPoolOptions::new().max_connections(50).connect(&postgres.empty_database().await?).await?;
    let mut rows = engine(plan, "PostgreSQL", &url, &Plain::Postgres(pool)).await?;

    let folder = reaper::scratch_dir("sqlite")?;
    let file = |name: &str| folder.path().join(name);
    let url = format!("sqlite:{}", file("paddock.db").display());
    let options = SqliteConnectOptions::new()
        .filename(file("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    rows.extend(engine(plan, "SQLite", &url, &Plain::Sqlite(pool)).await?);
    Ok(Writes { rows })
}

async fn engine(plan: &Plan, engine: &'static str, url: &str, peer: &Plain) -> Result<Vec<Row>> {
    let (paddock, admin) = Paddock::seeded(launch(url)?).await?;
    let load = Load::new(Script::NewUser, admin.key(), &[])?;
    let users = format!("{}/users", paddock.url());
    peer.prepare().await?;
    load.run(&users, 16, Duration::from_secs(1))?;
    let mut rows = Vec::new();
    for writers in WRITERS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            ours.push(load.run(&users, writers, plan.length)?);
            theirs.push(peer.measure(writers, plan.length).await?);
        }
        let (paddock, plain_insert) = (medians(&ours), medians(&theirs));
        rows.push(Row { engine, writers, fraction: paddock.rate / plain_insert.rate, paddock, plain_insert });
    }
    Ok(rows)
}

/// The peer: a table with no index but its key, and a pool of Paddock's size.
enum Plain {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// About as long as a user and its audit row.
const TEXT: &str = include_str!("writes.txt");
const TABLE: &str = "CREATE TABLE plain (id BIGINT PRIMARY KEY, content TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO plain (id, content) VALUES ($1, $2)";

impl Plain {
    async fn prepare(&self) -> Result<()> {
        match self {
            Self::Postgres(pool) => sqlx::query(TABLE).execute(pool).await.map(|_| ())?,
            Self::Sqlite(pool) => sqlx::query(TABLE).execute(pool).await.map(|_| ())?,
        }
        Ok(())
    }

    async fn measure(&self, writers: u32, length: Duration) -> Result<Measure> {
        let each = try_join_all((0..writers).map(|_| repeat(length, async || self.insert().await))).await?;
        let mean = |of: fn(&Measure) -> f64| each.iter().map(of).sum::<f64>() / f64::from(writers);
        Ok(Measure { rate: each.iter().map(|m| m.rate).sum(), p50: mean(|m| m.p50), p99: mean(|m| m.p99), errors: 0 })
    }

    async fn insert(&self) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed).cast_signed();
        match self {
            Self::Postgres(pool) => sqlx::query(INSERT).bind(id).bind(TEXT).execute(pool).await.map(|_| ())?,
            Self::Sqlite(pool) => sqlx::query(INSERT).bind(id).bind(TEXT).execute(pool).await.map(|_| ())?,
        }
        Ok(())
    }
}

impl Writes {
    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let figures = vec![
                format!("{:.0}", row.paddock.rate),
                format!("{:.1}", row.paddock.p50 / 1e3),
                format!("{:.1}", row.paddock.p99 / 1e3),
                format!("{:.0}", row.plain_insert.rate),
                format!("{:.2}", row.fraction),
            ];
            (format!("{}, {}", row.engine, row.writers), figures)
        });
        let columns = ["writes/s", "p50 ms", "p99 ms", "plain inserts/s", "fraction"];
        format!(
            "## Writes\n\n{}\nA write is a user created over HTTP and its audit row, on the disk before it is answered.\n",
            table("engine, writers", &columns, rows)
        )
    }
}
