//! How many requests a minute a user and a key may make.
//!
//! There is a bucket for each user, and one more for each key with a limit of its own; both must allow a request. They are
//! looked at in one place, after authentication and before any work. Each process counts for itself.

pub(crate) mod guesses;
mod rate;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::counter;
use moka::{policy::EvictionPolicy, sync::Cache};
use paddock_accounts::access::{Principal, Via};
use tokio::time::Instant;

use crate::problem::whole_seconds;
use rate::{Rate, Standing};

pub(crate) const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How many buckets are kept. Beyond, those that were idle longest are forgotten, and so are full again.
const BUCKETS: u64 = 100_000;
/// After this long without a request every bucket is full, and need not be kept.
const IDLE: Duration = Duration::from_mins(2);

/// Whose requests a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    User(i64),
    Key(i64),
}

impl Owner {
    /// A word for metric labels.
    const fn text(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Key(_) => "key",
        }
    }
}

/// A bucket under the limit that it was last asked with.
struct Level {
    rate: Rate,
    /// When it is full again, counted from the start of the process.
    full: u64,
}

impl Level {
    /// The bucket under this limit: one that changed holds at once.
    fn under(&mut self, rate: Rate, now: u64) {
        if self.rate != rate {
            self.full = self.rate.carry(self.full, now, rate);
            self.rate = rate;
        }
    }
}

type Bucket = Arc<Mutex<Level>>;

/// The buckets of everyone.
pub(crate) struct Limits {
    /// The limit of users who have none of their own; `None`: they have none.
    default: Option<u64>,
    started: Instant,
    buckets: Cache<Owner, Bucket>,
}

/// More requests than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    whose: &'static str,
    limit: u64,
    /// When to come back.
    pub(crate) wait: Duration,
}

impl Exceeded {
    /// What is wrong, for people.
    pub(crate) fn message(&self) -> String {
        match self.limit {
            0 => format!("this {} may make no requests: its limit is 0 a minute", self.whose),
            limit => format!("this {} may make {limit} requests a minute; come back later", self.whose),
        }
    }
}

/// How the limits of a request's principal stand, once that is known. It is told with the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<OnceLock<Standing>>);

impl Told {
    /// Puts it into the headers of the answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Some(standing) = self.0.get() else { return };
        headers.insert(X_RATELIMIT_LIMIT, HeaderValue::from(standing.limit));
        headers.insert(X_RATELIMIT_REMAINING, HeaderValue::from(standing.remaining));
        headers.insert(X_RATELIMIT_RESET, whole_seconds(standing.reset));
    }
}

impl Limits {
    /// With this many requests a minute for users who have no limit of their own; 0: as many as they like.
    pub(crate) fn new(default: u64) -> Self {
        let buckets =
            Cache::builder().max_capacity(BUCKETS).eviction_policy(EvictionPolicy::lru()).time_to_idle(IDLE).build();
        Self { default: (default > 0).then_some(default), started: Instant::now(), buckets }
    }

    /// Counts a request, if all limits of its principal allow it. One that is refused counts nowhere.
    pub(crate) fn admit(&self, principal: &Principal, told: &Told) -> Result<(), Exceeded> {
        let own = |limit: Option<i64>| limit.map(|limit| u64::try_from(limit).unwrap_or(0));
        let user = own(principal.limits.requests_per_minute).or(self.default);
        let user = user.map(|limit| (Owner::User(principal.user_id.0), limit));
        let key = match &principal.via {
            Via::Key { credential_id, limits, .. } => {
                own(limits.requests_per_minute).map(|limit| (Owner::Key(credential_id.0), limit))
            }
            Via::Session { .. } => None,
        };
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Some((owner, standing)) = self.count(user, key, now) else { return Ok(()) };
        let _ = told.0.set(standing);
        let Some(wait) = standing.wait else { return Ok(()) };
        counter!("paddock_rate_limited_total", "limit" => owner.text()).increment(1);
        Err(Exceeded { whose: owner.text(), limit: standing.limit, wait })
    }

    /// How the narrower of the buckets stands after a request at `now`.
    fn count(&self, user: Option<(Owner, u64)>, key: Option<(Owner, u64)>, now: u64) -> Option<(Owner, Standing)> {
        let buckets: Vec<_> = [user, key]
            .into_iter()
            .flatten()
            .map(|(owner, limit)| {
                let rate = Rate::per_minute(limit);
                (owner, rate, self.buckets.get_with(owner, || Arc::new(Mutex::new(Level { rate, full: 0 }))))
            })
            .collect();
        // Always the user's first, so that no two wait for each other.
        let mut held: Vec<_> = buckets
            .iter()
            .map(|(owner, rate, bucket)| {
                let mut level = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                level.under(*rate, now);
                (*owner, *rate, level)
            })
            .collect();
        let next: Vec<_> = held.iter().map(|(_, rate, level)| rate.take(level.full, now)).collect();
        if let Some(next) = next.iter().copied().collect::<Option<Vec<_>>>() {
            for ((_, _, level), next) in held.iter_mut().zip(next) {
                level.full = next;
            }
            let standings = held.iter().map(|(owner, rate, level)| (*owner, rate.standing(level.full, now, true)));
            return standings.min_by_key(|(_, standing)| standing.remaining);
        }
        let refusing = held.iter().zip(next).filter(|(_, next)| next.is_none());
        let standings = refusing.map(|((owner, rate, level), _)| (*owner, rate.standing(level.full, now, false)));
        standings.max_by_key(|(_, standing)| standing.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Owner = Owner::User(1);
    const KEY: Owner = Owner::Key(1);

    #[test]
    fn both_buckets_must_allow_and_a_refused_request_counts_in_neither() {
        let limits = Limits::new(0);
        let ask = |user, key, now| limits.count(Some((USER, user)), Some((KEY, key)), now).unwrap();
        for left in (0..2).rev() {
            let (owner, standing) = ask(5, 2, 0);
            assert_eq!((owner, standing.remaining, standing.wait), (KEY, left, None));
        }
        for _ in 0..10 {
            let (owner, standing) = ask(5, 2, 0);
            assert_eq!((owner, standing.wait), (KEY, Some(Duration::from_secs(30))));
        }
        // The user has lost two, and not twelve.
        let (owner, standing) = limits.count(Some((USER, 5)), None, 0).unwrap();
        assert_eq!((owner, standing.remaining), (USER, 2));
    }

    #[test]
    fn nobody_without_a_limit_is_counted() {
        assert_eq!(Limits::new(0).count(None, None, 0), None);
    }

    #[test]
    fn many_at_once_get_no_more_than_the_limit() {
        let limits = Limits::new(0);
        let allowed = || limits.count(Some((USER, 150)), Some((KEY, 90)), 0).unwrap().1.wait.is_none();
        let ask = || (0..100).filter(|_| allowed()).count();
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(taken, 90);
    }
}
