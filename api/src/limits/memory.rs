//! The buckets of one process, in its memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{Draw, Owner, Standing, rate::Rate, telling};

/// How many buckets are kept. Beyond, those that were idle longest are forgotten, and so are full again.
const BUCKETS: u64 = 100_000;
/// After this long without a request every bucket is full, and need not be kept.
const IDLE: Duration = Duration::from_mins(2);

/// A bucket under the limit that it was last asked with.
struct Level {
    rate: Rate,
    /// When it is full again, in microseconds.
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

/// The buckets that this process counts by itself.
pub struct Memory {
    buckets: Cache<Owner, Bucket>,
}

impl Default for Memory {
    fn default() -> Self {
        let buckets =
            Cache::builder().max_capacity(BUCKETS).eviction_policy(EvictionPolicy::lru()).time_to_idle(IDLE).build();
        Self { buckets }
    }
}

impl Memory {
    /// Counts a request at `now`, in microseconds, if all its buckets have room, and says how the one stands that tells.
    #[must_use]
    pub fn count(&self, draws: &[Draw], now: u64) -> Option<(Owner, Standing)> {
        let full = |rate| move || Arc::new(Mutex::new(Level { rate, full: 0 }));
        let buckets: Vec<_> =
            draws.iter().map(|draw| (draw, self.buckets.get_with(draw.owner, full(draw.rate)))).collect();
        // Always the user's first, so that no two wait for each other.
        let mut held: Vec<_> = buckets
            .iter()
            .map(|(draw, bucket)| {
                let mut level = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                level.under(draw.rate, now);
                (**draw, level)
            })
            .collect();
        let next: Option<Vec<_>> = held.iter().map(|(draw, level)| draw.rate.take(level.full, now)).collect();
        let taken = next.is_some();
        for ((_, level), next) in held.iter_mut().zip(next.into_iter().flatten()) {
            level.full = next;
        }
        telling(held.iter().map(|(draw, level)| (*draw, level.full)), now, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Owner = Owner::User(1);
    const KEY: Owner = Owner::Key { user: 1, id: 1 };

    fn draw(owner: Owner, limit: u64) -> Draw {
        Draw { owner, rate: Rate::per_minute(limit) }
    }

    #[test]
    fn both_buckets_must_allow_and_a_refused_request_counts_in_neither() {
        let memory = Memory::default();
        let ask = |user, key, now| memory.count(&[draw(USER, user), draw(KEY, key)], now).unwrap();
        for left in (0..2).rev() {
            let (owner, standing) = ask(5, 2, 0);
            assert_eq!((owner, standing.remaining, standing.wait), (KEY, left, None));
        }
        for _ in 0..10 {
            let (owner, standing) = ask(5, 2, 0);
            assert_eq!((owner, standing.wait), (KEY, Some(Duration::from_secs(30))));
        }
        // The user has lost two, and not twelve.
        let (owner, standing) = memory.count(&[draw(USER, 5)], 0).unwrap();
        assert_eq!((owner, standing.remaining), (USER, 2));
    }

    #[test]
    fn nobody_without_a_limit_is_counted() {
        assert_eq!(Memory::default().count(&[], 0), None);
    }

    #[test]
    fn many_at_once_get_no_more_than_the_limit() {
        let memory = Memory::default();
        let allowed = || memory.count(&[draw(USER, 150), draw(KEY, 90)], 0).unwrap().1.wait.is_none();
        let ask = || (0..100).filter(|_| allowed()).count();
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(taken, 90);
    }
}
