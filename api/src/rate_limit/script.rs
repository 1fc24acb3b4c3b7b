//! The buckets of all replicas, counted by a script in Redis.
//!
//! The script counts a request in all its buckets or in none, by the clock of the Redis, in one
//! round trip. The Redis keys of a request share a hash tag, `{user:7}`, so that a cluster keeps
//! them on one machine. Each Redis key expires when its bucket is full again, after about two
//! minutes at most.

use redis::{ErrorKind, RedisResult, Script, aio::ConnectionLike};

use super::{
    bucket::{BucketKey, BucketRequest, CountedRequest},
    quota::Quota,
};

/// The bucket of probes. No request counts in it.
const PROBE_KEY: &str = "paddock:requests:{probe}";

/// The script that counts requests.
pub struct RedisScript {
    script: Script,
    refund: Script,
}

impl Default for RedisScript {
    fn default() -> Self {
        Self { script: Script::new(include_str!("gcra.lua")), refund: Script::new(include_str!("refund.lua")) }
    }
}

/// The reply of the script to one request.
#[derive(Debug)]
pub struct ScriptReply {
    /// The clock of the Redis, in microseconds.
    pub now: u64,
    is_allowed: bool,
    /// When each bucket is full again, in the order of the requests.
    full: Vec<u64>,
}

impl ScriptReply {
    /// Returns the status of each bucket. `requests` must be the requests of the call.
    #[must_use]
    pub fn counted(&self, requests: &[BucketRequest]) -> CountedRequest {
        CountedRequest::new(requests.iter().copied().zip(self.full.iter().copied()), self.now, self.is_allowed)
    }
}

impl RedisScript {
    /// Counts a request, if every bucket allows it.
    pub async fn count(
        &self,
        connection: &mut impl ConnectionLike,
        requests: &[BucketRequest],
    ) -> RedisResult<ScriptReply> {
        self.take(connection, requests.iter().map(|request| (redis_key(request.key), request.quota))).await
    }

    /// Returns a request that was counted in these buckets.
    pub async fn refund(&self, connection: &mut impl ConnectionLike, requests: &[BucketRequest]) -> RedisResult<()> {
        let mut call = self.refund.prepare_invoke();
        for request in requests {
            call.key(redis_key(request.key)).arg(request.quota.limit());
        }
        call.invoke_async(connection).await
    }

    /// Checks that the Redis runs the script and accepts writes.
    pub(crate) async fn probe(&self, connection: &mut impl ConnectionLike) -> RedisResult<()> {
        let bucket = (PROBE_KEY.to_owned(), Quota::per_minute(u64::MAX));
        self.take(connection, [bucket].into_iter()).await.map(drop)
    }

    /// Loads the script, so that the first request does not need a second round trip.
    pub(crate) async fn load(&self, connection: &mut impl ConnectionLike) -> RedisResult<()> {
        self.script.load_async(connection).await.map(drop)
    }

    async fn take(
        &self,
        connection: &mut impl ConnectionLike,
        buckets: impl Iterator<Item = (String, Quota)>,
    ) -> RedisResult<ScriptReply> {
        let mut call = self.script.prepare_invoke();
        for (key, quota) in buckets {
            call.key(key).arg(quota.limit());
        }
        let numbers: Vec<u64> = call.invoke_async(connection).await?;
        match numbers.as_slice() {
            [now, allowed, full @ ..] => Ok(ScriptReply { now: *now, is_allowed: *allowed == 1, full: full.to_vec() }),
            _ => Err((ErrorKind::UnexpectedReturnType, "the script returned too few values").into()),
        }
    }
}

/// The Redis key of a bucket.
fn redis_key(key: BucketKey) -> String {
    match key {
        BucketKey::User(user) => format!("paddock:requests:{{user:{user}}}"),
        BucketKey::Sessions(user) => format!("paddock:requests:{{user:{user}}}:sessions"),
        BucketKey::Key { user, id } => format!("paddock:requests:{{user:{user}}}:key:{id}"),
    }
}
