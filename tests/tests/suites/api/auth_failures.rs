//! Guessed keys: an address has a limited number of wrong keys per minute, and right keys keep
//! working.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Bootstrap, Caller, Launch, Paddock, fetch_json},
    story::story,
};
use reqwest::{Client, StatusCode};
use rstest::rstest;
use serde_json::json;

/// An address where no server listens.
const NO_OLLAMA: &str = "http://127.0.0.1:1";
const FAILURES_PER_MINUTE: u64 = 60;
/// The guesses that a story sends one after the other.
const GUESSES: usize = 200;
const MISSES: &str = "paddock_credential_cache_misses_total";

/// A well-formed key with the id of this one and another secret, which must be looked up and
/// hashed.
fn forged(real: &str, number: usize) -> String {
    let body = format!("{}{number:043}", &real[.."pdk_".len() + 11]);
    let mut crc = body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    crc = !crc;
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let sum = (0..6).rev().map(|place| char::from(digits[(crc / 62_u32.pow(place) % 62) as usize]));
    body + &sum.collect::<String>()
}

/// The sum of a metric's series with this label.
async fn metric(paddock: &Paddock, name: &str, label: &str) -> Result<u64> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let series = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    series.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<u64>()?)).sum()
}

/// Sends a wrong key, and returns the status: 401 when it was checked, 429 when it was refused
/// unchecked.
async fn guess(caller: &Caller, path: &str) -> Result<StatusCode> {
    let answer = caller.get(path).send().await?;
    let retry: Option<u64> = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    match answer.status() {
        StatusCode::UNAUTHORIZED => {}
        StatusCode::TOO_MANY_REQUESTS => ensure!(retry.is_some_and(|retry| (1..=60).contains(&retry)), "{answer:?}"),
        _ => anyhow::bail!("{answer:?}"),
    }
    Ok(answer.status())
}

/// A server with the failure limit, its first admin, and a user's key.
struct Fixture {
    paddock: Paddock,
    bootstrap: Bootstrap,
    admin: Caller,
    user: i64,
    workload: Caller,
    _database: Database,
}

impl Fixture {
    async fn start(engine: Engine) -> Result<Self> {
        let database = Database::new(engine).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(NO_OLLAMA);
        let launch = launch.env("AUTH_FAILURES_PER_MINUTE", &FAILURES_PER_MINUTE.to_string());
        let bootstrap = launch.seed()?;
        let paddock = launch.start().await?;
        let admin = paddock.caller(&bootstrap.key);
        eventually("the cache to be on", Duration::from_secs(10), async || {
            ensure!(metric(&paddock, "paddock_credential_cache_enabled", "").await? == 1);
            Ok(())
        })
        .await?;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, workload) = admin.create_key(user, json!({})).await?;
        fetch_json(workload.get("/me")).await?;
        Ok(Self { paddock, bootstrap, admin, user, workload, _database: database })
    }

    /// A caller with a forged key.
    fn guesser(&self, number: usize) -> Caller {
        self.paddock.caller(&forged(self.admin.key(), number))
    }

    async fn misses(&self) -> Result<u64> {
        metric(&self.paddock, MISSES, "").await
    }

    /// Guesses beyond the limit, one after the other and at once. Returns the number that was
    /// checked.
    async fn exhaust(&self) -> Result<u64> {
        let mut checked = 0;
        for number in 0..GUESSES {
            let path = ["/me", "/api/version", "/v1/models"][number % 3];
            checked += u64::from(guess(&self.guesser(number), path).await? == 401);
        }
        let crowd: Vec<Caller> = (GUESSES..GUESSES + 100).map(|number| self.guesser(number)).collect();
        let crowd = try_join_all(crowd.iter().map(|caller| guess(caller, "/me"))).await?;
        Ok(checked + crowd.into_iter().filter(|status| *status == 401).count() as u64)
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_limited_number_of_wrong_keys_per_minute(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let (before, began) = (fixture.misses().await?, Instant::now());
        let checked = fixture.exhaust().await?;
        let most = FAILURES_PER_MINUTE + began.elapsed().as_secs() + 1;
        ensure!((FAILURES_PER_MINUTE..=most).contains(&checked), "{checked} were checked, and {most} are allowed");
        // Only checked keys are looked up.
        let looked_up = fixture.misses().await? - before;
        ensure!(looked_up == checked, "{looked_up} were looked up, and {checked} checked");
        let refused = metric(&fixture.paddock, "paddock_rate_limited_total", "limit=\"address\"").await?;
        ensure!(refused >= 300 - checked, "{refused}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_logged_once_a_minute(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let began = Instant::now();
        fixture.exhaust().await?;
        let lines = async || {
            let log = fixture.paddock.process().log().text();
            let lines = log.lines().filter(|line| line.contains("address throttled")).count() as u64;
            ensure!(lines > 0, "no line");
            Ok(lines)
        };
        let lines = eventually("a line", Duration::from_secs(10), lines).await?;
        ensure!(lines <= 1 + began.elapsed().as_secs() / 60, "{lines} lines");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_used_before_works_at_an_exhausted_address(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let Fixture { paddock, bootstrap, admin, user, workload, .. } = &fixture;
        fixture.exhaust().await?;
        fetch_json(workload.get("/me")).await?;
        // The change invalidates the cached key, which is looked up again.
        fetch_json(admin.patch(&format!("/users/{user}"), &json!({"display_name": "Ada"}))).await?;
        fetch_json(workload.get("/me")).await?;
        let credentials = json!({"username": bootstrap.email, "password": bootstrap.password});
        let session = fetch_json(admin.post("/auth/login", &credentials)).await?;
        fetch_json(paddock.caller(session["access_token"].as_str().context("a token")?).get("/me")).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_key_counts_as_a_wrong_one_and_a_missing_key_does_not(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let malformed = (0..70).map(|_| async { guess(&fixture.paddock.caller("pdk_x"), "/me").await });
        ensure!(try_join_all(malformed).await?.contains(&StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(reqwest::get(format!("{}/me", fixture.paddock.url())).await?.status(), 401);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn another_address_has_its_own_limit(#[case] engine: Engine) {
    story(async {
        let fixture = Fixture::start(engine).await?;
        let (_, unused) = fixture.admin.create_key(fixture.user, json!({})).await?;
        fixture.exhaust().await?;
        let elsewhere = Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build()?;
        let from_elsewhere = |key: &str| elsewhere.get(format!("{}/me", fixture.paddock.url())).bearer_auth(key).send();
        assert_eq!(from_elsewhere(fixture.guesser(300).key()).await?.status(), 401);
        assert_eq!(from_elsewhere(unused.key()).await?.status(), 200);
        Ok(())
    })
    .await;
}
