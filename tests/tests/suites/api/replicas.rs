//! Two replicas over one database: what one of them is told, the other does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{Script, chat_lines};
use paddock_tests::postgres::Postgres;
use paddock_tests::story::{length, story};
use paddock_tests::way::Way;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::{Api, MODEL, PASSWORD};

const DRAIN: Duration = Duration::from_secs(5);
/// How long a change may take to be heard elsewhere.
const PROMPT: Duration = Duration::from_secs(1);

/// Waits until the replica refuses the credential.
async fn refused_at(api: &Api, credential: &str, limit: Duration) -> Result<()> {
    eventually("it to be refused", limit, async || api.by(credential, "GET /me", 0).expect(401).await).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_at_one_is_refused_at_the_other() {
    story(async {
        let database = Box::pin(Database::new(Engine::Postgres)).await?;
        let one = Api::on(database.url(), DRAIN).await?;
        let other = one.replica(database.url()).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        let rounds = length(200, 20);
        for _ in 0..rounds {
            let (id, key) = one.key(user, json!({})).await?;
            // Twice, so that it is answered from memory.
            for _ in 0..2 {
                other.by(&key, "GET /me", 0).expect(200).await?;
            }
            one.admin("POST /credentials/{id}/revoke", id).expect(204).await?;
            one.by(&key, "GET /me", 0).expect(401).await?;
            refused_at(&other, &key, PROMPT).await?;
        }

        // Whatever else takes a right away does it there too.
        let (_, key) = one.key(user, json!({})).await?;
        other.by(&key, "GET /me", 0).expect(200).await?;
        one.admin("PATCH /users/{id}", user).json(&json!({"is_active": false})).expect(200).await?;
        refused_at(&other, &key, PROMPT).await?;
        one.admin("PATCH /users/{id}", user).json(&json!({"is_active": true})).expect(200).await?;
        eventually("the key to count again", PROMPT, async || other.by(&key, "GET /me", 0).expect(200).await).await?;
        one.admin("PATCH /users/{id}", user).json(&json!({"roles": []})).expect(200).await?;
        eventually("the role to be gone", PROMPT, async || {
            let me = other.by(&key, "GET /me", 0).expect(200).await?;
            ensure!(me.json["roles"] == json!([]), "{me}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let session = one.session().await?;
        other.by(&session, "GET /me", 0).expect(200).await?;
        one.by(&session, "POST /auth/logout", 0).expect(200).await?;
        refused_at(&other, &session, PROMPT).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_request_asks_no_database() {
    story(async {
        let database = Box::pin(Database::new(Engine::Postgres)).await?;
        let api = Api::on(database.url(), DRAIN).await?;
        let (_, key) = api.plain_user().await?;
        api.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 2)));
        let chat = async || -> Result<()> {
            let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&key);
            let answer = request.json(&json!({"model": MODEL, "messages": []})).send().await?;
            ensure!(answer.status() == 200, "{}", answer.text().await?);
            Ok(())
        };
        eventually("the cache to be kept", DRAIN, async || {
            let ready = api.anonymous("GET /readyz", 0).expect(200).await?;
            ensure!(ready.json["degraded"] == json!([]), "{ready}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        chat().await?;
        // Were it asked, it would not answer: this holds every row that it could be asked for.
        let mut other = PgConnection::connect(database.url()).await?;
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
async fn who_cannot_hear_of_changes_asks() {
    story(async {
        let url = Box::pin(Postgres::shared()).await?.empty_database().await?;
        let one = Api::on(&url, DRAIN).await?;
        let server: PgConnectOptions = url.parse()?;
        let way = Way::to(server.get_host(), server.get_port()).await?;
        let other = one.replica(&way.url(&url)?).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;

        // Its connections are cut, again and again, while rights are taken away.
        for _ in 0..5 {
            let (id, key) = one.key(user, json!({})).await?;
            other.by(&key, "GET /me", 0).expect(200).await?;
            cut_listeners(&url).await?;
            one.admin("POST /credentials/{id}/revoke", id).expect(204).await?;
            refused_at(&other, &key, Duration::from_secs(5)).await?;
        }

        // The database hangs for it: within five seconds nothing is admitted on old knowledge, and none afterwards either.
        let (id, key) = one.key(user, json!({})).await?;
        eventually("the way to be open", DRAIN, async || other.by(&key, "GET /me", 0).expect(200).await).await?;
        way.freeze(true);
        one.admin("POST /credentials/{id}/revoke", id).expect(204).await?;
        // Five seconds to stop admitting, and as many for the answer that says so.
        eventually("it to stop admitting", Duration::from_secs(10), async || {
            other.by(&key, "GET /me", 0).expect(503).await
        })
        .await?;
        way.freeze(false);
        eventually("it to be back", Duration::from_secs(20), async || {
            let answer = other.by(&key, "GET /me", 0).any().await?;
            ensure!(answer.status != 200, "a revoked key was admitted: {answer}");
            ensure!(answer.status == 401, "{answer}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    })
    .await;
}

/// Ends the sessions that listen, as a restarted proxy would.
async fn cut_listeners(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    sqlx::raw_sql(query).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_cut_when_its_right_ends() {
    story(async {
        let database = Box::pin(Database::new(Engine::Postgres)).await?;
        let one = Api::on(database.url(), DRAIN).await?;
        let other = one.replica(database.url()).await?;
        let user = one.user(json!({"roles": ["user"]})).await?;
        let (revoked, key) = one.key(user, json!({})).await?;
        let (_, bystander) = one.key(user, json!({})).await?;
        other.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 500)).every(Duration::from_millis(20)));
        let chat = async |key: &str| -> Result<_> {
            let request = reqwest::Client::new().post(format!("{}/api/chat", other.contract.url)).bearer_auth(key);
            let answer = request.json(&json!({"model": MODEL, "messages": []})).send().await?.error_for_status()?;
            let mut frames = answer.bytes_stream();
            frames.next().await.context("a frame")??;
            Ok(frames)
        };
        let (mut cut, mut goes_on) = (chat(&key).await?, chat(&bystander).await?);
        one.admin("POST /credentials/{id}/revoke", revoked).expect(204).await?;
        let start = Instant::now();
        let mut text = Vec::new();
        while let Some(frame) = cut.next().await {
            text.extend_from_slice(&frame?);
        }
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        let text = String::from_utf8(text)?;
        let last: Value = serde_json::from_str(text.lines().last().context("lines")?)?;
        ensure!(last["error"].as_str().is_some_and(|error| error.contains("right")), "{last}");
        goes_on.next().await.context("the other key's stream ended too")??;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_the_same_at_both() {
    story(async {
        let database = Box::pin(Database::new(Engine::Postgres)).await?;
        let one = Api::on(database.url(), DRAIN).await?;
        let other = one.replica(database.url()).await?;
        let credentials = json!({"username": "admin@example.com", "password": PASSWORD});
        let login = one.anonymous("POST /auth/login", 0).json(&credentials).expect(200).await?;
        other.by(&login.text("access_token")?, "GET /users", 0).expect(200).await?;
        Ok(())
    })
    .await;
}
