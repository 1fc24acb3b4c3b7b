//! The buckets of one process, in its memory.

use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::Mutex;

use super::{
    bucket::{BUCKETS_CAPACITY, BucketKey, BucketRequest, CountedRequest, bucket_cache},
    quota::Quota,
};

/// A bucket under the quota of its last request.
struct BucketState {
    quota: Quota,
    /// When the bucket is full again, in microseconds.
    full: u64,
}

impl BucketState {
    /// Converts the bucket to another quota, which takes effect at once.
    fn set_quota(&mut self, quota: Quota, now: u64) {
        if self.quota != quota {
            self.full = self.quota.convert(self.full, now, quota);
            self.quota = quota;
        }
    }
}

/// Counts requests for this process alone.
pub struct Memory {
    buckets: Cache<BucketKey, Arc<Mutex<BucketState>>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { buckets: bucket_cache(BUCKETS_CAPACITY) }
    }
}

impl Memory {
    /// Counts a request at `now`, in microseconds, if every bucket allows it.
    #[must_use]
    pub fn count(&self, requests: &[BucketRequest], now: u64) -> CountedRequest {
        let full = |quota| move || Arc::new(Mutex::new(BucketState { quota, full: 0 }));
        let buckets: Vec<_> =
            requests.iter().map(|request| (request, self.buckets.get_with(request.key, full(request.quota)))).collect();
        // The user's bucket is always locked first, so two requests cannot deadlock.
        let mut locked: Vec<_> = buckets
            .iter()
            .map(|(request, bucket)| {
                let mut state = bucket.lock();
                state.set_quota(request.quota, now);
                (**request, state)
            })
            .collect();
        let next: Option<Vec<_>> = locked.iter().map(|(request, state)| request.quota.take(state.full, now)).collect();
        let is_allowed = next.is_some();
        for ((_, state), next) in locked.iter_mut().zip(next.into_iter().flatten()) {
            state.full = next;
        }
        CountedRequest::new(locked.iter().map(|(request, state)| (*request, state.full)), now, is_allowed)
    }

    /// Returns a request that was counted in these buckets.
    pub(super) fn refund(&self, requests: &[BucketRequest]) {
        for request in requests {
            if let Some(bucket) = self.buckets.get(&request.key) {
                let mut state = bucket.lock();
                state.full = state.quota.refund(state.full);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const USER: BucketKey = BucketKey::User(1);
    const KEY: BucketKey = BucketKey::Key { user: 1, id: 1 };

    fn request(key: BucketKey, limit: u64) -> BucketRequest {
        BucketRequest { key, quota: Quota::per_minute(limit) }
    }

    #[test]
    fn a_refused_request_counts_in_no_bucket() {
        let memory = Memory::default();
        let count =
            |user, key, now| memory.count(&[request(USER, user), request(KEY, key)], now).most_restrictive().unwrap();
        for left in (0..2).rev() {
            let (key, status) = count(5, 2, 0);
            assert_eq!((key, status.remaining, status.wait), (KEY, left, None));
        }
        for _ in 0..10 {
            let (key, status) = count(5, 2, 0);
            assert_eq!((key, status.wait), (KEY, Some(Duration::from_secs(30))));
        }
        // The larger quota was charged for two requests, and not for twelve.
        let (key, status) = memory.count(&[request(USER, 5)], 0).most_restrictive().unwrap();
        assert_eq!((key, status.remaining), (USER, 2));
    }

    #[test]
    fn every_bucket_has_a_status_and_only_an_empty_one_a_wait() {
        let memory = Memory::default();
        let count = || memory.count(&[request(USER, 5), request(KEY, 1)], 0);
        let state = |counted: CountedRequest| {
            counted.buckets.into_iter().map(|(key, status)| (key, status.remaining, status.wait)).collect::<Vec<_>>()
        };
        assert_eq!(state(count()), [(USER, 4, None), (KEY, 0, None)]);
        assert_eq!(state(count()), [(USER, 4, None), (KEY, 0, Some(Duration::from_mins(1)))]);
    }

    #[test]
    fn a_refund_returns_the_request_to_every_bucket() {
        let memory = Memory::default();
        let requests = [request(USER, 5), request(KEY, 1)];
        assert!(memory.count(&requests, 0).is_allowed());
        memory.refund(&requests);
        let left: Vec<_> = memory.count(&requests, 0).buckets.iter().map(|(_, status)| status.remaining).collect();
        assert_eq!(left, [4, 0]);
    }

    #[test]
    fn a_request_without_limits_is_not_counted() {
        assert_eq!(Memory::default().count(&[], 0).most_restrictive(), None);
    }

    #[test]
    fn concurrent_requests_stay_within_the_limit() {
        let memory = Memory::default();
        let allowed = || memory.count(&[request(USER, 150), request(KEY, 90)], 0).is_allowed();
        let count = || (0..100).filter(|_| allowed()).count();
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(taken, 90);
    }
}
