//! While Redis does not count: no request fails or waits for it, and each process counts by itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::paddock::{Launch, Paddock};
use paddock_tests::redis::Redis;
use paddock_tests::story::story;

use super::{PASSWORD, Pair, state};

/// The longest that a request may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest that one waits for Redis, of each process those alone that notice.
const DEADLINE: Duration = Duration::from_millis(100);

/// What becomes of Redis.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Killed,
    Frozen,
    ReadOnly,
    OutOfMemory,
}

impl Disturbance {
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

/// How many lines of the log have this message.
fn said(replica: &Paddock, message: &str) -> usize {
    replica.process().log().text().lines().filter(|line| line.contains(message)).count()
}

const COUNTS: &str = "Redis counts the requests of all replicas";
const DOES_NOT: &str = "Redis does not count";

#[tokio::test(flavor = "multi_thread")]
async fn each_process_counts_by_itself_until_it_is_back() {
    story(async {
        let mut redis = Redis::with_password(PASSWORD).await?;
        let pair = Pair::start(&redis.url()).await?;
        for disturbance in [Disturbance::Killed, Disturbance::Frozen, Disturbance::ReadOnly, Disturbance::OutOfMemory] {
            pair.count_together(6, 2).await.with_context(|| format!("before it is {disturbance:?}"))?;
            let told = |message| pair.replicas.iter().map(|replica| said(replica, message)).collect::<Vec<_>>();
            let (lost, found) = (told(DOES_NOT), told(COUNTS));
            disturbance.begin(&redis).await?;
            let alone = Box::pin(alone(&pair)).await;
            let ended = disturbance.end(&mut redis).await;
            alone.with_context(|| format!("while it is {disturbance:?}"))?;
            ended?;
            pair.agree(true).await?;
            for (before, message) in [(lost, DOES_NOT), (found, COUNTS)] {
                let once: Vec<_> = before.iter().map(|count| count + 1).collect();
                ensure!(told(message) == once, "{disturbance:?}: `{message}`: {:?}, before {before:?}", told(message));
            }
        }
        pair.count_together(6, 2).await?;
        for replica in &pair.replicas {
            ensure!(!replica.process().log().text().contains(PASSWORD), "a password in the log");
        }
        Ok(())
    })
    .await;
}

/// The limit holds at each process, and for no request longer than it takes to notice.
async fn alone(pair: &Pair) -> Result<()> {
    let (limit, before) = (4, pair.fallbacks().await?);
    let (_, keys) = pair.keys(limit, &[None, None]).await?;
    // The first of these are the ones that notice.
    let answers = pair.storm(60, &keys).await?;
    let allowed = answers.iter().filter(|answer| answer.status == 200).count();
    ensure!(allowed == 8, "{allowed} went through, of 4 at each of two: {answers:?}");
    ensure!(answers.iter().all(|answer| answer.took < PATIENCE), "{answers:?}");
    let (rounds, start) = (50, Instant::now());
    for _ in 0..rounds {
        let answers = pair.storm(2, &keys).await?;
        ensure!(answers.iter().all(|answer| answer.status == 429 && answer.limit == Some(limit)), "{answers:?}");
    }
    ensure!(start.elapsed() < rounds * DEADLINE, "{rounds} rounds took {:?}: each waits", start.elapsed());
    ensure!(pair.fallbacks().await? >= before + 160);
    pair.agree(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_starts_without_it_and_finds_it_later() {
    story(async {
        let mut redis = Redis::with_password(PASSWORD).await?;
        redis.crash().await?;
        let pair = Pair::start(&redis.url()).await?;
        pair.agree(false).await?;
        Box::pin(alone(&pair)).await?;
        redis.restart().await?;
        pair.count_together(5, 2).await?;
        for replica in &pair.replicas {
            ensure!((said(replica, DOES_NOT), said(replica, COUNTS)) == (1, 1));
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lets_nobody_in_is_as_good_as_away() {
    story(async {
        let redis = Redis::with_password("another").await?;
        let wrong = redis.url().replace("another", PASSWORD);
        // It speaks no TLS.
        let tls = redis.url().replace("redis:", "rediss:");
        for (url, why) in [(wrong, "Password authentication failed"), (tls, "Redis does not count")] {
            let database = Database::new(Engine::Sqlite).await?;
            let launch = Launch::new(&["api"], database.url())?.env("REDIS_URL", &url);
            let (paddock, admin) = Paddock::seeded(launch).await?;
            state(&paddock, false).await?;
            admin.get("/me").send().await?.error_for_status()?;
            eventually("the log to say why", PATIENCE, async || {
                ensure!(said(&paddock, why) == 1, "it does not");
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
