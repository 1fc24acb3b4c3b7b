//! How long to wait before an object is looked at again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Failed attempts in a row, by the object's uid.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// Counts one more failure and gives the time until the next attempt.
    pub(crate) fn next(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        let delay = after(*count, uid);
        *count = count.saturating_add(1);
        delay
    }

    /// Forgets the failures: the object succeeded, or is gone.
    pub(crate) fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The wait after so many failures before: 1 s, doubled each time, 5 min at most, spread by [`spread`].
pub(crate) fn after(failures: u32, uid: &str) -> Duration {
    let delay = FIRST.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST);
    spread(delay, uid, failures).min(LONGEST)
}

/// The time give or take a fifth. The spread comes from the uid, which is random, so that objects that failed or settled
/// together do not come back together.
pub(crate) fn spread(time: Duration, uid: &str, round: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (uid, round).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 401).expect("a remainder below 401");
    time * (800 + part) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_bounds(failures in 0_u32..200, uid in "[a-f0-9-]{36}") {
            let delay = after(failures, &uid);
            prop_assert!(delay >= FIRST * 8 / 10);
            prop_assert!(delay <= LONGEST);
            prop_assert!(failures < 10 || delay >= LONGEST * 8 / 10);
        }
    }

    #[test]
    fn success_starts_over() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..5).map(|_| backoff.next("a")).collect();
        assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
        backoff.reset("a");
        assert_eq!(backoff.next("a"), waits[0]);
        assert_ne!(backoff.next("b"), Duration::ZERO);
    }
}
