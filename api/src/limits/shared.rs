//! The buckets of all replicas, in a Redis.
//!
//! One script counts a request in all its buckets or in none, by the clock of the Redis, in one round trip. The keys of a request
//! share a hash tag, `{user:7}`, so that whatever spreads keys over machines keeps them together. Each is gone when its
//! bucket is full again, after some two minutes at most.

use redis::{ErrorKind, RedisResult, Script, aio::ConnectionLike};

use super::{Draw, Owner, Rate, Standing, telling};

/// Draws on this bucket are no request's: they tell whether the Redis counts.
const PROBE: &str = "paddock:requests:{probe}";

/// How requests are counted in a Redis.
pub struct Shared {
    script: Script,
}

impl Default for Shared {
    fn default() -> Self {
        Self { script: Script::new(include_str!("take.lua")) }
    }
}

/// What a Redis answers to a request.
#[derive(Debug)]
pub struct Answer {
    /// Its clock, in microseconds.
    pub now: u64,
    taken: bool,
    /// When each bucket is full again.
    full: Vec<u64>,
}

impl Answer {
    /// How the bucket stands that tells, of those that were drawn on.
    #[must_use]
    pub fn telling(&self, draws: &[Draw]) -> Option<(Owner, Standing)> {
        telling(draws.iter().copied().zip(self.full.iter().copied()), self.now, self.taken)
    }
}

impl Shared {
    /// Counts a request, if all its buckets have room.
    pub async fn count(&self, connection: &mut impl ConnectionLike, draws: &[Draw]) -> RedisResult<Answer> {
        self.take(connection, draws.iter().map(|draw| (key(draw.owner), draw.rate))).await
    }

    /// Whether it can be counted here: the script runs, and may write.
    pub(crate) async fn probe(&self, connection: &mut impl ConnectionLike) -> RedisResult<()> {
        let bucket = (PROBE.to_owned(), Rate::per_minute(u64::MAX));
        self.take(connection, [bucket].into_iter()).await.map(drop)
    }

    /// Leaves the script with the Redis, which otherwise asks for it at the first request.
    pub(crate) async fn load(&self, connection: &mut impl ConnectionLike) -> RedisResult<()> {
        self.script.load_async(connection).await.map(drop)
    }

    async fn take(
        &self,
        connection: &mut impl ConnectionLike,
        buckets: impl Iterator<Item = (String, Rate)>,
    ) -> RedisResult<Answer> {
        let mut call = self.script.prepare_invoke();
        for (key, rate) in buckets {
            call.key(key).arg(rate.limit());
        }
        let numbers: Vec<u64> = call.invoke_async(connection).await?;
        match numbers.as_slice() {
            [now, taken, full @ ..] => Ok(Answer { now: *now, taken: *taken == 1, full: full.to_vec() }),
            _ => Err((ErrorKind::UnexpectedReturnType, "the script answered too little").into()),
        }
    }
}

/// Where a bucket is kept.
fn key(owner: Owner) -> String {
    match owner {
        Owner::User(user) => format!("paddock:requests:{{user:{user}}}"),
        Owner::Sessions(user) => format!("paddock:requests:{{user:{user}}}:sessions"),
        Owner::Key { user, id } => format!("paddock:requests:{{user:{user}}}:key:{id}"),
    }
}
