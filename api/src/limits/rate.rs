//! The rule of a rate limit, as arithmetic: the generic cell rate algorithm, with a burst of one minute's worth.
//!
//! A bucket is one number: the time at which it is full again. Each request moves that time on by one interval, and is
//! refused if that led further than the span of a whole bucket into the future. So a full bucket gives `limit` requests at
//! once, then one each interval; in any minute at most twice the limit, the burst and what came back meanwhile.
//!
//! Times are whole microseconds, so that a script in Redis, whose numbers are doubles, computes the very same. An interval is
//! rounded up to one: that costs a limit of *n* at most *n* / 60,000,000 of its pace.

use std::time::Duration;

/// What the times of buckets are counted in.
pub(super) const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
/// The highest limit that is told from a higher one, per minute.
const HIGHEST: u64 = 60_000_000;

/// Requests in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    limit: u64,
    /// From one request to the next, at a steady pace.
    interval: u64,
}

/// How a bucket stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit of the bucket.
    pub limit: u64,
    /// How many requests it would allow at once.
    pub remaining: u64,
    /// When it is full again.
    pub reset: Duration,
    /// When it would allow the request, if it does not now.
    pub wait: Option<Duration>,
}

impl Rate {
    /// So many requests a minute.
    #[must_use]
    pub fn per_minute(limit: u64) -> Self {
        let limit = limit.min(HIGHEST);
        Self { limit, interval: if limit == 0 { MINUTE } else { MINUTE.div_ceil(limit) } }
    }

    pub(crate) fn limit(self) -> u64 {
        self.limit
    }

    /// How far into the future a bucket may be emptied.
    fn span(self) -> u64 {
        self.limit * self.interval
    }

    /// What a request at `now` makes of a bucket that is full at `full`, or `None` if it is refused.
    ///
    /// A bucket that is full further away than an empty one can be, because the clock went back or the limit was
    /// lowered, counts as empty and no worse.
    pub(crate) fn take(self, full: u64, now: u64) -> Option<u64> {
        let next = self.since(full, now) + self.interval;
        (next <= self.span()).then(|| now.saturating_add(next))
    }

    /// The bucket with one request less taken from it.
    pub(super) fn give_back(self, full: u64) -> u64 {
        full.saturating_sub(self.interval)
    }

    /// How a bucket that is full at `full` stands at `now`; `taken` says whether it allowed the request.
    pub(crate) fn standing(self, full: u64, now: u64, taken: bool) -> Standing {
        let owed = self.since(full, now);
        let wait = if self.limit == 0 { MINUTE } else { (owed + self.interval).saturating_sub(self.span()) };
        Standing {
            limit: self.limit,
            remaining: (self.span() - owed) / self.interval,
            reset: Duration::from_micros(owed),
            wait: (!taken).then(|| Duration::from_micros(wait)),
        }
    }

    /// The bucket under another limit, with as many requests taken from it.
    pub(crate) fn carry(self, full: u64, now: u64, to: Self) -> u64 {
        let taken = u128::from(self.since(full, now)) * u128::from(to.interval) / u128::from(self.interval);
        now.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX).min(to.span()))
    }

    fn since(self, full: u64, now: u64) -> u64 {
        full.saturating_sub(now).min(self.span())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// How many of the requests at these times are allowed within any minute, at the most.
    fn most_in_a_minute(allowed: &[u64]) -> u64 {
        let within = |from: &u64| allowed.iter().filter(|at| (*from..*from + MINUTE).contains(*at)).count();
        allowed.iter().map(within).max().unwrap_or_default() as u64
    }

    fn run(rate: Rate, times: &[u64]) -> Vec<u64> {
        let mut full = 0;
        let mut allowed = Vec::new();
        for &now in times {
            if let Some(next) = rate.take(full, now) {
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
            prop_assert!(most_in_a_minute(&run(Rate::per_minute(limit), &times)) <= 2 * limit);
        }

        #[test]
        fn another_limit_keeps_what_was_taken(limit in 1_u64..500, more in 1_u64..500, taken in 0_usize..500) {
            let taken = taken.min(usize::try_from(limit).unwrap());
            let (before, after) = (Rate::per_minute(limit), Rate::per_minute(limit + more));
            let full = before.carry(run_full(before, 0, taken), 0, after);
            prop_assert_eq!(after.standing(full, 0, true).remaining, limit + more - taken as u64);
        }

        #[test]
        fn a_full_bucket_gives_the_limit_at_once_and_no_more(limit in 0_u64..500, now in any::<u32>()) {
            let times = vec![u64::from(now); usize::try_from(limit).unwrap() + 10];
            prop_assert_eq!(run(Rate::per_minute(limit), &times).len() as u64, limit);
        }

        #[test]
        fn whoever_waits_as_told_is_let_in(limit in 1_u64..HIGHEST, full in any::<u64>(), now in 0_u64..u64::MAX / 4) {
            let rate = Rate::per_minute(limit);
            if rate.take(full, now).is_none() {
                // What lies too far ahead, counted from a later time, is still an empty bucket.
                let full = full.min(now + rate.span());
                let wait = u64::try_from(rate.standing(full, now, false).wait.unwrap().as_micros()).unwrap();
                prop_assert!(wait > 0 && wait <= rate.interval);
                prop_assert!(rate.take(full, now + wait).is_some());
                prop_assert!(rate.take(full, now + wait - 1).is_none());
            }
        }

        #[test]
        fn what_remains_is_what_is_given(limit in 0_u64..200, spent in 0_usize..250, ahead in 0_u64..2 * MINUTE) {
            let rate = Rate::per_minute(limit);
            let mut full = run_full(rate, 0, spent);
            let remaining = rate.standing(full, ahead, true).remaining;
            let mut given = 0;
            while let Some(next) = rate.take(full, ahead) {
                full = next;
                given += 1;
            }
            prop_assert_eq!(given, remaining);
        }

        #[test]
        fn what_is_given_back_was_not_taken(limit in 1_u64..500, spent in 0_usize..499, now in any::<u32>()) {
            let (rate, now) = (Rate::per_minute(limit), u64::from(now));
            let full = run_full(rate, now, spent);
            if let Some(next) = rate.take(full, now) {
                let remaining = |full| rate.standing(full, now, true).remaining;
                prop_assert_eq!(remaining(rate.give_back(next)), remaining(full));
            }
        }

        #[test]
        fn a_bucket_is_full_again_after_its_span(limit in 1_u64..1000, spent in 0_usize..2000) {
            let rate = Rate::per_minute(limit);
            let full = run_full(rate, 0, spent);
            prop_assert_eq!(rate.standing(full, rate.span(), true).remaining, limit);
            prop_assert!(rate.span() - MINUTE <= limit);
        }

        #[test]
        fn a_clock_that_goes_back_costs_a_minute_at_most(limit in 1_u64..1000, full in any::<u64>(), now in any::<u32>()) {
            let rate = Rate::per_minute(limit);
            let standing = rate.standing(full, u64::from(now), false);
            prop_assert!(standing.reset <= Duration::from_micros(MINUTE + limit));
            prop_assert!(standing.wait.unwrap() <= Duration::from_micros(rate.interval));
        }
    }

    fn run_full(rate: Rate, now: u64, times: usize) -> u64 {
        (0..times).fold(0, |full, _| rate.take(full, now).unwrap_or(full))
    }

    #[test]
    fn a_limit_of_zero_allows_nothing() {
        let rate = Rate::per_minute(0);
        assert_eq!(rate.take(0, 0), None);
        assert_eq!(rate.take(0, u64::MAX), None);
        let standing = rate.standing(0, 0, false);
        assert_eq!((standing.limit, standing.remaining, standing.wait), (0, 0, Some(Duration::from_mins(1))));
    }
}
