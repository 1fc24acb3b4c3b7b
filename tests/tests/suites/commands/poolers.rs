//! PostgreSQL behind a real `PgBouncer`: a pooler that keeps sessions is served, any other is refused
//! by name at the start.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::FakeOllama,
    paddock::{Launch, Paddock, fetch_json},
    pgbouncer::PgBouncer,
    process::free_port,
    story::story,
};
use rstest::rstest;

use super::{assert_refused, successful};

/// The words of the refusal.
const REFUSAL: [&str; 3] = ["PgBouncer", "pool_mode = session", "DATABASE_URL"];

#[rstest]
#[case::transaction("transaction")]
#[case::statement("statement")]
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_shares_sessions_is_refused_by_name(#[case] mode: &str) {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        successful(Launch::new(&["migrate"], database.url())?.command(&["migrate"])?.output()?)?;
        let bouncer = PgBouncer::start(database.url(), mode).await?;
        for verb in [&["migrate"][..], &["run"], &["api"], &["seed"], &["audit", "verify"]] {
            let output = Launch::new(verb, bouncer.url())?.command(verb)?.output()?;
            assert_refused(&output, 1, &REFUSAL).with_context(|| format!("{verb:?} in mode {mode}"))?;
        }
        Ok(())
    })
    .await;
}

/// Other clients may use the pooler at the same time, so its sessions are in any order.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pooler_is_refused_too() {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        successful(Launch::new(&["migrate"], database.url())?.command(&["migrate"])?.output()?)?;
        let bouncer = PgBouncer::start(database.url(), "transaction").await?;
        let load = async {
            let mut connections = Vec::new();
            for _ in 0..6 {
                connections.push(bouncer.connect().await?);
            }
            loop {
                for connection in &mut connections {
                    sqlx::raw_sql("SELECT pg_sleep(0.001)").execute(connection).await?;
                }
            }
        };
        let starts = async {
            for _ in 0..10 {
                let command = Launch::new(&["api"], bouncer.url())?.command(&["api"])?;
                let output = tokio::process::Command::from(command).output().await?;
                assert_refused(&output, 1, &REFUSAL)?;
            }
            Ok(())
        };
        tokio::select! {
            failed = load => failed,
            refused = starts => refused,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_sessions_is_served() {
    story(async {
        let (database, ollama) = (Database::new(Engine::Postgres).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let bouncer = PgBouncer::start(database.url(), "session").await?;
        let (paddock, admin) = Paddock::api(bouncer.url(), &ollama.url()).await?;
        admin.create_user(serde_json::json!({})).await?;
        // Notifications arrive too.
        eventually("nothing to be degraded", Duration::from_secs(20), async || {
            let ready = fetch_json(admin.get("/readyz")).await?;
            ensure!(ready["degraded"] == serde_json::json!([]), "{ready}");
            Ok(())
        })
        .await?;
        drop(paddock);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_starts_after_the_server_is_named_in_the_log() {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        successful(Launch::new(&["migrate"], database.url())?.command(&["migrate"])?.output()?)?;
        let port = free_port()?;
        let (_, name) = database.url().rsplit_once('/').context("a name")?;
        let paddock = Launch::new(&["api"], &format!("postgres://postgres@127.0.0.1:{port}/{name}"))?.spawn()?;
        let log = async |words: &str| -> Result<String> {
            eventually("the log to name it", Duration::from_secs(30), async || {
                let log = paddock.process().log().text();
                ensure!(log.contains(words), "{log}");
                Ok(log)
            })
            .await
        };
        log("the database is unavailable").await?;
        let _bouncer = PgBouncer::start_on(port, database.url(), "transaction").await?;
        log("pool_mode").await?;
        let answer = paddock.caller("pdk_0").get("/readyz").send().await?;
        ensure!(answer.status() == 503, "{}", answer.status());
        Ok(())
    })
    .await;
}
