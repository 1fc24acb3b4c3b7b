//! Databases that hang without closing their connections.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    chaos_proxy::ChaosProxy,
    eventually::eventually,
    fake_ollama::{FakeOllama, Script},
    paddock::{Caller, Paddock, fetch_json},
    postgres::{Durability, Postgres},
    reaper,
    story::story,
};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection, postgres::PgConnectOptions};

use super::launch;

const MODEL: &str = "smollm2:135m";
/// The time in which a client must get a refusal, and in which the service must recover.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The number of concurrent requests, which exceeds the number of connections.
const REQUESTS: usize = 30;

fn chat(workload: &Caller) -> RequestBuilder {
    workload.post("/api/chat", &json!({"model": MODEL, "messages": [], "stream": false}))
}

fn new_user(admin: &Caller, name: &str) -> RequestBuilder {
    admin.post("/users", &json!({"email": format!("{name}@example.com"), "external_id": name}))
}

/// An Ollama that answers every chat.
async fn ollama() -> Result<FakeOllama> {
    let fake = FakeOllama::start(&[MODEL]).await?;
    let answer = json!({"model": MODEL, "message": {"role": "assistant", "content": "Hello"}, "done": true});
    fake.script("/api/chat", Script::json(StatusCode::OK, &answer));
    Ok(fake)
}

/// Asserts a prompt 503 with the time of the next try.
async fn assert_unavailable(request: RequestBuilder) -> Result<()> {
    let start = Instant::now();
    let answer = request.send().await?;
    ensure!(start.elapsed() < TIMEOUT, "it took {:?}", start.elapsed());
    ensure!(answer.status() == 503, "{}: {}", answer.status(), answer.text().await?);
    ensure!(answer.headers().contains_key("retry-after"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_is_a_503_until_it_thaws() {
    story(async {
        let postgres = Postgres::start(Durability::Relaxed).await?;
        let fake = ollama().await?;
        let launch = launch(&postgres.empty_database().await?)?.ollama(&fake.url());
        let (paddock, admin) = Paddock::seeded(launch).await?;
        let workload = admin.create_workload().await?;
        fetch_json(chat(&workload)).await?;

        for round in 0..3 {
            postgres.freeze()?;
            let frozen = async {
                try_join_all(
                    (0..REQUESTS).map(|n| assert_unavailable(new_user(&admin, &format!("ghost-{round}-{n}")))),
                )
                .await?;
                // The gateway may admit the cached key for a while.
                eventually("the gateway to refuse", TIMEOUT * 2, async || assert_unavailable(chat(&workload)).await)
                    .await?;
                assert_unavailable(admin.get("/audit")).await
            };
            let frozen = frozen.await;
            postgres.thaw()?;
            frozen?;
            eventually("the service", TIMEOUT, async || {
                fetch_json(new_user(&admin, &format!("back-{round}"))).await?;
                fetch_json(chat(&workload)).await?;
                Ok::<_, anyhow::Error>(())
            })
            .await?;
        }
        // The refused requests have not happened later.
        let ghosts: Value = fetch_json(admin.get("/users?q=ghost")).await?;
        ensure!(ghosts == json!([]), "{ghosts}");
        ensure!(paddock.process().exit_status().is_none());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_another_process_locks_is_a_503_for_writes_only() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let fake = ollama().await?;
        let (_paddock, admin) = Paddock::seeded(launch(&url)?.ollama(&fake.url())).await?;
        let workload = admin.create_workload().await?;

        let mut other = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        try_join_all((0..REQUESTS).map(|n| assert_unavailable(new_user(&admin, &format!("ghost-{n}"))))).await?;
        fetch_json(admin.get("/users")).await?;
        fetch_json(chat(&workload)).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;

        eventually("the service", TIMEOUT, async || fetch_json(new_user(&admin, "back")).await).await?;
        let ghosts: Value = fetch_json(admin.get("/users?q=ghost")).await?;
        ensure!(ghosts == json!([]), "{ghosts}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_database_connections_are_replaced() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let server: PgConnectOptions = url.parse()?;
        let proxy = ChaosProxy::start(server.get_host(), server.get_port()).await?;
        let (_paddock, admin) = Paddock::seeded(launch(&proxy.url(&url)?)?).await?;
        for round in 0..2 {
            // Opens every connection that the pool allows.
            try_join_all((0..REQUESTS).map(|n| fetch_json(new_user(&admin, &format!("before-{round}-{n}"))))).await?;
            proxy.blackhole();
            // The first requests may meet a dead connection.
            let asked = (0..REQUESTS).map(|n| new_user(&admin, &format!("meanwhile-{round}-{n}")).send());
            for answer in try_join_all(asked).await? {
                ensure!(answer.status().is_success() || answer.status() == 503, "{}", answer.status());
            }
            let all = async || {
                try_join_all((0..REQUESTS).map(|n| fetch_json(new_user(&admin, &format!("after-{round}-{n}"))))).await
            };
            eventually("every connection", TIMEOUT * 2, all).await?;
        }
        Ok(())
    })
    .await;
}
