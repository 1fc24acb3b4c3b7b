//! The rate limiter: finds the buckets of a request and counts it in Redis or in memory.

use std::time::Duration;

use metrics::counter;
use paddock_accounts::{
    UserId,
    access::{AuthMethod, Principal},
    types::Limits,
};
use tokio::time::Instant;

use super::{
    bucket::{BucketKey, BucketRequest, CountedRequest},
    headers::{CountedIn, RateLimitStatus},
    memory::Memory,
    quota::Quota,
    redis::RedisLimiter,
};

/// Counts requests against the limits of users and keys.
pub(crate) struct RateLimiter {
    /// Requests a minute of users without a limit of their own; `None` means unlimited.
    default_limit: Option<u64>,
    started: Instant,
    memory: Memory,
    /// Counts requests for all replicas; `None` if each process counts separately.
    redis: Option<RedisLimiter>,
}

/// The request exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    subject: &'static str,
    limit: u64,
    /// How long the client must wait until a request is allowed.
    pub(crate) wait: Duration,
}

impl Exceeded {
    /// The error message for the client.
    pub(crate) fn message(&self) -> String {
        match self.limit {
            0 => format!("this {} may make no requests: its limit is 0 a minute", self.subject),
            limit => format!("this {} may make {limit} requests a minute; come back later", self.subject),
        }
    }
}

impl RateLimiter {
    /// `default_limit` is the number of requests a minute for users without a limit of their own; 0
    /// means unlimited.
    pub(crate) fn new(default_limit: u64, redis: Option<RedisLimiter>) -> Self {
        let default_limit = (default_limit > 0).then_some(default_limit);
        Self { default_limit, started: Instant::now(), memory: Memory::default(), redis }
    }

    /// Counts a request of the principal in every bucket that concerns it, or in none if one of
    /// them is empty.
    pub(crate) async fn admit(&self, principal: &Principal, status: &RateLimitStatus) -> Result<(), Exceeded> {
        self.check(&self.bucket_requests(principal), status).await
    }

    /// Returns a counted request of the principal, which another limit refuses.
    pub(crate) async fn refund(&self, principal: &Principal, status: &RateLimitStatus) {
        match (status.refund(), &self.redis) {
            (None, _) | (Some(CountedIn::Redis), None) => {}
            (Some(CountedIn::Memory), _) => self.memory.refund(&self.bucket_requests(principal)),
            (Some(CountedIn::Redis), Some(redis)) => redis.refund(&self.bucket_requests(principal)).await,
        }
    }

    /// Counts the refresh of a session, which has no principal yet.
    pub(crate) async fn admit_session(
        &self,
        user: UserId,
        limits: &Limits,
        status: &RateLimitStatus,
    ) -> Result<(), Exceeded> {
        let request = self.user_bucket(BucketKey::Sessions(user.0), limits);
        self.check(request.as_slice(), status).await
    }

    async fn check(&self, requests: &[BucketRequest], reported: &RateLimitStatus) -> Result<(), Exceeded> {
        if requests.is_empty() {
            return Ok(());
        }
        let (counted, place) = self.count(requests).await;
        let most_restrictive = counted.most_restrictive();
        reported.set(counted, place);
        let Some((key, status)) = most_restrictive else { return Ok(()) };
        let Some(wait) = status.wait else { return Ok(()) };
        counter!("paddock_rate_limited_total", "limit" => key.text()).increment(1);
        Err(Exceeded { subject: key.text(), limit: status.limit, wait })
    }

    /// The buckets that concern a request of this principal, the user's first.
    fn bucket_requests(&self, principal: &Principal) -> Vec<BucketRequest> {
        let user = principal.user_id.0;
        let (user_key, of_key) = match &principal.via {
            AuthMethod::Key { credential_id, limits, .. } => {
                let key = BucketKey::Key { user, id: credential_id.0 };
                (BucketKey::User(user), per_minute(limits).map(|limit| bucket_request(key, limit)))
            }
            AuthMethod::Session { .. } => (BucketKey::Sessions(user), None),
        };
        self.user_bucket(user_key, &principal.limits).into_iter().chain(of_key).collect()
    }

    fn user_bucket(&self, key: BucketKey, limits: &Limits) -> Option<BucketRequest> {
        per_minute(limits).or(self.default_limit).map(|limit| bucket_request(key, limit))
    }

    async fn count(&self, requests: &[BucketRequest]) -> (CountedRequest, CountedIn) {
        if let Some(redis) = &self.redis
            // The future is large, and most requests do not need it.
            && let Ok(counted) = Box::pin(redis.count(requests)).await
        {
            return (counted, CountedIn::Redis);
        }
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        (self.memory.count(requests, now), CountedIn::Memory)
    }

    /// Probes the Redis for as long as this is polled, and reconnects to it.
    pub(crate) async fn run_probes(&self) {
        if let Some(redis) = &self.redis {
            redis.run_probes().await;
        }
    }

    /// Probes the Redis once.
    pub(crate) async fn probe(&self) {
        if let Some(redis) = &self.redis {
            redis.probe().await;
        }
    }
}

fn per_minute(limits: &Limits) -> Option<u64> {
    limits.requests_per_minute.map(|limit| u64::try_from(limit).unwrap_or(0))
}

fn bucket_request(key: BucketKey, limit: u64) -> BucketRequest {
    BucketRequest { key, quota: Quota::per_minute(limit) }
}
