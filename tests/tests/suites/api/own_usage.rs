//! `GET /me/usage`: the caller's usage by key and model, and what is left of its limits.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::{
    Accounts, CredentialId, UserId,
    bootstrap::Seed,
    usage::{UNKNOWN, UsageRecord},
};
use paddock_api::Config;
use paddock_store::clock::Timestamp;
use paddock_tests::{
    database::{Database, Engine},
    random::SeededRng,
    stopped_clock::StoppedClock,
    story::story,
};
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Api, MODEL, PASSWORD, accounts_with_clock, authorization::session_of};

/// The time that the server's clock shows.
const NOW: &str = "2026-11-14T22:13:20Z";
const MODELS: [&str; 2] = ["registry.ollama.ai/library/llama3.2:1b", "registry.ollama.ai/library/smollm2:135m"];

/// The API with a stopped clock, and its accounts, through which stories record usage.
struct OwnUsageFixture {
    api: Api,
    accounts: Accounts,
}

/// A user with two keys, of which the first may read usage.
struct Ada {
    id: i64,
    reading: (i64, String),
    chatting: (i64, String),
}

impl OwnUsageFixture {
    async fn start(engine: Engine) -> Result<Self> {
        Self::start_with(engine, |config| config).await
    }

    async fn start_with(engine: Engine, configure: impl FnOnce(Config) -> Config) -> Result<Self> {
        let database = Box::pin(Database::new(engine)).await?;
        let clock = StoppedClock::at(NOW.parse()?);
        let accounts = Box::pin(accounts_with_clock(database.url(), Arc::new(clock))).await?;
        let seeded = accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
        let admin = seeded.key.context("a key")?.plaintext().expose_secret().to_owned();
        let mut api = Box::pin(Api::serve_accounts(accounts.clone(), admin, configure)).await?;
        api.database = Some(database);
        Ok(Self { api, accounts })
    }

    async fn ada(&self) -> Result<Ada> {
        let id = self.api.user(json!({"roles": ["user"]})).await?;
        let reading = self.api.key(id, json!({"scopes": ["chat", "usage:read"]})).await?;
        let chatting = self.api.key(id, json!({"scopes": ["chat"]})).await?;
        Ok(Ada { id, reading, chatting })
    }

    fn record(&self, user: i64, key: Option<i64>, started_at: &str, tokens: i64) -> Result<UsageRecord> {
        Ok(UsageRecord {
            usage_id: self.accounts.usage().new_id(),
            request_id: "r".into(),
            user_id: UserId(user),
            credential_id: key.map(CredentialId),
            model: MODELS[0].into(),
            endpoint: "/api/chat".into(),
            prompt_tokens: Some(tokens - tokens / 2),
            cached_prompt_tokens: Some(tokens / 4),
            completion_tokens: Some(tokens / 2),
            tokens_estimated: false,
            started_at: started_at.parse()?,
            first_byte_us: None,
            duration_us: 1,
            status: "ok".into(),
            http_status: 200,
        })
    }

    /// Stores one record of the present time for each of these keys; `None` is a session.
    async fn store_each(&self, user: i64, keys: &[Option<i64>]) -> Result<()> {
        let records = keys.iter().map(|key| self.record(user, *key, NOW, 8)).collect::<Result<Vec<_>>>()?;
        self.store(&records).await
    }

    async fn store(&self, records: &[UsageRecord]) -> Result<()> {
        Ok(self.accounts.usage().record(records).await?)
    }

    async fn own_usage(&self, credential: &str) -> Result<Value> {
        Ok(self.api.by(credential).get("/me/usage").expect(200).await?.json)
    }

    /// The key whose usage a credential shows, the number of requests, and the keys of the rows.
    async fn shown(&self, credential: &str) -> Result<(Value, Value, Vec<Value>)> {
        let usage = self.own_usage(credential).await?;
        Ok((usage["credential_id"].clone(), usage["totals"]["requests"].clone(), keys_of(&usage)))
    }
}

/// The keys of the rows, null for sessions.
fn keys_of(usage: &Value) -> Vec<Value> {
    usage["by_key_and_model"].as_array().into_iter().flatten().map(|row| row["credential_id"].clone()).collect()
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_totals_are_those_of_get_usage(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let (ada, mut rng) = (fixture.ada().await?, SeededRng::new(17));
        let keys = [None, Some(ada.reading.0), Some(ada.chatting.0)];
        let mut records = Vec::new();
        for n in 0..60 {
            let day = format!("2026-11-{:02}T12:00:00Z", 1 + rng.below(28));
            let mut record = fixture.record(ada.id, *rng.pick(&keys), &day, n)?;
            record.model = (*rng.pick(&MODELS)).into();
            if rng.below(4) == 0 {
                record.status = UNKNOWN.into();
            }
            records.push(record);
        }
        fixture.store(&records).await?;
        for period in [("2026-11-01", "2026-12-01"), ("2026-11-05", "2026-11-20"), ("2026-11-07", "2026-11-08")] {
            let period = [("from", period.0), ("to", period.1)];
            let get = |path: &str| fixture.api.by(&ada.reading.1).get(path).query(&period);
            let own = get("/me/usage").expect(200).await?;
            assert_eq!(own.json["totals"], get("/usage").expect(200).await?.json[0], "{period:?}");
            let groups = get("/usage").query(&[("group_by", "key,model")]).expect(200).await?;
            assert_eq!(own.json["by_key_and_model"], groups.json, "{period:?}");
            assert_eq!(own.header("x-total-count"), groups.header("x-total-count"));
            assert_eq!([&own.json["from"], &own.json["to"]], [period[0].1, period[1].1]);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_default_period_is_the_current_utc_month(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let ada = fixture.ada().await?;
        let times = [
            ("2026-10-31T23:59:59.999999Z", 1),
            ("2026-11-01T00:00:00Z", 2),
            ("2026-11-30T23:59:59.999999Z", 4),
            ("2026-12-01T00:00:00Z", 8),
        ];
        let records = times.map(|(time, tokens)| fixture.record(ada.id, None, time, tokens));
        let records = records.into_iter().collect::<Result<Vec<_>>>()?;
        fixture.store(&records).await?;
        let usage = fixture.own_usage(&ada.reading.1).await?;
        assert_eq!([&usage["from"], &usage["to"]], ["2026-11-01", "2026-12-01"]);
        let tokens = ["prompt_tokens", "completion_tokens"].map(|kind| usage["totals"][kind].as_i64().unwrap_or(-1));
        assert_eq!(tokens.iter().sum::<i64>(), 2 + 4, "{usage}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_another_user_never_appears(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let ada = fixture.ada().await?;
        let (bob, bobs_key) = fixture.api.plain_user().await?;
        fixture
            .store(&[fixture.record(ada.id, Some(ada.reading.0), NOW, 8)?, fixture.record(bob, None, NOW, 100)?])
            .await?;
        let limits = json!({"limits": {"tokens_per_minute": 50, "tokens_per_day": 50, "tokens_per_month": 50}});
        fixture.api.admin().patch(format!("/users/{}", ada.id)).json(&limits).expect(200).await?;
        for credential in [&ada.reading.1, &session_of(&fixture.api, ada.id).await?] {
            let usage = fixture.own_usage(credential).await?;
            assert_eq!(keys_of(&usage), [json!(ada.reading.0)]);
            assert_eq!(usage["totals"]["requests"], 1);
            for limit in ["tokens_per_minute", "tokens_per_day", "tokens_per_month"] {
                assert_eq!(usage["limits"]["user"][limit]["used"], 8, "{limit}");
            }
        }
        // An admin sees its own usage too, not that of all users.
        assert_eq!(fixture.own_usage(&fixture.api.admin).await?["totals"]["requests"], 0);
        assert_eq!(fixture.shown(&bobs_key).await?.1, 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_shows_other_keys_only_if_it_may_read_usage(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let ada = fixture.ada().await?;
        let (reading, chatting) = (ada.reading.0, ada.chatting.0);
        fixture.store_each(ada.id, &[None, Some(reading), Some(chatting)]).await?;
        let all = vec![json!(null), json!(reading), json!(chatting)];
        assert_eq!(fixture.shown(&ada.reading.1).await?, (json!(null), json!(3), all.clone()));
        assert_eq!(fixture.shown(&ada.chatting.1).await?, (json!(chatting), json!(1), vec![json!(chatting)]));
        let session = session_of(&fixture.api, ada.id).await?;
        assert_eq!(fixture.shown(&session).await?, (json!(null), json!(3), all));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn without_a_role_a_key_shows_itself_and_a_session_the_user(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let user = fixture.api.user(json!({"roles": ["user"]})).await?;
        let (id, key) = fixture.api.key(user, json!({"scopes": ["usage:read"]})).await?;
        let no_role = json!({"roles": []});
        fixture.api.admin().patch(format!("/users/{user}")).json(&no_role).expect(200).await?;
        fixture.store_each(user, &[None, Some(id)]).await?;
        assert_eq!(fixture.shown(&key).await?, (json!(id), json!(1), vec![json!(id)]));
        let session = session_of(&fixture.api, user).await?;
        assert_eq!(fixture.shown(&session).await?, (json!(null), json!(2), vec![json!(null), json!(id)]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_requests_left_are_those_of_the_headers_and_cost_nothing_extra(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let ada = fixture.ada().await?;
        let limits = json!({"limits": {"requests_per_minute": 5}});
        fixture.api.admin().patch(format!("/users/{}", ada.id)).json(&limits).expect(200).await?;
        let (_, narrow) = fixture.api.key(ada.id, json!({"limits": {"requests_per_minute": 3}})).await?;
        for (of_user, of_key) in [(4, 2), (3, 1)] {
            let answer = fixture.api.by(&narrow).get("/me/usage").expect(200).await?;
            let limits = &answer.json["limits"];
            let state = |subject: &str| {
                let limit = &limits[subject]["requests_per_minute"];
                [&limit["limit"], &limit["left"], &limit["is_enforced"]].map(Clone::clone)
            };
            assert_eq!(state("user"), [json!(5), json!(of_user), json!(true)]);
            assert_eq!(state("key"), [json!(3), json!(of_key), json!(true)]);
            assert_eq!(answer.header("x-ratelimit-remaining"), of_key.to_string());
            let resets_at: Timestamp =
                serde_json::from_value(limits["key"]["requests_per_minute"]["resets_at"].clone())?;
            let wait = resets_at.since(NOW.parse()?).as_secs_f64();
            let reset: f64 = answer.header("x-ratelimit-reset").parse()?;
            ensure!(wait > reset - 1.0 && wait <= reset, "{wait} {reset}");
        }
        let other = fixture.own_usage(&ada.reading.1).await?;
        assert_eq!(other["limits"]["user"]["requests_per_minute"]["left"], 2);
        assert_eq!(other["limits"]["key"]["requests_per_minute"], Value::Null);
        // Sessions have a bucket of their own.
        let session = fixture.own_usage(&session_of(&fixture.api, ada.id).await?).await?;
        assert_eq!(session["limits"]["user"]["requests_per_minute"]["left"], 4);
        assert_eq!(session["limits"]["key"], Value::Null);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_left_are_those_of_the_user_and_of_the_key(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let ada = fixture.ada().await?;
        let limits = json!({"limits": {"tokens_per_minute": 10, "tokens_per_day": 100, "tokens_per_month": 1000}});
        fixture.api.admin().patch(format!("/users/{}", ada.id)).json(&limits).expect(200).await?;
        let fields = json!({"limits": {"tokens_per_day": 20, "max_concurrent": 2}});
        let (id, key) = fixture.api.key(ada.id, fields).await?;
        fixture
            .store(&[
                fixture.record(ada.id, Some(id), "2026-11-01T00:00:00Z", 500)?,
                fixture.record(ada.id, None, "2026-11-14T00:00:00Z", 30)?,
                fixture.record(ada.id, Some(id), "2026-11-14T22:13:00Z", 15)?,
            ])
            .await?;
        let limits = &fixture.own_usage(&key).await?["limits"];
        let state = |limit: i64, used: i64, left: i64, resets_at: &str| {
            json!({
                "limit": limit, "used": used, "reserved": 0, "left": left, "resets_at": resets_at, "is_enforced": true
            })
        };
        let tomorrow = "2026-11-15T00:00:00.000000Z";
        assert_eq!(limits["user"]["tokens_per_minute"], state(10, 15, 0, "2026-11-14T22:14:00.000000Z"));
        assert_eq!(limits["user"]["tokens_per_day"], state(100, 45, 55, tomorrow));
        assert_eq!(limits["user"]["tokens_per_month"], state(1000, 545, 455, "2026-12-01T00:00:00.000000Z"));
        assert_eq!(limits["key"]["tokens_per_day"], state(20, 15, 5, tomorrow));
        assert_eq!(
            limits["key"]["max_concurrent"],
            json!({"limit": 2, "in_flight": 0, "left": 2, "is_enforced": true})
        );
        // The minute of the user is used up.
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]});
        let refused = fixture.api.by(&key).post("/api/chat").json(&chat).expect(429).await?;
        assert_eq!(refused.header("retry-after"), "40");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_does_not_apply_is_null(#[case] engine: Engine) {
    story(async {
        let none = json!({
            "requests_per_minute": null, "tokens_per_minute": null, "tokens_per_day": null, "tokens_per_month": null,
            "max_concurrent": null
        });
        let unlimited = |config| Config { requests_per_minute: 0, ..config };
        let fixture = OwnUsageFixture::start_with(engine, unlimited).await?;
        // The client of the contract expects the headers of a limit.
        let asked = reqwest::Client::new().get(format!("{}/me/usage", fixture.api.contract.url));
        let usage: Value = asked.bearer_auth(&fixture.api.admin).send().await?.error_for_status()?.json().await?;
        assert_eq!(usage["limits"], json!({"user": none, "key": none}));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_default_is_a_limit_of_the_user(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start_with(engine, |config| Config { requests_per_minute: 7, ..config }).await?;
        let usage = fixture.own_usage(&fixture.api.admin).await?;
        let limit = &usage["limits"]["user"]["requests_per_minute"];
        assert_eq!((&limit["limit"], &limit["left"]), (&json!(7), &json!(6)));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_rows_have_pages_and_the_totals_stay(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let ada = fixture.ada().await?;
        fixture.store_each(ada.id, &[None, Some(ada.reading.0), Some(ada.chatting.0)]).await?;
        let page = [("limit", 1), ("offset", 1)];
        let page = fixture.api.by(&ada.reading.1).get("/me/usage").query(&page).expect(200).await?;
        assert_eq!((page.header("x-total-count"), keys_of(&page.json)), ("3", vec![json!(ada.reading.0)]));
        assert_eq!(page.json["totals"]["requests"], 3);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_of_the_own_usage_is_named(#[case] engine: Engine) {
    story(async {
        let fixture = OwnUsageFixture::start(engine).await?;
        let refused = async |query: &[(&str, &str)]| {
            let answer = fixture.api.admin().get("/me/usage").query(query).expect(422).await?;
            Ok::<_, anyhow::Error>(answer.pointers().join(" "))
        };
        for (name, value) in [
            ("from", "yesterday"),
            ("from", "2026-11-01T00:00:00Z"),
            ("to", "2026-02-30"),
            ("limit", "1001"),
            ("offset", "-1"),
            ("user_id", "1"),
            ("group_by", "day"),
            // Before the current month, at its end and after it.
            ("to", "2026-11-01"),
            ("from", "2026-12-01"),
            ("from", "2027-01-01"),
        ] {
            assert_eq!(refused(&[(name, value)]).await?, format!("?{name}"), "{name}={value}");
        }
        assert_eq!(refused(&[("from", "2026-11-02"), ("to", "2026-11-02")]).await?, "?to");
        assert_eq!(refused(&[("from", "x"), ("limit", "y")]).await?, "?from ?limit");
        Ok(())
    })
    .await;
}
