//! Buckets by name: which bucket counts a request, and under which quota.

use std::{hash::Hash, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::quota::{LimitStatus, Quota};

/// How many buckets a process keeps. An evicted bucket is full again.
pub(crate) const BUCKETS_CAPACITY: u64 = 100_000;
/// After this long without a request every bucket is full, so it need not be kept.
const BUCKET_IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// Returns an empty cache of buckets, which evicts the least recently used one.
pub(crate) fn bucket_cache<K, B>(capacity: u64) -> Cache<K, B>
where
    K: Eq + Hash + Send + Sync + 'static,
    B: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(capacity)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_idle(BUCKET_IDLE_TIMEOUT)
        .build()
}

/// Names the bucket that counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BucketKey {
    /// All keys of a user.
    User(i64),
    /// All sessions of a user. They have a bucket separate from the keys, so that the holder of a
    /// stolen key cannot use up the requests of the sessions.
    Sessions(i64),
    /// One key.
    Key {
        /// The user that owns the key.
        user: i64,
        /// The credential's id.
        id: i64,
    },
}

impl BucketKey {
    /// The value of the metric label `limit`.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::User(_) | Self::Sessions(_) => "user",
            Self::Key { .. } => "key",
        }
    }
}

/// A request for one token of a bucket, under the quota that holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRequest {
    /// The bucket.
    pub key: BucketKey,
    /// Its quota.
    pub quota: Quota,
}

/// The buckets of a request after it was counted, or refused by at least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedRequest {
    /// The status of each bucket, in the order of the request. If the request was refused, only the
    /// empty buckets have a wait.
    pub buckets: Vec<(BucketKey, LimitStatus)>,
    is_allowed: bool,
}

impl CountedRequest {
    /// Each bucket comes with the time at which it is full again after the request at `now`, both
    /// in microseconds.
    pub(super) fn new(buckets: impl Iterator<Item = (BucketRequest, u64)>, now: u64, is_allowed: bool) -> Self {
        let status = |(request, full): (BucketRequest, u64)| {
            let had_room = is_allowed || request.quota.take(full, now).is_some();
            (request.key, request.quota.status(full, now, had_room))
        };
        Self { buckets: buckets.map(status).collect(), is_allowed }
    }

    /// Whether every bucket allowed the request.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.is_allowed
    }

    /// Returns the most restrictive bucket: the one with the longest wait if the request was
    /// refused, else the one with the fewest remaining requests. Returns `None` without buckets.
    #[must_use]
    pub fn most_restrictive(&self) -> Option<(BucketKey, LimitStatus)> {
        let buckets = self.buckets.iter().copied();
        if self.is_allowed {
            buckets.min_by_key(|(_, status)| status.remaining)
        } else {
            buckets.max_by_key(|(_, status)| status.wait)
        }
    }
}
