//! The arithmetic of a rate limit: the generic cell rate algorithm (GCRA), with a burst of one
//! minute's worth.
//!
//! A bucket is one number: the time at which the bucket is full again. Each request adds one
//! interval to that time. A request is refused if the new time is more than one minute ahead, which
//! is the time in which an empty bucket fills. A full bucket therefore allows `limit` requests at
//! once, and then one request per interval. Within any minute, a bucket allows at most twice its
//! limit: the burst, and the tokens that it regained during the minute.
//!
//! Times are whole microseconds. All values are below 2^53, so the Redis script, which uses
//! doubles, gets the same results. An interval is rounded up to a microsecond, which slows a limit
//! of *n* by at most *n* / 60,000,000.

use std::time::Duration;

/// A second, in the unit of bucket times.
pub(crate) const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
/// The highest limit per minute. A higher limit counts as this limit.
const MAX_LIMIT: u64 = 60_000_000;

/// A number of requests per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: u64,
    /// The time between two requests at a steady pace, in microseconds.
    interval: u64,
}

/// The status of a bucket after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// The limit of the bucket, in requests a minute.
    pub limit: u64,
    /// How many requests the bucket allows at once.
    pub remaining: u64,
    /// The time until the bucket is full again.
    pub reset: Duration,
    /// The time until the bucket allows the request; `None` if it allowed the request.
    pub wait: Option<Duration>,
}

impl Quota {
    /// Allows `limit` requests a minute.
    #[must_use]
    pub fn per_minute(limit: u64) -> Self {
        let limit = limit.min(MAX_LIMIT);
        Self { limit, interval: if limit == 0 { MINUTE } else { MINUTE.div_ceil(limit) } }
    }

    pub(crate) fn limit(self) -> u64 {
        self.limit
    }

    /// How far ahead of now an empty bucket is full, in microseconds.
    fn span(self) -> u64 {
        self.limit * self.interval
    }

    /// Takes one token at `now` from a bucket that is full at `full`. Returns when the bucket is
    /// full again, or `None` if it is empty.
    ///
    /// The bucket counts as empty if `full` is further ahead than the time of an empty bucket. This
    /// happens if the clock was set back or the limit was lowered.
    pub(crate) fn take(self, full: u64, now: u64) -> Option<u64> {
        let next = self.deficit(full, now) + self.interval;
        (next <= self.span()).then(|| now.saturating_add(next))
    }

    /// Returns one token to the bucket.
    pub(crate) fn refund(self, full: u64) -> u64 {
        full.saturating_sub(self.interval)
    }

    /// The status at `now` of a bucket that is full at `full`. `is_allowed` says whether it allowed
    /// the request.
    pub(crate) fn status(self, full: u64, now: u64, is_allowed: bool) -> LimitStatus {
        let deficit = self.deficit(full, now);
        let wait = if self.limit == 0 { MINUTE } else { (deficit + self.interval).saturating_sub(self.span()) };
        LimitStatus {
            limit: self.limit,
            remaining: (self.span() - deficit) / self.interval,
            reset: Duration::from_micros(deficit),
            wait: (!is_allowed).then(|| Duration::from_micros(wait)),
        }
    }

    /// Converts a bucket to another quota. The number of requests taken from it stays the same.
    pub(crate) fn convert(self, full: u64, now: u64, to: Self) -> u64 {
        let taken = u128::from(self.deficit(full, now)) * u128::from(to.interval) / u128::from(self.interval);
        now.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX).min(to.span()))
    }

    /// The time until the bucket is full, at most the time in which an empty bucket fills.
    fn deficit(self, full: u64, now: u64) -> u64 {
        full.saturating_sub(now).min(self.span())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The highest number of allowed requests within any minute.
    fn max_in_a_minute(allowed: &[u64]) -> u64 {
        let within = |from: &u64| allowed.iter().filter(|at| (*from..*from + MINUTE).contains(*at)).count();
        allowed.iter().map(within).max().unwrap_or_default() as u64
    }

    fn run(quota: Quota, times: &[u64]) -> Vec<u64> {
        let mut full = 0;
        let mut allowed = Vec::new();
        for &now in times {
            if let Some(next) = quota.take(full, now) {
                full = next;
                allowed.push(now);
            }
        }
        allowed
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_limit_and_burst(limit in 0_u64..50, gaps in vec(0_u64..3 * SECOND, 1..300)) {
            let times: Vec<_> = gaps.iter().scan(0, |now, gap| { *now += gap; Some(*now) }).collect();
            prop_assert!(max_in_a_minute(&run(Quota::per_minute(limit), &times)) <= 2 * limit);
        }

        #[test]
        fn another_quota_keeps_the_requests_taken(limit in 1_u64..500, more in 1_u64..500, taken in 0_usize..500) {
            let taken = taken.min(usize::try_from(limit).unwrap());
            let (before, after) = (Quota::per_minute(limit), Quota::per_minute(limit + more));
            let full = before.convert(run_full(before, 0, taken), 0, after);
            prop_assert_eq!(after.status(full, 0, true).remaining, limit + more - taken as u64);
        }

        #[test]
        fn a_full_bucket_allows_the_limit_at_once_and_no_more(limit in 0_u64..500, now in any::<u32>()) {
            let times = vec![u64::from(now); usize::try_from(limit).unwrap() + 10];
            prop_assert_eq!(run(Quota::per_minute(limit), &times).len() as u64, limit);
        }

        #[test]
        fn a_client_that_waits_as_told_is_allowed(limit in 1_u64..MAX_LIMIT, full in any::<u64>(), now in 0_u64..u64::MAX / 4) {
            let quota = Quota::per_minute(limit);
            if quota.take(full, now).is_none() {
                // A time that is too far ahead still counts as an empty bucket at a later moment.
                let full = full.min(now + quota.span());
                let wait = u64::try_from(quota.status(full, now, false).wait.unwrap().as_micros()).unwrap();
                prop_assert!(wait > 0 && wait <= quota.interval);
                prop_assert!(quota.take(full, now + wait).is_some());
                prop_assert!(quota.take(full, now + wait - 1).is_none());
            }
        }

        #[test]
        fn the_remaining_requests_are_allowed(limit in 0_u64..200, spent in 0_usize..250, ahead in 0_u64..2 * MINUTE) {
            let quota = Quota::per_minute(limit);
            let mut full = run_full(quota, 0, spent);
            let remaining = quota.status(full, ahead, true).remaining;
            let mut given = 0;
            while let Some(next) = quota.take(full, ahead) {
                full = next;
                given += 1;
            }
            prop_assert_eq!(given, remaining);
        }

        #[test]
        fn a_refund_undoes_a_take(limit in 1_u64..500, spent in 0_usize..499, now in any::<u32>()) {
            let (quota, now) = (Quota::per_minute(limit), u64::from(now));
            let full = run_full(quota, now, spent);
            if let Some(next) = quota.take(full, now) {
                let remaining = |full| quota.status(full, now, true).remaining;
                prop_assert_eq!(remaining(quota.refund(next)), remaining(full));
            }
        }

        #[test]
        fn a_bucket_is_full_again_after_its_span(limit in 1_u64..1000, spent in 0_usize..2000) {
            let quota = Quota::per_minute(limit);
            let full = run_full(quota, 0, spent);
            prop_assert_eq!(quota.status(full, quota.span(), true).remaining, limit);
            prop_assert!(quota.span() - MINUTE <= limit);
        }

        #[test]
        fn a_clock_that_goes_back_costs_a_minute_at_most(limit in 1_u64..1000, full in any::<u64>(), now in any::<u32>()) {
            let quota = Quota::per_minute(limit);
            let status = quota.status(full, u64::from(now), false);
            prop_assert!(status.reset <= Duration::from_micros(MINUTE + limit));
            prop_assert!(status.wait.unwrap() <= Duration::from_micros(quota.interval));
        }
    }

    fn run_full(quota: Quota, now: u64, times: usize) -> u64 {
        (0..times).fold(0, |full, _| quota.take(full, now).unwrap_or(full))
    }

    #[test]
    fn a_limit_of_zero_allows_nothing() {
        let quota = Quota::per_minute(0);
        assert_eq!(quota.take(0, 0), None);
        assert_eq!(quota.take(0, u64::MAX), None);
        let status = quota.status(0, 0, false);
        assert_eq!((status.limit, status.remaining, status.wait), (0, 0, Some(Duration::from_mins(1))));
    }
}
