//! The script in Redis and the arithmetic in memory give the same results.

use anyhow::{Result, ensure};
use paddock_api::rate_limit::{BucketKey, BucketRequest, Memory, Quota, RedisScript};
use paddock_tests::{random::SeededRng, redis::Redis, story::story};
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

/// A limit: usually a small one, whose bucket runs empty, and sometimes an extreme one.
fn random_limit(rng: &mut SeededRng) -> Quota {
    const EXTREMES: [u64; 6] = [0, 1, 7, 59_999_999, 60_000_000, u64::MAX];
    Quota::per_minute(if rng.below(4) == 0 { *rng.pick(&EXTREMES) } else { rng.below(40) })
}

/// Ages every bucket by this many microseconds.
async fn age(connection: &mut MultiplexedConnection, by: u64) -> Result<()> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("paddock:requests:*").query_async(connection).await?;
    for key in keys {
        let stored: Option<String> = redis::cmd("GET").arg(&key).query_async(connection).await?;
        // A full bucket may have expired.
        let Some(stored) = stored else { continue };
        let (full, limit) = stored.split_once(' ').unwrap_or_default();
        let aged = format!("{} {limit}", full.parse::<u64>()?.saturating_sub(by));
        redis::cmd("SET").arg(&key).arg(aged).arg("XX").arg("KEEPTTL").exec_async(connection).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_memory_count_alike() {
    story(async {
        let redis = Redis::start().await?;
        let mut connection = redis.connect().await?;
        let shared = RedisScript::default();
        for round in 0..60 {
            let seed = u64::from_le_bytes(Uuid::new_v4().as_bytes()[..8].try_into()?);
            let (mut rng, memory, mut aged) = (SeededRng::new(seed), Memory::default(), 0);
            let (user, key) = (BucketKey::User(round), BucketKey::Key { user: round, id: 1 });
            let (mut of_user, mut of_key) = (random_limit(&mut rng), random_limit(&mut rng));
            for step in 0..80 {
                match rng.below(12) {
                    0 => of_user = random_limit(&mut rng),
                    1 => of_key = random_limit(&mut rng),
                    2 | 3 => {
                        let by = rng.below(70_000_000);
                        age(&mut connection, by).await?;
                        aged += by;
                    }
                    _ => {}
                }
                let both = [BucketRequest { key: user, quota: of_user }, BucketRequest { key, quota: of_key }];
                let draws = [&both[..], &both[..1], &both[1..]][usize::try_from(rng.below(3))?];
                let answer = shared.count(&mut connection, draws).await?;
                let (counted, expected) = (answer.counted(draws), memory.count(draws, answer.now + aged));
                ensure!(
                    counted == expected,
                    "seed {seed}, step {step}, {draws:?}: {counted:?}, and in memory {expected:?}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_bucket_counts_as_full_and_expires() {
    story(async {
        let redis = Redis::start().await?;
        let mut connection = redis.connect().await?;
        let shared = RedisScript::default();
        let draws = [BucketRequest { key: BucketKey::User(1), quota: Quota::per_minute(5) }];
        let key = "paddock:requests:{user:1}";
        let many = "9".repeat(400);
        for (command, value) in [
            ("SET", "nonsense".to_owned()),
            ("SET", "5 5 5".to_owned()),
            ("SET", "-1 5".to_owned()),
            ("SET", "5 0".to_owned()),
            ("SET", format!("5 {many}")),
            ("LPUSH", "an element".to_owned()),
        ] {
            redis::cmd("DEL").arg(key).exec_async(&mut connection).await?;
            redis::cmd(command).arg(key).arg(&value).exec_async(&mut connection).await?;
            for expected in [4, 3] {
                let answer = shared.count(&mut connection, &draws).await?;
                let remaining = answer.counted(&draws).most_restrictive().map(|(_, standing)| standing.remaining);
                ensure!(remaining == Some(expected), "{command} {value}: {answer:?}");
            }
            let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await?;
            ensure!((1..=24_000).contains(&left), "{left} ms");
        }
        // A bucket that would be full later than an empty one counts as empty.
        redis::cmd("SET").arg(key).arg(format!("{many} 5")).exec_async(&mut connection).await?;
        let answer = shared.count(&mut connection, &draws).await?;
        let wait = answer.counted(&draws).most_restrictive().and_then(|(_, standing)| standing.wait);
        ensure!(wait.is_some_and(|wait| wait.as_secs() == 12), "{answer:?}");
        Ok(())
    })
    .await;
}
