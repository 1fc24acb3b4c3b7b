//! Requests a minute, counted by all replicas together in a Redis, and by each alone while that is away.

mod away;
mod rule;
mod together;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::{Bootstrap, Caller, Launch, Paddock, answer};
use serde_json::{Value, json};

/// How long a state may take to be noticed.
const PROMPT: Duration = Duration::from_secs(20);
/// A password of Redis, which may stand nowhere.
const PASSWORD: &str = "canary-9c2e";

/// Two replicas over one database that are told of one Redis.
struct Pair {
    replicas: [Paddock; 2],
    admin: Caller,
    bootstrap: Bootstrap,
    _database: Database,
}

/// How a request was answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    limit: Option<u64>,
    remaining: Option<u64>,
    took: Duration,
}

impl Pair {
    async fn start(redis_url: &str) -> Result<Self> {
        let database = Database::new(Engine::Postgres).await?;
        let launch = || -> Result<Launch> {
            Ok(Launch::new(&["api"], database.url())?.env("REDIS_URL", redis_url).env("LOG_FORMAT", "json"))
        };
        let bootstrap = launch()?.seed()?;
        let replicas = [launch()?.start().await?, launch()?.start().await?];
        let admin = replicas[0].caller(&bootstrap.key);
        Ok(Self { replicas, admin, bootstrap, _database: database })
    }

    /// Gives a user this limit, at the first replica.
    async fn limit(&self, user: i64, limit: u64) -> Result<()> {
        let limits = json!({"limits": {"requests_per_minute": limit}});
        answer(self.admin.patch(&format!("/users/{user}"), &limits)).await?;
        Ok(())
    }

    /// The keys of a new user of this limit, one for each of these limits of theirs.
    async fn keys(&self, of_user: u64, of_keys: &[Option<u64>]) -> Result<(i64, Vec<String>)> {
        let user = self.admin.create_user(json!({"roles": ["user"]})).await?;
        self.limit(user, of_user).await?;
        let mut keys = Vec::new();
        for limit in of_keys {
            let (_, caller) = self.admin.create_key(user, json!({"limits": {"requests_per_minute": limit}})).await?;
            keys.push(caller.key().to_owned());
        }
        Ok((user, keys))
    }

    /// One request at that replica.
    async fn ask(&self, replica: usize, key: &str) -> Result<Answered> {
        let start = Instant::now();
        let answer = self.replicas[replica].caller(key).get("/me").send().await?;
        let number = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        Ok(Answered {
            status: answer.status().as_u16(),
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            took: start.elapsed(),
        })
    }

    /// So many requests at once, over both replicas and all keys in turn.
    async fn storm(&self, count: usize, keys: &[String]) -> Result<Vec<Answered>> {
        let requests = (0..count).map(|n| self.ask(n % 2, &keys[n / 2 % keys.len()]));
        let answers = try_join_all(requests).await?;
        ensure!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)), "{answers:?}");
        Ok(answers)
    }

    /// Waits until both say that Redis counts, or that it does not.
    async fn agree(&self, counts: bool) -> Result<()> {
        for replica in &self.replicas {
            state(replica, counts).await?;
        }
        Ok(())
    }

    /// How many requests they have counted by themselves.
    async fn fallbacks(&self) -> Result<u64> {
        let mut sum = 0;
        for replica in &self.replicas {
            let text = metrics(replica).await?;
            let lines = text.lines().filter(|line| line.starts_with("paddock_shared_limits_fallbacks_total{"));
            for line in lines {
                sum += line.rsplit(' ').next().context("a value")?.parse::<u64>()?;
            }
        }
        Ok(sum)
    }

    /// Both replicas together let through what the limits of a user and of a key say, neither more nor less. What the machine
    /// was too slow for, so that a process has counted by itself or requests came back, is tried again.
    async fn count_together(&self, of_user: u64, of_key: u64) -> Result<()> {
        for _ in 0..5 {
            self.agree(true).await?;
            let (_, keys) = self.keys(of_user, &[Some(of_key), None, None]).await?;
            let (before, start) = (self.fallbacks().await?, Instant::now());
            let (narrow, wide) = keys.split_at(1);
            let (of_narrow, of_wide) = (self.storm(40, narrow).await?, self.storm(40, wide).await?);
            let in_time = start.elapsed() < Duration::from_secs(60 / of_user);
            if !in_time || self.fallbacks().await? > before {
                continue;
            }
            exactly(&of_narrow, of_key, of_key)?;
            // What the key was refused its user has not lost.
            return exactly(&of_wide, of_user, of_user - of_key);
        }
        bail!("Redis was never in time")
    }
}

/// `count` went through, each was told another number of those that are left, and all were told this limit.
fn exactly(answers: &[Answered], limit: u64, count: u64) -> Result<()> {
    ensure!(answers.iter().all(|answer| answer.limit == Some(limit)), "{answers:?}");
    let allowed = answers.iter().filter(|answer| answer.status == 200);
    let mut left: Vec<u64> = allowed.filter_map(|answer| answer.remaining).collect();
    left.sort_unstable();
    ensure!(left == (0..count).collect::<Vec<_>>(), "of {limit}: {left:?}");
    Ok(())
}

async fn metrics(replica: &Paddock) -> Result<String> {
    Ok(reqwest::get(format!("{}/metrics", replica.metrics_url())).await?.error_for_status()?.text().await?)
}

/// Waits until the replica says in its metrics and its readiness that Redis counts, or that it does not.
async fn state(replica: &Paddock, counts: bool) -> Result<()> {
    let gauge = format!("paddock_shared_limits_available {}", u8::from(counts));
    eventually(&gauge, PROMPT, async || {
        let text = metrics(replica).await?;
        ensure!(text.lines().any(|line| line == gauge), "it says otherwise");
        let ready = reqwest::get(format!("{}/readyz", replica.url())).await?.error_for_status()?;
        let ready: Value = ready.json().await?;
        let degraded = ready["degraded"].as_array().is_some_and(|parts| parts.contains(&json!("limits")));
        ensure!(degraded != counts, "{ready}");
        Ok(())
    })
    .await
}
