//! What was used, as the API shows it, and to whom.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_api::Config;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{Script, chat_lines};
use paddock_tests::sentinel;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::{Api, MODEL, on_both_engines};

on_both_engines! {
    whoever_uses_models_sees_it_added_up,
    everyone_sees_its_own_and_admins_all,
    wrong_parameters_are_named,
}

impl Api {
    async fn chat(&self, key: &str) -> Result<()> {
        let request = reqwest::Client::new().post(format!("{}/api/chat", self.contract.url)).bearer_auth(key);
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]});
        request.json(&chat).send().await?.error_for_status()?.text().await?;
        Ok(())
    }

    /// Waits for so many requests to be counted.
    async fn counted(&self, requests: i64) -> Result<()> {
        eventually(&format!("{requests} requests"), Duration::from_secs(10), async || {
            let totals = self.admin("GET /usage", 0).expect(200).await?;
            ensure!(totals.json[0]["requests"] == requests, "{totals}");
            Ok(())
        })
        .await
    }
}

async fn whoever_uses_models_sees_it_added_up(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    api.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 7)));
    let none = api.admin("GET /usage", 0).expect(200).await?;
    let zero = json!({"requests": 0, "failed": 0, "prompt_tokens": 0, "completion_tokens": 0, "estimated": 0});
    assert_eq!((&none.json, none.header("x-total-count")), (&json!([zero]), "1"));
    let grouped = api.admin("GET /usage", 0).query(&[("group_by", "user,day")]).expect(200).await?;
    assert_eq!((&grouped.json, grouped.header("x-total-count")), (&json!([]), "0"));

    let (ada, key) = api.plain_user().await?;
    let (bob, other) = api.plain_user().await?;
    for key in [&key, &key, &other] {
        api.chat(key).await?;
    }
    api.counted(3).await?;
    let by_user = api.admin("GET /usage", 0).query(&[("group_by", "user")]).expect(200).await?;
    let row = |user, requests: i64| {
        json!({
            "user_id": user, "requests": requests, "failed": 0, "prompt_tokens": 31 * requests,
            "completion_tokens": 7 * requests, "estimated": 0
        })
    };
    assert_eq!(by_user.json, json!([row(ada, 2), row(bob, 1)]));
    let page = [("group_by", "user"), ("limit", "1"), ("offset", "1")];
    let page = api.admin("GET /usage", 0).query(&page).expect(200).await?;
    assert_eq!((&page.json, page.header("x-total-count")), (&json!([row(bob, 1)]), "2"));

    let all = api.admin("GET /usage", 0).query(&[("group_by", "model,key,day,user")]).expect(200).await?;
    let day = all.json[0]["day"].as_str().unwrap_or_default().to_owned();
    ensure!(all.json[0]["model"].as_str().is_some_and(|model| model.ends_with(MODEL)), "{all}");
    ensure!(all.json[0]["credential_id"].is_i64() && day.len() == 10, "{all}");
    let before = api.admin("GET /usage", 0).query(&[("to", &day)]).expect(200).await?;
    assert_eq!(before.json, json!([zero]));
    let since = [("from", day.as_str()), ("model", "library/SmolLM2:135m"), ("user_id", &ada.to_string())];
    let since = api.admin("GET /usage", 0).query(&since).expect(200).await?;
    ensure!(since.json[0]["requests"] == 2, "{since}");

    let me = api.by(&key, "GET /me", 0).expect(200).await?;
    for period in ["today", "this_month"] {
        ensure!(me.json["usage"][period]["requests"] == 2, "{me}");
        ensure!(me.json["usage"][period]["completion_tokens"] == 14, "{me}");
    }
    Ok(())
}

async fn everyone_sees_its_own_and_admins_all(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    api.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
    let ada = api.user(json!({"roles": ["user"]})).await?;
    let (reading, reader) = api.key(ada, json!({"scopes": ["chat", "usage:read"]})).await?;
    let (_, without) = api.key(ada, json!({})).await?;
    let (bob, other) = api.plain_user().await?;
    for key in [&reader, &without, &other] {
        api.chat(key).await?;
    }
    api.chat(&api.admin).await?;
    let session = api.session().await?;
    api.chat(&session).await?;
    api.counted(5).await?;

    let own = api.by(&reader, "GET /usage", 0).query(&[("group_by", "user,key")]).expect(200).await?;
    assert_eq!(own.header("x-total-count"), "2");
    ensure!(own.json.as_array().is_some_and(|rows| rows.iter().all(|row| row["user_id"] == ada)), "{own}");
    // Another's key is none of one's own.
    let others = api.by(&other, "GET /credentials", 0).any().await?.status;
    assert_eq!(others, 403);
    let key = api.by(&reader, "GET /usage", 0).query(&[("credential_id", reading)]).expect(200).await?;
    assert_eq!(key.json[0]["requests"], 1);
    // Another's, or none at all: which it is they are not told.
    let mut said = Vec::new();
    for key in [reading + 2, 999_999] {
        let refused = api.by(&reader, "GET /usage", 0).query(&[("credential_id", key)]).expect(403).await?;
        said.push(refused.text("detail")?);
    }
    assert_eq!(said[0], said[1]);
    api.by(&reader, "GET /usage", 0).query(&[("user_id", ada)]).expect(200).await?;
    // Whether there is such a user or not.
    for user in [bob, 999_999] {
        api.by(&reader, "GET /usage", 0).query(&[("user_id", user)]).expect(403).await?;
    }
    // The right comes first.
    api.by(&without, "GET /usage", 0).query(&[("limit", "x")]).expect(403).await?;
    api.anonymous("GET /usage", 0).query(&[("limit", "x")]).expect(401).await?;
    let nobody = api.user(json!({})).await?;
    let (_, no_role) = api.key(nobody, json!({})).await?;
    api.by(&no_role, "GET /usage", 0).expect(403).await?;

    let by_key = api.by(&session, "GET /usage", 0).query(&[("group_by", "key")]).expect(200).await?;
    let keys: Vec<&Value> = by_key.json.as_array().into_iter().flatten().map(|row| &row["credential_id"]).collect();
    ensure!(keys.len() == 5 && keys[0].is_null() && keys[1..].iter().all(|id| id.is_i64()), "{by_key}");
    Ok(())
}

async fn wrong_parameters_are_named(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    for (name, value) in [
        ("from", "yesterday"),
        ("from", "2026-11-01T00:00:00Z"),
        ("to", "2026-02-30"),
        ("group_by", ""),
        ("group_by", "user,user"),
        ("group_by", "user,cheese"),
        ("user_id", "ada"),
        ("credential_id", "x"),
        ("model", "a b"),
        ("limit", "0"),
        ("limit", "1001"),
        ("offset", "-1"),
        ("since", "2026-11-01"),
    ] {
        let refused = api.admin("GET /usage", 0).query(&[(name, value)]).expect(422).await?;
        assert_eq!(refused.pointers(), [format!("?{name}")], "{name}={value}");
    }
    for to in ["2026-11-01", "2026-10-31"] {
        let refused = api.admin("GET /usage", 0).query(&[("from", "2026-11-01"), ("to", to)]).expect(422).await?;
        assert_eq!(refused.pointers(), ["?to"]);
    }
    let both = api.admin("GET /usage", 0).query(&[("from", "x"), ("limit", "y")]).expect(422).await?;
    assert_eq!(both.pointers(), ["?from", "?limit"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_is_a_503_until_there_is_room() {
    paddock_tests::story::story(async {
        let database = Box::pin(Database::new(Engine::Sqlite)).await?;
        let folder = sentinel::scratch("spool")?;
        let spool = folder.path().to_owned();
        let api = Api::serve(database.url(), |config| Config {
            usage_spool_dir: Some(spool),
            usage_spool_limit: 1,
            ..config
        });
        let api = Box::pin(api).await?;
        api.fake.answer("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let (_, key) = api.plain_user().await?;
        api.chat(&key).await?;
        api.counted(1).await?;

        let mut other = SqliteConnection::connect(database.url()).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        api.chat(&key).await?;
        let refused = eventually("the refusal", Duration::from_secs(10), async || {
            let request = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&key);
            let answer = request.json(&json!({"model": MODEL, "messages": []})).send().await?;
            ensure!(answer.status() == 503, "{}", answer.status());
            Ok(answer)
        });
        let refused = refused.await?;
        ensure!(refused.headers().contains_key("retry-after"));
        ensure!(refused.text().await?.contains("cannot record usage"));
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
        eventually("the gateway", Duration::from_secs(10), async || api.chat(&key).await).await?;

        // At the end of the process, what keys were last used is stored too.
        api.stop.cancel();
        api.served.await??;
        let unused: Vec<(i64,)> = database.rows("SELECT id FROM credentials WHERE last_used_at IS NULL").await?;
        ensure!(unused.is_empty(), "{unused:?}");
        Ok(())
    })
    .await;
}
