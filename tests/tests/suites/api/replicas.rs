//! Two replicas over one database: a change at one takes effect at the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use paddock_tests::{
    chaos_proxy::ChaosProxy,
    database::Engine,
    eventually::eventually,
    fake_ollama::{Script, chat_lines},
    postgres::Postgres,
    story::{soak_or, story},
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Api, MODEL, PASSWORD};

/// The time in which a change must reach the other replica.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(1);

const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until the replica refuses the credential.
async fn wait_until_refused(api: &Api, credential: &str, limit: Duration) -> Result<()> {
    eventually("it to be refused", limit, async || api.by(credential).get("/me").expect(401).await).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_at_one_replica_is_refused_at_the_other() {
    story(async {
        let one = Api::start(Engine::Postgres).await?;
        let other = one.replica(one.database()?.url()).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        let rounds = soak_or(200, 20);
        for _ in 0..rounds {
            let (id, key) = one.key(user, json!({})).await?;
            // The second request is answered from the cache.
            for _ in 0..2 {
                other.by(&key).get("/me").expect(200).await?;
            }
            one.admin().post(format!("/credentials/{id}/revoke")).expect(204).await?;
            one.by(&key).get("/me").expect(401).await?;
            wait_until_refused(&other, &key, PROPAGATION_TIMEOUT).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_user_at_one_replica_take_effect_at_the_other() {
    story(async {
        let one = Api::start(Engine::Postgres).await?;
        let other = one.replica(one.database()?.url()).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        let (_, key) = one.key(user, json!({})).await?;
        let patch = async |body| one.admin().patch(format!("/users/{user}")).json(&body).expect(200).await;
        other.by(&key).get("/me").expect(200).await?;
        patch(json!({"is_active": false})).await?;
        wait_until_refused(&other, &key, PROPAGATION_TIMEOUT).await?;
        patch(json!({"is_active": true})).await?;
        eventually("the key to work again", PROPAGATION_TIMEOUT, async || other.by(&key).get("/me").expect(200).await)
            .await?;
        patch(json!({"roles": []})).await?;
        eventually("the role to be gone", PROPAGATION_TIMEOUT, async || {
            let me = other.by(&key).get("/me").expect(200).await?;
            ensure!(me.json["roles"] == json!([]), "{me}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_logs_out_at_one_replica_is_refused_at_the_other() {
    story(async {
        let one = Api::start(Engine::Postgres).await?;
        let other = one.replica(one.database()?.url()).await?;
        let session = one.session().await?;
        other.by(&session).get("/me").expect(200).await?;
        one.by(&session).post("/auth/logout").expect(200).await?;
        wait_until_refused(&other, &session, PROPAGATION_TIMEOUT).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_request_needs_no_database() {
    story(async {
        let api = Api::start(Engine::Postgres).await?;
        let (_, key) = api.plain_user().await?;
        api.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 2)));
        let chat = async || -> Result<()> {
            let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&key);
            let answer = request.json(&json!({"model": MODEL, "messages": []})).send().await?;
            ensure!(answer.status() == 200, "{}", answer.text().await?);
            Ok(())
        };
        eventually("the cache to be on", READY_TIMEOUT, async || {
            let ready = api.anonymous().get("/readyz").expect(200).await?;
            ensure!(ready.json["degraded"] == json!([]), "{ready}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        chat().await?;
        // Queries would wait: this holds every table that authentication reads.
        let mut other = PgConnection::connect(api.database()?.url()).await?;
        sqlx::raw_sql("BEGIN; LOCK TABLE credential_secrets, credentials, users IN ACCESS EXCLUSIVE MODE")
            .execute(&mut other)
            .await?;
        for _ in 0..20 {
            chat().await?;
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_refused_though_the_connections_that_listen_are_cut() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let one = Api::over(&url).await?;
        let other = one.replica(&url).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        for _ in 0..5 {
            let (id, key) = one.key(user, json!({})).await?;
            other.by(&key).get("/me").expect(200).await?;
            cut_listeners(&url).await?;
            one.admin().post(format!("/credentials/{id}/revoke")).expect(204).await?;
            wait_until_refused(&other, &key, Duration::from_secs(5)).await?;
        }
        Ok(())
    })
    .await;
}

/// Within five seconds the replica admits nothing from its cache. Afterwards it admits no revoked
/// key either.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_database_hangs_stops_admitting_keys() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let one = Api::over(&url).await?;
        let server: PgConnectOptions = url.parse()?;
        let proxy = ChaosProxy::start(server.get_host(), server.get_port()).await?;
        let other = one.replica(&proxy.url(&url)?).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        let (id, key) = one.key(user, json!({})).await?;
        other.by(&key).get("/me").expect(200).await?;
        proxy.set_frozen(true);
        one.admin().post(format!("/credentials/{id}/revoke")).expect(204).await?;
        // Five seconds to stop admitting, and as many for the answer that says so.
        eventually("the replica to stop admitting", Duration::from_secs(10), async || {
            other.by(&key).get("/me").expect(503).await
        })
        .await?;
        proxy.set_frozen(false);
        eventually("the replica to be back", Duration::from_secs(20), async || {
            let answer = other.by(&key).get("/me").any().await?;
            ensure!(answer.status != 200, "a revoked key was admitted: {answer}");
            ensure!(answer.status == 401, "{answer}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    })
    .await;
}

/// Ends the database sessions that listen, as a restarted proxy does.
async fn cut_listeners(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    sqlx::raw_sql(query).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_cut_when_its_key_is_revoked_at_the_other_replica() {
    story(async {
        let one = Api::start(Engine::Postgres).await?;
        let other = one.replica(one.database()?.url()).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        let (revoked, key) = one.key(user, json!({})).await?;
        let (_, bystander) = one.key(user, json!({})).await?;
        other.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 500)).every(Duration::from_millis(20)));
        let chat = async |key: &str| -> Result<_> {
            let request = reqwest::Client::new().post(format!("{}/api/chat", other.contract.url)).bearer_auth(key);
            let answer = request.json(&json!({"model": MODEL, "messages": []})).send().await?.error_for_status()?;
            let mut frames = answer.bytes_stream();
            frames.next().await.context("a frame")??;
            Ok(frames)
        };
        let (mut cut, mut goes_on) = (chat(&key).await?, chat(&bystander).await?);
        one.admin().post(format!("/credentials/{revoked}/revoke")).expect(204).await?;
        let start = Instant::now();
        let mut text = Vec::new();
        while let Some(frame) = cut.next().await {
            text.extend_from_slice(&frame?);
        }
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        let text = String::from_utf8(text)?;
        let last: Value = serde_json::from_str(text.lines().last().context("lines")?)?;
        ensure!(last["error"].is_string(), "{last}");
        eventually("the outcome of the stream", READY_TIMEOUT, async || {
            let ended = one.database()?.texts("SELECT status FROM usage").await?;
            ensure!(ended == ["revoked"], "{ended:?}");
            Ok(())
        })
        .await?;
        goes_on.next().await.context("the other key's stream ended too")??;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_replica_works_at_the_other() {
    story(async {
        let one = Api::start(Engine::Postgres).await?;
        let other = one.replica(one.database()?.url()).await?;
        let credentials = json!({"username": "admin@example.com", "password": PASSWORD});
        let login = one.anonymous().post("/auth/login").json(&credentials).expect(200).await?;
        other.by(&login.text("access_token")?).get("/users").expect(200).await?;
        Ok(())
    })
    .await;
}
