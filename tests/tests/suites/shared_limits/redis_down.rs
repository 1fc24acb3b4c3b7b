//! While Redis is down, no request fails or waits for it, and each process counts alone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    paddock::{Launch, Paddock},
    redis::Redis,
    story::story,
};

use super::{PASSWORD, ReplicaPair, wait_until};

/// The time in which a request must be answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time that a request may wait for Redis, before its process notices the fault.
const REDIS_TIMEOUT: Duration = Duration::from_millis(100);

/// A fault of Redis.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Frozen,
    ReadOnly,
    OutOfMemory,
}

impl Fault {
    async fn begin(self, redis: &Redis) -> Result<()> {
        match self {
            Self::Killed => redis.crash().await,
            Self::Frozen => redis.freeze(),
            Self::ReadOnly => command(redis, &["REPLICAOF", "127.0.0.1", "1"]).await,
            Self::OutOfMemory => command(redis, &["CONFIG", "SET", "maxmemory", "1"]).await,
        }
    }

    async fn end(self, redis: &mut Redis) -> Result<()> {
        match self {
            Self::Killed => redis.restart().await,
            Self::Frozen => redis.thaw(),
            Self::ReadOnly => command(redis, &["REPLICAOF", "NO", "ONE"]).await,
            Self::OutOfMemory => command(redis, &["CONFIG", "SET", "maxmemory", "0"]).await,
        }
    }
}

async fn command(redis: &Redis, words: &[&str]) -> Result<()> {
    let (name, arguments) = words.split_first().context("a command")?;
    Ok(redis::cmd(name).arg(arguments).exec_async(&mut redis.connect().await?).await?)
}

/// The number of log lines with this text.
fn count_lines(replica: &Paddock, message: &str) -> usize {
    replica.process().log().text().lines().filter(|line| line.contains(message)).count()
}

/// The log message when Redis counts again.
const REDIS_UP: &str = "this process counts requests in Redis";
/// The log message when Redis does not count.
const REDIS_DOWN: &str = "cannot count requests in Redis";

#[tokio::test(flavor = "multi_thread")]
async fn each_process_counts_alone_until_redis_is_back() {
    story(async {
        let mut redis = Redis::with_password(PASSWORD).await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        for fault in [Fault::Killed, Fault::Frozen, Fault::ReadOnly, Fault::OutOfMemory] {
            pair.assert_shared(6, 2).await.with_context(|| format!("before it is {fault:?}"))?;
            let logged =
                |message| pair.replicas.iter().map(|replica| count_lines(replica, message)).collect::<Vec<_>>();
            let (lost, found) = (logged(REDIS_DOWN), logged(REDIS_UP));
            fault.begin(&redis).await?;
            let checked = Box::pin(assert_counts_alone(&pair)).await;
            let ended = fault.end(&mut redis).await;
            checked.with_context(|| format!("while it is {fault:?}"))?;
            ended?;
            pair.wait_until(true).await?;
            for (before, message) in [(lost, REDIS_DOWN), (found, REDIS_UP)] {
                let once: Vec<_> = before.iter().map(|count| count + 1).collect();
                ensure!(logged(message) == once, "{fault:?}: `{message}`: {:?}, before {before:?}", logged(message));
            }
        }
        pair.assert_shared(6, 2).await?;
        for replica in &pair.replicas {
            ensure!(!replica.process().log().text().contains(PASSWORD), "a password in the log");
        }
        Ok(())
    })
    .await;
}

/// Asserts that each process applies the limit alone, and that no request waits once the fault is
/// noticed.
async fn assert_counts_alone(pair: &ReplicaPair) -> Result<()> {
    let (limit, before) = (4, pair.fallbacks().await?);
    let (_, keys) = pair.user_with_keys(limit, &[None, None]).await?;
    // The first of these requests notice the fault.
    let answers = pair.request_many(60, &keys).await?;
    let allowed = answers.iter().filter(|answer| answer.status == 200).count();
    ensure!(allowed == 8, "{allowed} went through, of 4 at each of two: {answers:?}");
    ensure!(answers.iter().all(|answer| answer.took < ANSWER_TIMEOUT), "{answers:?}");
    let (rounds, start) = (50, Instant::now());
    for _ in 0..rounds {
        let answers = pair.request_many(2, &keys).await?;
        ensure!(answers.iter().all(|answer| answer.status == 429 && answer.limit == Some(limit)), "{answers:?}");
    }
    ensure!(start.elapsed() < rounds * REDIS_TIMEOUT, "{rounds} rounds took {:?}: requests wait", start.elapsed());
    ensure!(pair.fallbacks().await? >= before + 160);
    pair.wait_until(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_starts_without_redis_and_finds_it_later() {
    story(async {
        let mut redis = Redis::with_password(PASSWORD).await?;
        redis.crash().await?;
        let pair = ReplicaPair::start(&redis.url()).await?;
        pair.wait_until(false).await?;
        Box::pin(assert_counts_alone(&pair)).await?;
        redis.restart().await?;
        pair.assert_shared(5, 2).await?;
        for replica in &pair.replicas {
            ensure!((count_lines(replica, REDIS_DOWN), count_lines(replica, REDIS_UP)) == (1, 1));
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_the_connection_counts_as_down() {
    story(async {
        let redis = Redis::with_password("another").await?;
        let wrong = redis.url().replace("another", PASSWORD);
        // This Redis has no TLS.
        let tls = redis.url().replace("redis:", "rediss:");
        for (url, why) in [(wrong, "Password authentication failed"), (tls, REDIS_DOWN)] {
            let database = Database::new(Engine::Sqlite).await?;
            let launch = Launch::new(&["api"], database.url())?.env("REDIS_URL", &url);
            let (paddock, admin) = Paddock::seeded(launch).await?;
            wait_until(&paddock, false).await?;
            admin.get("/me").send().await?.error_for_status()?;
            eventually("the log to say why", ANSWER_TIMEOUT, async || {
                ensure!(count_lines(&paddock, why) == 1, "it does not");
                Ok(())
            })
            .await?;
            let log = paddock.process().log().text();
            ensure!(!log.contains(PASSWORD) && !log.contains("another@"), "a password in the log");
        }
        Ok(())
    })
    .await;
}
