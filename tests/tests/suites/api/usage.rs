//! Usage totals over the API: groups, filters, and access rights.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_api::Config;
use paddock_tests::{
    database::Engine,
    eventually::eventually,
    fake_ollama::{Script, chat_lines},
    reaper,
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::{Api, MODEL};

impl Api {
    async fn chat(&self, key: &str) -> Result<()> {
        let request = reqwest::Client::new().post(format!("{}/api/chat", self.contract.url)).bearer_auth(key);
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]});
        request.json(&chat).send().await?.error_for_status()?.text().await?;
        Ok(())
    }

    /// Waits until this many requests are counted.
    async fn wait_for_requests(&self, requests: i64) -> Result<()> {
        eventually(&format!("{requests} requests"), Duration::from_secs(10), async || {
            let totals = self.admin().get("/usage").expect(200).await?;
            ensure!(totals.json[0]["requests"] == requests, "{totals}");
            Ok(())
        })
        .await
    }
}

/// Two users, of whom the first has sent two chats and the second one.
pub(super) struct TwoUsers {
    pub(super) ada: i64,
    pub(super) bob: i64,
    pub(super) adas_key: String,
}

impl TwoUsers {
    pub(super) async fn chat(api: &Api) -> Result<Self> {
        api.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 7)));
        let (ada, adas_key) = api.plain_user().await?;
        let (bob, other) = api.plain_user().await?;
        for key in [&adas_key, &adas_key, &other] {
            api.chat(key).await?;
        }
        api.wait_for_requests(3).await?;
        Ok(Self { ada, bob, adas_key })
    }
}

fn row(user: i64, requests: i64) -> Value {
    json!({
        "user_id": user, "requests": requests, "failed": 0, "prompt_tokens": 31 * requests,
        "cached_prompt_tokens": 0, "completion_tokens": 7 * requests, "estimated": 0
    })
}

fn no_usage() -> Value {
    json!([{
        "requests": 0, "failed": 0, "prompt_tokens": 0, "cached_prompt_tokens": 0, "completion_tokens": 0,
        "estimated": 0
    }])
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn totals_without_requests_are_zero(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let none = api.admin().get("/usage").expect(200).await?;
        assert_eq!((&none.json, none.header("x-total-count")), (&no_usage(), "1"));
        let grouped = api.admin().get("/usage").query(&[("group_by", "user,day")]).expect(200).await?;
        assert_eq!((&grouped.json, grouped.header("x-total-count")), (&json!([]), "0"));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn totals_are_grouped_by_user_page_by_page(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let users = TwoUsers::chat(&api).await?;
        let by_user = api.admin().get("/usage").query(&[("group_by", "user")]).expect(200).await?;
        assert_eq!(by_user.json, json!([row(users.ada, 2), row(users.bob, 1)]));
        let page = [("group_by", "user"), ("limit", "1"), ("offset", "1")];
        let page = api.admin().get("/usage").query(&page).expect(200).await?;
        assert_eq!((&page.json, page.header("x-total-count")), (&json!([row(users.bob, 1)]), "2"));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn totals_are_grouped_by_model_key_and_day(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        TwoUsers::chat(&api).await?;
        let all = api.admin().get("/usage").query(&[("group_by", "model,key,day,user")]).expect(200).await?;
        ensure!(all.json[0]["model"].as_str().is_some_and(|model| model.ends_with(MODEL)), "{all}");
        ensure!(all.json[0]["day"].as_str().is_some_and(|day| day.len() == 10), "{all}");
        ensure!(all.json[0]["credential_id"].is_i64(), "{all}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_the_totals(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let users = TwoUsers::chat(&api).await?;
        let days = api.admin().get("/usage").query(&[("group_by", "day")]).expect(200).await?;
        let day = days.json[0]["day"].as_str().unwrap_or_default().to_owned();
        let before = api.admin().get("/usage").query(&[("to", &day)]).expect(200).await?;
        assert_eq!(before.json, no_usage());
        let since = [("from", day.as_str()), ("model", "library/SmolLM2:135m"), ("user_id", &users.ada.to_string())];
        let since = api.admin().get("/usage").query(&since).expect(200).await?;
        ensure!(since.json[0]["requests"] == 2, "{since}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_shows_the_usage_of_today_and_this_month(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let users = TwoUsers::chat(&api).await?;
        let me = api.by(&users.adas_key).get("/me").expect(200).await?;
        for period in ["today", "this_month"] {
            ensure!(me.json["usage"][period]["requests"] == 2, "{me}");
            ensure!(me.json["usage"][period]["completion_tokens"] == 14, "{me}");
        }
        Ok(())
    })
    .await;
}

/// A user with two keys, of which one may read usage, another user, and the first admin: each key
/// has sent one chat.
struct Readers {
    ada: i64,
    bob: i64,
    reading: i64,
    reader: String,
    without_scope: String,
    bobs_key: String,
    session: String,
}

impl Readers {
    pub(super) async fn chat(api: &Api) -> Result<Self> {
        api.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let ada = api.user(json!({"roles": ["user"]})).await?;
        let (reading, reader) = api.key(ada, json!({"scopes": ["chat", "usage:read"]})).await?;
        let (_, without_scope) = api.key(ada, json!({})).await?;
        let (bob, bobs_key) = api.plain_user().await?;
        let session = api.session().await?;
        for credential in [&reader, &without_scope, &bobs_key, &api.admin, &session] {
            api.chat(credential).await?;
        }
        api.wait_for_requests(5).await?;
        Ok(Self { ada, bob, reading, reader, without_scope, bobs_key, session })
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_the_usage_of_its_own_keys_only(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let readers = Readers::chat(&api).await?;
        let own = api.by(&readers.reader).get("/usage").query(&[("group_by", "user,key")]).expect(200).await?;
        assert_eq!(own.header("x-total-count"), "2");
        ensure!(own.json.as_array().is_some_and(|rows| rows.iter().all(|row| row["user_id"] == readers.ada)), "{own}");
        let key =
            api.by(&readers.reader).get("/usage").query(&[("credential_id", readers.reading)]).expect(200).await?;
        assert_eq!(key.json[0]["requests"], 1);
        api.by(&readers.reader).get("/usage").query(&[("user_id", readers.ada)]).expect(200).await?;
        api.by(&readers.bobs_key).get("/credentials").expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_others_is_refused_like_that_of_missing_rows(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let readers = Readers::chat(&api).await?;
        for (field, others) in [("credential_id", readers.reading + 2), ("user_id", readers.bob)] {
            let mut details = Vec::new();
            for id in [others, 999_999] {
                let refused = api.by(&readers.reader).get("/usage").query(&[(field, id)]).expect(403).await?;
                details.push(refused.text("detail")?);
            }
            assert_eq!(details[0], details[1], "{field}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn usage_needs_its_scope_and_a_role(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let readers = Readers::chat(&api).await?;
        // The right is checked before the parameters.
        api.by(&readers.without_scope).get("/usage").query(&[("limit", "x")]).expect(403).await?;
        api.anonymous().get("/usage").query(&[("limit", "x")]).expect(401).await?;
        let nobody = api.user(json!({})).await?;
        let (_, no_role) = api.key(nobody, json!({})).await?;
        api.by(&no_role).get("/usage").expect(403).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sees_the_usage_of_every_key_and_of_sessions(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let readers = Readers::chat(&api).await?;
        let by_key = api.by(&readers.session).get("/usage").query(&[("group_by", "key")]).expect(200).await?;
        let keys: Vec<&Value> = by_key.json.as_array().into_iter().flatten().map(|row| &row["credential_id"]).collect();
        ensure!(keys.len() == 5 && keys[0].is_null() && keys[1..].iter().all(|id| id.is_i64()), "{by_key}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_named(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for (name, value) in [
            ("from", "yesterday"),
            ("from", "2026-11-01T05:00"),
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
            let refused = api.admin().get("/usage").query(&[(name, value)]).expect(422).await?;
            assert_eq!(refused.pointers(), [format!("?{name}")], "{name}={value}");
        }
        for to in ["2026-11-01", "2026-10-31"] {
            let refused = api.admin().get("/usage").query(&[("from", "2026-11-01"), ("to", to)]).expect(422).await?;
            assert_eq!(refused.pointers(), ["?to"]);
        }
        let both = api.admin().get("/usage").query(&[("from", "x"), ("limit", "y")]).expect(422).await?;
        assert_eq!(both.pointers(), ["?from", "?limit"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_is_a_503_until_there_is_room() {
    story(async {
        let folder = reaper::scratch_dir("spool")?;
        let spool = folder.path().to_owned();
        let configure = |config| Config { usage_spool_dir: Some(spool), usage_spool_limit: 1, ..config };
        let api = Api::start_with(Engine::Sqlite, configure).await?;
        api.fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let (_, key) = api.plain_user().await?;
        api.chat(&key).await?;
        api.wait_for_requests(1).await?;

        let mut other = SqliteConnection::connect(api.database()?.url()).await?;
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
        ensure!(refused.json::<Value>().await?["error"].is_string());
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
        eventually("the gateway", Duration::from_secs(10), async || api.chat(&key).await).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_keys_is_stored_at_shutdown(#[case] engine: Engine) {
    story(async {
        let mut api = Api::start(engine).await?;
        let (_, key) = api.plain_user().await?;
        api.by(&key).get("/me").expect(200).await?;
        let database = api.database.take().context("a database")?;
        api.stop.cancel();
        api.served.await??;
        let unused: Vec<(i64,)> = database.rows("SELECT id FROM credentials WHERE last_used_at IS NULL").await?;
        ensure!(unused.is_empty(), "{unused:?}");
        Ok(())
    })
    .await;
}
