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
    /// All sessions of a user. They are counted apart from the keys, so that the holder of a stolen
    /// key cannot keep the user from signing in and revoking it.
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

/// Returns the status of the most restrictive bucket after a request at `now`: if any bucket is
/// empty, the one with the longest wait; otherwise the one with the fewest requests left. Each
/// bucket comes with the time at which it is full again, in microseconds.
pub(super) fn most_restrictive(
    buckets: impl Iterator<Item = (BucketRequest, u64)>,
    now: u64,
    is_allowed: bool,
) -> Option<(BucketKey, LimitStatus)> {
    let statuses = buckets
        .filter(|(request, full)| is_allowed || request.quota.take(*full, now).is_none())
        .map(|(request, full)| (request.key, request.quota.status(full, now, is_allowed)));
    if is_allowed {
        statuses.min_by_key(|(_, status)| status.remaining)
    } else {
        statuses.max_by_key(|(_, status)| status.wait)
    }
}
