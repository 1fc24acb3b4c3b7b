//! The script in Redis and the arithmetic in memory are one rule.

use anyhow::{Result, ensure};
use paddock_api::rate_limit::{BucketKey, BucketRequest, Memory, Quota, RedisScript};
use paddock_tests::redis::Redis;
use paddock_tests::story::story;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

/// Numbers at random, the same for the same seed.
struct Random(u64);

impl Random {
    /// One below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// A limit: small ones, at which buckets run empty, and those at the edges.
    fn limit(&mut self) -> Quota {
        const EDGES: [u64; 6] = [0, 1, 7, 59_999_999, 60_000_000, u64::MAX];
        Quota::per_minute(if self.below(4) == 0 {
            EDGES[usize::try_from(self.below(6)).unwrap_or(0)]
        } else {
            self.below(40)
        })
    }
}

/// Has this much time pass for every bucket, in microseconds.
async fn age(connection: &mut MultiplexedConnection, by: u64) -> Result<()> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("paddock:requests:*").query_async(connection).await?;
    for key in keys {
        let stored: Option<String> = redis::cmd("GET").arg(&key).query_async(connection).await?;
        // It may be full by now, and gone.
        let Some(stored) = stored else { continue };
        let (full, limit) = stored.split_once(' ').unwrap_or_default();
        let aged = format!("{} {limit}", full.parse::<u64>()?.saturating_sub(by));
        redis::cmd("SET").arg(&key).arg(aged).arg("XX").arg("KEEPTTL").exec_async(connection).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_counts_as_memory_does() {
    story(async {
        let redis = Redis::start().await?;
        let mut connection = redis.connect().await?;
        let shared = RedisScript::default();
        for round in 0..60 {
            let seed = u64::from_le_bytes(Uuid::new_v4().as_bytes()[..8].try_into()?);
            let (mut random, memory, mut aged) = (Random(seed), Memory::default(), 0);
            let (user, key) = (BucketKey::User(round), BucketKey::Key { user: round, id: 1 });
            let (mut of_user, mut of_key) = (random.limit(), random.limit());
            for step in 0..80 {
                match random.below(12) {
                    0 => of_user = random.limit(),
                    1 => of_key = random.limit(),
                    2 | 3 => {
                        let by = random.below(70_000_000);
                        age(&mut connection, by).await?;
                        aged += by;
                    }
                    _ => {}
                }
                let both = [BucketRequest { key: user, quota: of_user }, BucketRequest { key, quota: of_key }];
                let draws = [&both[..], &both[..1], &both[1..]][usize::try_from(random.below(3))?];
                let answer = shared.count(&mut connection, draws).await?;
                let (told, expected) = (answer.most_restrictive(draws), memory.count(draws, answer.now + aged));
                ensure!(told == expected, "seed {seed}, step {step}, {draws:?}: {told:?}, and in memory {expected:?}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bucket_is_a_full_one_and_nothing_stays_for_long() {
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
                let remaining = answer.most_restrictive(&draws).map(|(_, standing)| standing.remaining);
                ensure!(remaining == Some(expected), "{command} {value}: {answer:?}");
            }
            let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await?;
            ensure!((1..=24_000).contains(&left), "{left} ms");
        }
        // One that is full further away than an empty one can be counts as empty.
        redis::cmd("SET").arg(key).arg(format!("{many} 5")).exec_async(&mut connection).await?;
        let answer = shared.count(&mut connection, &draws).await?;
        let wait = answer.most_restrictive(&draws).and_then(|(_, standing)| standing.wait);
        ensure!(wait.is_some_and(|wait| wait.as_secs() == 12), "{answer:?}");
        Ok(())
    })
    .await;
}
