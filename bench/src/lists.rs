//! The first pages of long lists, beside the same queries past Paddock, one at a time: in psql,
//! which prints each row as text, and on SQLite over one connection, which only reads the rows.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    testbed::Part,
};
use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use crate::{
    load::{Load, Measure, Script, medians, repeat},
    markdown::table,
    plan::Plan,
    setup::launch,
};

/// A page: its path over HTTP, and the queries that read the same rows.
struct Page {
    path: &'static str,
    queries: &'static [&'static str],
    rows: u32,
}

const PAGES: [Page; 2] = [
    Page {
        path: "/users?limit=50",
        // The answer has the total number in a header.
        queries: &[
            "SELECT * FROM users WHERE deleted_at IS NULL ORDER BY id LIMIT 50",
            "SELECT count(*) FROM users WHERE deleted_at IS NULL",
        ],
        rows: 50,
    },
    Page { path: "/audit?limit=100", queries: &["SELECT * FROM audit_logs ORDER BY id DESC LIMIT 101"], rows: 100 },
];

/// The statements that insert users and events of realistic length. The events have chain version
/// 0, outside of any chain, because Paddock refuses to serve a log that is sealed under another
/// key.
fn fill(engine: Engine, users: u32, events: u32) -> String {
    match engine {
        Engine::Postgres => format!(
            "INSERT INTO users (email, display_name, external_id, roles, created_at, updated_at)
               SELECT 'user-' || n || '@example.com', 'User Number ' || n, 'hr-' || n, 'user', now(), now()
               FROM generate_series(1, {users}) n;
             INSERT INTO audit_logs (id, event_id, chain_version, event_type, occurred_at, user_id, actor, target, ip, user_agent,
               request_id, change, prev_hash, hash)
               SELECT position + n, gen_random_uuid(), 0, 'user_created', now(), n % {users}, 'user:1',
               'user-' || n || '@example.com', '10.0.0.1', 'curl/8.5.0', CAST(gen_random_uuid() AS text), {CHANGE},
               repeat('a', 64), repeat('b', 64) FROM audit_head, generate_series(1, {events}) n;
             UPDATE audit_head SET position = position + {events};"
        ),
        Engine::Sqlite => format!(
            "BEGIN;
             WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {users})
             INSERT INTO users (email, display_name, external_id, roles, created_at, updated_at)
               SELECT 'user-' || n || '@example.com', 'User Number ' || n, 'hr-' || n, 'user', 1700000000000000, 1700000000000000
               FROM s;
             WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {events})
             INSERT INTO audit_logs (id, event_id, chain_version, event_type, occurred_at, user_id, actor, target, ip, user_agent,
               request_id, change, prev_hash, hash)
               SELECT position + n, randomblob(16), 0, 'user_created', 1700000000000000, n % {users}, 'user:1',
               'user-' || n || '@example.com', '10.0.0.1', 'curl/8.5.0', hex(randomblob(16)), {CHANGE}, hex(randomblob(32)),
               hex(randomblob(32)) FROM audit_head, s;
             UPDATE audit_head SET position = position + {events};
             COMMIT;"
        ),
    }
}

const CHANGE: &str = r#"'{"after":{"email":"user@example.com","is_active":true,"roles":["user"]},"before":{}}'"#;

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct Lists {
    users: u32,
    events: u32,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    engine: &'static str,
    path: &'static str,
    paddock: Measure,
    query: Measure,
    rows_per_second: f64,
    query_rows_per_second: f64,
    /// Paddock's time as a multiple of the query's.
    p50_ratio: f64,
    p99_ratio: f64,
}

pub(crate) async fn measure(plan: &Plan) -> Result<Lists> {
    let (users, events) = ((plan.events / 10).max(1), plan.events);
    let mut rows = engine(plan, "PostgreSQL", Engine::Postgres, &fill(Engine::Postgres, users, events)).await?;
    rows.extend(engine(plan, "SQLite", Engine::Sqlite, &fill(Engine::Sqlite, users, events)).await?);
    Ok(Lists { users, events, rows })
}

async fn engine(plan: &Plan, name: &'static str, engine: Engine, fill: &str) -> Result<Vec<Row>> {
    let database = Database::new(engine).await?;
    let launch = launch(database.url())?;
    let admin = launch.seed()?;
    database.execute(fill).await?;
    let analyze = match engine {
        Engine::Postgres => "VACUUM ANALYZE",
        Engine::Sqlite => "ANALYZE",
    };
    database.execute(analyze).await?;
    let paddock = launch.start().await?;
    let load = Load::new(Script::Get, &admin.key, &[])?;
    let mut rows = Vec::new();
    for page in PAGES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            theirs.push(query(&database, engine, &page, plan.length).await?);
            ours.push(load.run(&format!("{}{}", paddock.url(), page.path), 1, plan.length)?);
        }
        let (ours, theirs) = (medians(&ours), medians(&theirs));
        rows.push(Row {
            engine: name,
            path: page.path,
            rows_per_second: ours.rate * f64::from(page.rows),
            query_rows_per_second: theirs.rate * f64::from(page.rows),
            p50_ratio: ours.p50 / theirs.p50,
            p99_ratio: ours.p99 / theirs.p99,
            paddock: ours,
            query: theirs,
        });
    }
    Ok(rows)
}

/// Runs the page's queries past Paddock.
async fn query(database: &Database, engine: Engine, page: &Page, length: Duration) -> Result<Measure> {
    match engine {
        Engine::Postgres => {
            let mut psql = Psql::start(database.url())?;
            repeat(length, async || psql.run(page.queries)).await
        }
        Engine::Sqlite => {
            let mut connection = SqliteConnection::connect(database.url()).await?;
            repeat(length, async || {
                for query in page.queries {
                    sqlx::query(*query).fetch_all(&mut connection).await?;
                }
                Ok(())
            })
            .await
        }
    }
}

/// A psql process that reads queries from its input.
struct Psql {
    child: Child,
    queries: ChildStdin,
    rows: BufReader<ChildStdout>,
    line: String,
}

impl Psql {
    /// The line after the last row; no column contains it.
    const END: &str = "-- end --";

    fn start(url: &str) -> Result<Self> {
        let mut child = Command::new(Part::Postgres.locate()?.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let queries = child.stdin.take().context("its input")?;
        let rows = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, queries, rows, line: String::new() })
    }

    fn run(&mut self, queries: &[&str]) -> Result<()> {
        for query in queries {
            writeln!(self.queries, "{query};")?;
        }
        writeln!(self.queries, "\\echo {}", Self::END)?;
        loop {
            self.line.clear();
            ensure!(self.rows.read_line(&mut self.line)? > 0, "psql ended");
            if self.line.trim_end() == Self::END {
                return Ok(());
            }
        }
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        // psql holds nothing that must be saved.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lists {
    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let figures = vec![
                format!("{:.2}", row.paddock.p50 / 1e3),
                format!("{:.2}", row.paddock.p99 / 1e3),
                format!("{:.0}", row.rows_per_second),
                format!("{:.2}", row.query.p50 / 1e3),
                format!("{:.2}", row.query.p99 / 1e3),
                format!("{:.0}", row.query_rows_per_second),
                format!("{:.2}", row.p50_ratio),
                format!("{:.2}", row.p99_ratio),
            ];
            (format!("{} {}", row.engine, row.path), figures)
        });
        let columns =
            ["p50 ms", "p99 ms", "rows/s", "query p50 ms", "query p99 ms", "query rows/s", "p50 ratio", "p99 ratio"];
        format!(
            "## Lists\n\n{}\nOf {} users and {} events, one client.\n",
            table("", &columns, rows),
            self.users,
            self.events
        )
    }
}
