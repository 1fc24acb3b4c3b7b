//! Without the database nothing is promised, and it is said at once; with it back, everything goes on by itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Engine;
use paddock_tests::eventually::eventually;
use paddock_tests::postgres::Postgres;
use paddock_tests::story::story;
use paddock_tests::way::Way;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Api, MODEL};

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_is_a_503_within_five_seconds() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let server: PgConnectOptions = url.parse()?;
        let way = Way::to(server.get_host(), server.get_port()).await?;
        let url = way.url(&url)?;
        let api = Api::on(&url, Duration::from_secs(5)).await?;
        let session = api.session().await?;
        api.anonymous("GET /readyz", 0).expect(200).await?;

        way.freeze(true);
        Box::pin(away(&api, &session)).await.context("while the database is frozen")?;
        way.freeze(false);

        eventually("the API to be back", Duration::from_secs(20), async || {
            api.anonymous("GET /readyz", 0).expect(200).await?;
            api.admin("POST /users", 0).json(&json!({"email": "ada@example.com"})).expect(201).await
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_for_time_does_not_happen_later() {
    story(async {
        let api = Api::start(Engine::Postgres).await?;
        let url = api.database.as_ref().context("a database")?.url();
        let mut other = PgConnection::connect(url).await?;
        sqlx::raw_sql("BEGIN; UPDATE audit_head SET position = position").execute(&mut other).await?;
        let start = Instant::now();
        let user = json!({"email": "ghost@example.com", "external_id": "ghost"});
        let refused = api.admin("POST /users", 0).json(&user).expect(503).await?;
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        ensure!(refused.text("detail")?.contains("not known"), "{refused}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        // Had it been made after all, this would answer 200.
        api.admin("POST /users", 0).json(&user).expect(201).await?;
        assert_eq!(api.events(1).await?, ["user_created"]);
        Ok(())
    })
    .await;
}

/// As after a failover, when the name still leads to what is a standby now.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_changes_is_not_ready() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let api = Api::on(&url, Duration::from_secs(5)).await?;
        let mut other = PgConnection::connect(&url).await?;
        let mut only_reads = async |setting: &str| -> Result<()> {
            let statements = format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {setting}', \
                 current_database()); END $$; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'paddock'"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut other).await?;
            Ok(())
        };
        let user = json!({"email": "ada@example.com"});
        only_reads("on").await?;
        eventually("it to be noticed", Duration::from_secs(20), async || {
            let refused = api.anonymous("GET /readyz", 0).expect(503).await?;
            ensure!(refused.text("detail")? == "not ready: database", "{refused}");
            Ok(())
        })
        .await?;
        let refused = api.admin("POST /users", 0).json(&user).expect(503).await?;
        ensure!(refused.text("detail")?.contains("nothing was changed"), "{refused}");
        ensure!(!refused.header("retry-after").is_empty(), "{refused}");
        only_reads("off").await?;
        eventually("the API to be back", Duration::from_secs(20), async || {
            api.anonymous("GET /readyz", 0).expect(200).await?;
            api.admin("POST /users", 0).json(&user).expect(201).await
        })
        .await?;
        Ok(())
    })
    .await;
}

async fn away(api: &Api, session: &str) -> Result<()> {
    let user = json!({"email": "ada@example.com"});
    let login = json!({"username": "admin@example.com", "password": "x"});
    let requests = [
        api.admin("POST /users", 0).json(&user),
        api.by(session, "GET /me", 0),
        api.anonymous("POST /auth/login", 0).json(&login),
        api.by(session, "POST /auth/logout", 0),
    ];
    let refused = requests.map(async |request| {
        let start = Instant::now();
        let refused = request.expect(503).await?;
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}: {refused}", start.elapsed());
        assert_eq!(refused.problem(), "unavailable");
        ensure!(!refused.header("retry-after").is_empty(), "{refused}");
        Ok::<_, anyhow::Error>(())
    });
    futures_util::future::try_join_all(refused).await?;

    // The gateway says it in its clients' dialect, and does not trouble Ollama.
    let chat = json!({"model": MODEL, "messages": []});
    let start = Instant::now();
    let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&api.admin);
    let refused = request.json(&chat).send().await?;
    ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    assert_eq!(refused.status(), 503);
    ensure!(refused.headers().contains_key("retry-after"));
    ensure!(refused.json::<Value>().await?["error"].is_string());
    ensure!(api.fake.work().is_empty());

    let ready = eventually("readiness to tell", Duration::from_secs(10), async || {
        api.anonymous("GET /readyz", 0).expect(503).await
    });
    let ready = ready.await?;
    ensure!(ready.text("detail")?.contains("database"), "{ready}");
    api.anonymous("GET /healthz", 0).expect(200).await?;
    Ok(())
}
