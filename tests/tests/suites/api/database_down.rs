//! Requests while the database does not answer: a prompt 503, no late change, and recovery without
//! a restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    chaos_proxy::ChaosProxy, database::Engine, eventually::eventually, postgres::Postgres, story::story,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Api, MODEL};

/// The part of a refusal's detail that promises that nothing was changed.
const UNCHANGED: &str = "nothing was changed";

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_is_a_503_within_five_seconds() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let server: PgConnectOptions = url.parse()?;
        let proxy = ChaosProxy::start(server.get_host(), server.get_port()).await?;
        let url = proxy.url(&url)?;
        let api = Api::over(&url).await?;
        let session = api.session().await?;
        api.anonymous().get("/readyz").expect(200).await?;

        proxy.set_frozen(true);
        Box::pin(assert_unavailable(&api, &session)).await.context("while the database is frozen")?;
        proxy.set_frozen(false);

        eventually("the API to be back", Duration::from_secs(20), async || {
            api.anonymous().get("/readyz").expect(200).await?;
            api.admin().post("/users").json(&json!({"email": "ada@example.com"})).expect(201).await
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_timed_out_does_not_happen_later() {
    story(async {
        let api = Api::start(Engine::Postgres).await?;
        let url = api.database()?.url();
        let mut other = PgConnection::connect(url).await?;
        sqlx::raw_sql("BEGIN; UPDATE audit_head SET position = position").execute(&mut other).await?;
        let start = Instant::now();
        let user = json!({"email": "ghost@example.com", "external_id": "ghost"});
        let refused = api.admin().post("/users").json(&user).expect(503).await?;
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        assert_eq!(refused.problem(), "unavailable");
        // Only a refusal that is certain says so.
        ensure!(!refused.text("detail")?.contains(UNCHANGED), "{refused}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        // If the user had been created after all, this would answer 200.
        api.admin().post("/users").json(&user).expect(201).await?;
        assert_eq!(api.events(1).await?, ["user_created"]);
        Ok(())
    })
    .await;
}

/// As after a failover, when the name still leads to the former primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_not_ready() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let api = Api::over(&url).await?;
        let mut other = PgConnection::connect(&url).await?;
        let mut set_read_only = async |setting: &str| -> Result<()> {
            let statements = format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {setting}', \
                 current_database()); END $$; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'paddock'"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut other).await?;
            Ok(())
        };
        let user = json!({"email": "ada@example.com"});
        set_read_only("on").await?;
        eventually("the state to be noticed", Duration::from_secs(20), async || {
            let refused = api.anonymous().get("/readyz").expect(503).await?;
            ensure!(refused.problem() == "not-ready", "{refused}");
            ensure!(refused.text("detail")? == "not ready: database", "{refused}");
            Ok(())
        })
        .await?;
        let refused = api.admin().post("/users").json(&user).expect(503).await?;
        ensure!(refused.text("detail")?.contains(UNCHANGED), "{refused}");
        ensure!(!refused.header("retry-after").is_empty(), "{refused}");
        set_read_only("off").await?;
        eventually("the API to be back", Duration::from_secs(20), async || {
            api.anonymous().get("/readyz").expect(200).await?;
            api.admin().post("/users").json(&user).expect(201).await
        })
        .await?;
        Ok(())
    })
    .await;
}

/// Asserts that every kind of request is refused within five seconds.
async fn assert_unavailable(api: &Api, session: &str) -> Result<()> {
    let user = json!({"email": "ada@example.com"});
    let login = json!({"username": "admin@example.com", "password": "x"});
    let requests = [
        api.admin().post("/users").json(&user),
        api.by(session).get("/me"),
        api.anonymous().post("/auth/login").json(&login),
        api.by(session).post("/auth/logout"),
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

    // The gateway refuses in its client's dialect and asks Ollama nothing.
    let chat = json!({"model": MODEL, "messages": []});
    let start = Instant::now();
    let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&api.admin);
    let refused = request.json(&chat).send().await?;
    ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    assert_eq!(refused.status(), 503);
    ensure!(refused.headers().contains_key("retry-after"));
    ensure!(refused.json::<Value>().await?["error"].is_string());
    ensure!(api.fake.inference_requests().is_empty());

    let ready = eventually("the readiness probe to fail", Duration::from_secs(10), async || {
        api.anonymous().get("/readyz").expect(503).await
    });
    let ready = ready.await?;
    ensure!(ready.text("detail")?.contains("database"), "{ready}");
    api.anonymous().get("/healthz").expect(200).await?;
    Ok(())
}
