//! Limits of tokens and of concurrent requests over two replicas.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, future::try_join_all};
use paddock_accounts::{Accounts, UserId, passwords::PasswordPolicy, sessions::SessionKey};
use paddock_store::{
    OpenOptions,
    audit::Chain,
    clock::{Clock as _, SystemClock},
};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{End, FakeOllama, Script, chat_lines},
    paddock::{Launch, Paddock, fetch_json},
    process::Signal,
    redis::Redis,
    stopped_clock::StoppedClock,
    story::story,
};
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};

use super::NOTICE_TIMEOUT;

const MODEL: &str = "smollm2:135m";
const SIGNING_KEY: &str = "a signing key of thirty-two bytes";
/// Half of the time after which a process without a heartbeat holds no reservation. Heartbeats come
/// every 20 seconds.
const HALF_LEASE: Duration = Duration::from_secs(30);

/// Two replicas in front of one Ollama, whose streams do not end.
struct BudgetFixture {
    replicas: [Paddock; 2],
    admin_key: String,
    database: Database,
    _fake: FakeOllama,
}

impl BudgetFixture {
    async fn start(redis_url: Option<&str>) -> Result<Self> {
        let fake = FakeOllama::start(&[MODEL]).await?;
        fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1).take(1)).ending(End::Hang));
        let database = Database::new(Engine::Postgres).await?;
        let launch = || -> Result<Launch> {
            let launch =
                Launch::new(&["api"], database.url())?.ollama(&fake.url()).env("AUDIT_SIGNING_KEY", SIGNING_KEY);
            Ok(redis_url.into_iter().fold(launch, |launch, url| launch.env("REDIS_URL", url)))
        };
        let admin_key = launch()?.seed()?.key;
        let replicas = [launch()?.start().await?, launch()?.start().await?];
        Ok(Self { replicas, admin_key, database, _fake: fake })
    }

    /// Creates a user with these limits, and returns its id and a key.
    async fn limited(&self, limits: Value) -> Result<(i64, String)> {
        let admin = self.replicas[0].caller(&self.admin_key);
        let user = admin.create_user(json!({"roles": ["user"], "limits": limits})).await?;
        Ok((user, admin.create_key(user, json!({})).await?.1.key().to_owned()))
    }

    /// Sends a chat whose response may have 100 tokens.
    async fn send(&self, replica: usize, key: &str) -> Result<Response> {
        let messages = json!([{"role": "user", "content": "Say hello."}]);
        let body = json!({"model": MODEL, "messages": messages, "options": {"num_predict": 100}});
        Ok(self.replicas[replica].caller(key).post("/api/chat", &body).send().await?)
    }

    async fn limit(&self, key: &str, name: &str) -> Result<Value> {
        Ok(fetch_json(self.replicas[1].caller(key).get("/me/usage")).await?["limits"]["user"][name].clone())
    }
}

/// The streams that were admitted. Asserts that the others were refused.
fn admitted(answers: Vec<Response>) -> Result<Vec<Response>> {
    ensure!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 200 | 429)), "{answers:?}");
    Ok(answers.into_iter().filter(|answer| answer.status() == 200).collect())
}

#[rstest]
#[case::postgres(false)]
#[case::redis(true)]
#[tokio::test(flavor = "multi_thread")]
async fn fifty_parallel_streams_stay_within_a_budget_for_ten(#[case] has_redis: bool) {
    story(async {
        let redis = if has_redis { Some(Redis::start().await?) } else { None };
        let url = redis.as_ref().map(Redis::url);
        let replicas = BudgetFixture::start(url.as_deref()).await?;
        // Each request reserves 100 tokens and its prompt of about ten.
        let (_, key) = replicas.limited(json!({"tokens_per_day": 1000, "requests_per_minute": 1000})).await?;
        let open = admitted(try_join_all((0..50).map(|n| replicas.send(n % 2, &key))).await?)?;
        assert_eq!(open.len(), 10);
        let today = replicas.limit(&key, "tokens_per_day").await?;
        let reserved = today["reserved"].as_i64().context("a number")?;
        ensure!((1000..1000 + 120).contains(&reserved), "{today}");
        // Refused requests took nothing from the other limit.
        eventually("the requests left", NOTICE_TIMEOUT, async || {
            let requests = replicas.limit(&key, "requests_per_minute").await?;
            ensure!(requests["left"].as_i64().is_some_and(|left| left >= 985) || !has_redis, "{requests}");
            Ok(())
        })
        .await?;
        drop(open);
        eventually("a settled budget", NOTICE_TIMEOUT, async || {
            let today = replicas.limit(&key, "tokens_per_day").await?;
            ensure!(today["reserved"] == 0, "{today}");
            Ok(())
        })
        .await?;
        replicas.send(1, &key).await?.error_for_status()?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_at_both_replicas_share_one_limit() {
    story(async {
        let replicas = BudgetFixture::start(None).await?;
        let (_, key) = replicas.limited(json!({"max_concurrent": 3})).await?;
        let open = admitted(try_join_all((0..12).map(|n| replicas.send(n % 2, &key))).await?)?;
        assert_eq!(open.len(), 3);
        assert_eq!(replicas.limit(&key, "max_concurrent").await?["in_flight"], 3);
        drop(open);
        eventually("free places", NOTICE_TIMEOUT, async || {
            let mut frames = replicas.send(1, &key).await?.error_for_status()?.bytes_stream();
            frames.next().await.context("a frame")??;
            Ok::<_, anyhow::Error>(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_holds_its_reservations_for_its_lease() {
    story(async {
        let replicas = BudgetFixture::start(None).await?;
        let (user, key) = replicas.limited(json!({"max_concurrent": 3})).await?;
        let open = try_join_all((0..3).map(|_| replicas.send(0, &key))).await?;
        assert_eq!(admitted(open)?.len(), 3);
        replicas.replicas[0].process().signal(Signal::Kill)?;
        replicas.replicas[0].process().wait_for_exit(NOTICE_TIMEOUT).await?;
        // The last heartbeat came between its interval ago and now.
        let killed = SystemClock.now();
        let clock = StoppedClock::at(killed);
        let options = OpenOptions { max_connections: 4, ..OpenOptions::new(replicas.database.url().into()) };
        let (chain, sessions) = (Chain::new(&SIGNING_KEY.into()), SessionKey::new(&SIGNING_KEY.into(), "HS256")?);
        let accounts =
            Accounts::open(&options, chain, sessions, PasswordPolicy::default(), Arc::new(clock.clone())).await?;
        let in_flight = async || anyhow::Ok(accounts.usage().token_windows(UserId(user), None).await?.in_flight);
        clock.advance(HALF_LEASE);
        assert_eq!(in_flight().await?, 3);
        clock.advance(HALF_LEASE);
        assert_eq!(in_flight().await?, 0);
        accounts.close().await;
        Ok(())
    })
    .await;
}
