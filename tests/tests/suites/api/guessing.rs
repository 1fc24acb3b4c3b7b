//! Guessing keys: it costs the server little, and locks out nobody who has one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::{Caller, Launch, Paddock, answer};
use paddock_tests::story::story;
use reqwest::{Client, StatusCode};
use rstest::rstest;
use serde_json::json;

/// Somewhere nobody listens.
const NO_OLLAMA: &str = "http://127.0.0.1:1";
const A_MINUTE: u64 = 60;

/// A well-formed key with the id of this one and another secret, so that it is looked up and hashed.
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

/// The sum of a metric's series that have this in their labels.
async fn metric(paddock: &Paddock, name: &str, label: &str) -> Result<u64> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let series = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    series.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<u64>()?)).sum()
}

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

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn guessing_keys_costs_little_and_locks_out_nobody(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(NO_OLLAMA);
        let launch = launch.env("AUTH_FAILURES_PER_MINUTE", &A_MINUTE.to_string());
        let bootstrap = launch.seed()?;
        let paddock = launch.start().await?;
        let admin = paddock.caller(&bootstrap.key);
        eventually("the cache to be kept", Duration::from_secs(10), async || {
            ensure!(metric(&paddock, "paddock_credential_cache_enabled", "").await? == 1);
            Ok(())
        })
        .await?;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, workload) = admin.create_key(user, json!({})).await?;
        let (_, unused) = admin.create_key(user, json!({})).await?;
        answer(workload.get("/me")).await?;

        let misses = "paddock_credential_cache_misses_total";
        let (before, began) = (metric(&paddock, misses, "").await?, Instant::now());
        // Of the key that is right, when the news that its user has another one comes late.
        let (mut judged, mut others) = (0, 0);
        let key = |number| paddock.caller(&forged(admin.key(), number));
        for number in 0..200 {
            let path = ["/me", "/api/version", "/v1/models"][number % 3];
            judged += u64::from(guess(&key(number), path).await? == 401);
            if number % 20 == 0 {
                let before = metric(&paddock, misses, "").await?;
                answer(workload.get("/me")).await?;
                others += metric(&paddock, misses, "").await? - before;
            }
        }
        // No more at once than one after another.
        let crowd: Vec<Caller> = (200..300).map(key).collect();
        let crowd = try_join_all(crowd.iter().map(|caller| guess(caller, "/me"))).await?;
        judged += crowd.into_iter().filter(|status| *status == 401).count() as u64;
        let most = A_MINUTE + began.elapsed().as_secs() + 1;
        ensure!((A_MINUTE..=most).contains(&judged), "{judged} were judged, and {most} may have been");
        let looked_up = metric(&paddock, misses, "").await? - before - others;
        ensure!(looked_up == judged, "{looked_up} were looked up, and {judged} judged");

        // Who was right before goes on, also when it must be looked up anew; and so does who signs in.
        answer(admin.patch(&format!("/users/{user}"), &json!({"display_name": "Ada"}))).await?;
        answer(workload.get("/me")).await?;
        let credentials = json!({"username": bootstrap.email, "password": bootstrap.password});
        let session = answer(admin.post("/auth/login", &credentials)).await?;
        answer(paddock.caller(session["access_token"].as_str().context("a token")?).get("/me")).await?;
        // What guesses nothing is asked for a credential as ever; what is malformed is a guess as well.
        assert_eq!(reqwest::get(format!("{}/me", paddock.url())).await?.status(), 401);
        ensure!(
            try_join_all((0..70).map(|_| async { guess(&paddock.caller("pdk_x"), "/me").await }))
                .await?
                .contains(&StatusCode::TOO_MANY_REQUESTS)
        );

        // Another address has guesses of its own, and a key that was never used counts there at once.
        let elsewhere = Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build()?;
        let from_elsewhere = |key: &str| elsewhere.get(format!("{}/me", paddock.url())).bearer_auth(key).send();
        assert_eq!(from_elsewhere(&forged(admin.key(), 300)).await?.status(), 401);
        assert_eq!(from_elsewhere(unused.key()).await?.status(), 200);

        ensure!(metric(&paddock, "paddock_rate_limited_total", "limit=\"address\"").await? >= 300 - judged);
        let log = paddock.process().log().text();
        let lines = log.lines().filter(|line| line.contains("one wrong credential after another")).count() as u64;
        ensure!((1..=1 + began.elapsed().as_secs() / 60).contains(&lines), "{lines} lines");
        Ok(())
    })
    .await;
}
