//! Limits that two replicas share: requests per minute through Redis, or counted by each process
//! alone while Redis is down; tokens and concurrency through the database.

mod budgets;
mod redis_down;
mod script_equivalence;
mod two_replicas;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Bootstrap, Caller, Launch, Paddock, fetch_json},
};
use serde_json::{Value, json};

/// The time in which a change must be noticed.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(20);
/// The password of Redis, which must not be logged.
const PASSWORD: &str = "canary-9c2e";

/// Two replicas over one database and one Redis.
struct ReplicaPair {
    replicas: [Paddock; 2],
    admin: Caller,
    bootstrap: Bootstrap,
    _database: Database,
}

/// The answer to a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    limit: Option<u64>,
    remaining: Option<u64>,
    took: Duration,
}

impl ReplicaPair {
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

    /// Sets a user's limit at the first replica.
    async fn set_limit(&self, user: i64, limit: u64) -> Result<()> {
        let limits = json!({"limits": {"requests_per_minute": limit}});
        fetch_json(self.admin.patch(&format!("/users/{user}"), &limits)).await?;
        Ok(())
    }

    /// Creates a user with this limit, and a key for each of these limits. Returns the user's id
    /// and the keys.
    async fn user_with_keys(&self, of_user: u64, of_keys: &[Option<u64>]) -> Result<(i64, Vec<String>)> {
        let user = self.admin.create_user(json!({"roles": ["user"]})).await?;
        self.set_limit(user, of_user).await?;
        let mut keys = Vec::new();
        for limit in of_keys {
            let (_, caller) = self.admin.create_key(user, json!({"limits": {"requests_per_minute": limit}})).await?;
            keys.push(caller.key().to_owned());
        }
        Ok((user, keys))
    }

    /// Sends a request to one replica.
    async fn request(&self, replica: usize, key: &str) -> Result<Answer> {
        let start = Instant::now();
        let answer = self.replicas[replica].caller(key).get("/me").send().await?;
        let number = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        Ok(Answer {
            status: answer.status().as_u16(),
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            took: start.elapsed(),
        })
    }

    /// Sends this many requests at once, to both replicas and with all keys in turn.
    async fn request_many(&self, count: usize, keys: &[String]) -> Result<Vec<Answer>> {
        let requests = (0..count).map(|n| self.request(n % 2, &keys[n / 2 % keys.len()]));
        let answers = try_join_all(requests).await?;
        ensure!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)), "{answers:?}");
        Ok(answers)
    }

    /// Waits until both replicas report that Redis counts, or that it does not.
    async fn wait_until(&self, redis_counts: bool) -> Result<()> {
        for replica in &self.replicas {
            wait_until(replica, redis_counts).await?;
        }
        Ok(())
    }

    /// The number of requests that the processes have counted alone.
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

    /// Asserts that both replicas together admit exactly the limits of a user and a key. Retries
    /// when the machine was too slow, so that a process counted alone or requests were refilled.
    async fn assert_shared(&self, of_user: u64, of_key: u64) -> Result<()> {
        for _ in 0..5 {
            self.wait_until(true).await?;
            let (_, keys) = self.user_with_keys(of_user, &[Some(of_key), None, None]).await?;
            let (before, start) = (self.fallbacks().await?, Instant::now());
            let (narrow, wide) = keys.split_at(1);
            let (of_narrow, of_wide) = (self.request_many(40, narrow).await?, self.request_many(40, wide).await?);
            let in_time = start.elapsed() < Duration::from_secs(60 / of_user);
            if !in_time || self.fallbacks().await? > before {
                continue;
            }
            assert_exact(&of_narrow, of_key, of_key)?;
            // Requests refused by the key's limit do not count for its user.
            return assert_exact(&of_wide, of_user, of_user - of_key);
        }
        bail!("Redis was never in time")
    }
}

/// Asserts that `count` requests were admitted, each with another remaining number, and that all
/// had this limit.
fn assert_exact(answers: &[Answer], limit: u64, count: u64) -> Result<()> {
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

/// Waits until the replica reports in its metrics and its readiness that Redis counts, or that it
/// does not.
async fn wait_until(replica: &Paddock, redis_counts: bool) -> Result<()> {
    let gauge = format!("paddock_shared_limits_available {}", u8::from(redis_counts));
    eventually(&gauge, NOTICE_TIMEOUT, async || {
        let text = metrics(replica).await?;
        ensure!(text.lines().any(|line| line == gauge), "it says otherwise");
        let ready = reqwest::get(format!("{}/readyz", replica.url())).await?.error_for_status()?;
        let ready: Value = ready.json().await?;
        let degraded = ready["degraded"].as_array().is_some_and(|parts| parts.contains(&json!("limits")));
        ensure!(degraded != redis_counts, "{ready}");
        Ok(())
    })
    .await
}
