//! Databases that hang: nothing breaks, and nothing is answered.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{FakeOllama, Script};
use paddock_tests::paddock::{Caller, Paddock, answer};
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::sentinel;
use paddock_tests::story::story;
use paddock_tests::way::Way;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use super::launch;

const MODEL: &str = "smollm2:135m";
/// The longest that a client waits to be refused, and that a service takes to be back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many ask at once: more than there are connections.
const MANY: usize = 30;

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
    fake.answer("/api/chat", Script::json(StatusCode::OK, &answer));
    Ok(fake)
}

/// It is refused for now, in time, and the client is told when to come back.
async fn refused(request: RequestBuilder) -> Result<()> {
    let start = Instant::now();
    let answer = request.send().await?;
    ensure!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
    ensure!(answer.status() == 503, "{}: {}", answer.status(), answer.text().await?);
    ensure!(answer.headers().contains_key("retry-after"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_is_a_503_and_everything_goes_on_when_it_thaws() {
    story(async {
        let postgres = Postgres::start(Durability::Relaxed).await?;
        let fake = ollama().await?;
        let launch = launch(&postgres.empty_database().await?)?.ollama(&fake.url());
        let (paddock, admin) = Paddock::seeded(launch).await?;
        let workload = admin.create_workload().await?;
        answer(chat(&workload)).await?;

        for round in 0..3 {
            postgres.freeze()?;
            let frozen = async {
                try_join_all((0..MANY).map(|n| refused(new_user(&admin, &format!("ghost-{round}-{n}"))))).await?;
                // It may know the key for a while.
                eventually("the gateway to refuse", PATIENCE * 2, async || refused(chat(&workload)).await).await?;
                refused(admin.get("/audit")).await
            };
            let frozen = frozen.await;
            postgres.thaw()?;
            frozen?;
            eventually("the service", PATIENCE, async || {
                answer(new_user(&admin, &format!("back-{round}"))).await?;
                answer(chat(&workload)).await?;
                Ok::<_, anyhow::Error>(())
            })
            .await?;
        }
        // What was refused did not happen later.
        let ghosts: Value = answer(admin.get("/users?q=ghost")).await?;
        ensure!(ghosts == json!([]), "{ghosts}");
        ensure!(paddock.process().exited().is_none());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_somebody_else_locks_is_a_503_to_writers_alone() {
    story(async {
        let folder = sentinel::scratch("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let fake = ollama().await?;
        let (_paddock, admin) = Paddock::seeded(launch(&url)?.ollama(&fake.url())).await?;
        let workload = admin.create_workload().await?;

        let mut other = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        try_join_all((0..MANY).map(|n| refused(new_user(&admin, &format!("ghost-{n}"))))).await?;
        answer(admin.get("/users")).await?;
        answer(chat(&workload)).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;

        eventually("the service", PATIENCE, async || answer(new_user(&admin, "back")).await).await?;
        let ghosts: Value = answer(admin.get("/users?q=ghost")).await?;
        ensure!(ghosts == json!([]), "{ghosts}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_whose_other_end_is_gone_make_room_for_new_ones() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let server: PgConnectOptions = url.parse()?;
        let way = Way::to(server.get_host(), server.get_port()).await?;
        let url = url.replace(&format!(":{}/", server.get_port()), &format!(":{}/", way.port()));
        let (_paddock, admin) = Paddock::seeded(launch(&url)?).await?;
        for round in 0..2 {
            // Every connection there may be.
            try_join_all((0..MANY).map(|n| answer(new_user(&admin, &format!("before-{round}-{n}"))))).await?;
            way.forsake();
            // Those that were asked while nobody knew.
            let asked = (0..MANY).map(|n| new_user(&admin, &format!("meanwhile-{round}-{n}")).send());
            for answer in try_join_all(asked).await? {
                ensure!(answer.status().is_success() || answer.status() == 503, "{}", answer.status());
            }
            let all =
                async || try_join_all((0..MANY).map(|n| answer(new_user(&admin, &format!("after-{round}-{n}"))))).await;
            eventually("every connection", PATIENCE * 2, all).await?;
        }
        Ok(())
    })
    .await;
}
