//! Exponential backoff per object, and jitter.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use parking_lot::Mutex;

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// Counts consecutive failures per object UID.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// Counts one more failure and returns the delay until the next attempt.
    pub(crate) fn next_delay(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock();
        let count = failures.entry(uid.to_owned()).or_default();
        let delay = delay_after(*count, uid);
        *count = count.saturating_add(1);
        delay
    }

    /// Forgets the failures of an object that succeeded or was deleted.
    pub(crate) fn reset(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// Returns the delay after `failures` earlier failures: 1 s, doubled each time, at most 5 min, with
/// [`jitter`].
pub(crate) fn delay_after(failures: u32, uid: &str) -> Duration {
    let delay = MIN_BACKOFF.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(MAX_BACKOFF);
    jitter(delay, uid, failures).min(MAX_BACKOFF)
}

/// Changes the delay by up to 20 % in either direction. The amount is derived from the UID, which
/// is random: objects that failed or settled together are then not reconciled together again.
pub(crate) fn jitter(delay: Duration, uid: &str, round: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (uid, round).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 401).expect("a remainder below 401");
    delay * (800 + part) / 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_grow_and_stay_within_bounds(failures in 0_u32..200, uid in "[a-f0-9-]{36}") {
            let delay = delay_after(failures, &uid);
            prop_assert!(delay >= MIN_BACKOFF * 8 / 10);
            prop_assert!(delay <= MAX_BACKOFF);
            prop_assert!(failures < 10 || delay >= MAX_BACKOFF * 8 / 10);
        }
    }

    #[test]
    fn reset_starts_over() {
        let backoff = Backoff::default();
        let delays: Vec<_> = (0..5).map(|_| backoff.next_delay("a")).collect();
        assert!(delays.is_sorted_by(|a, b| a < b), "{delays:?}");
        backoff.reset("a");
        assert_eq!(backoff.next_delay("a"), delays[0]);
        assert_ne!(backoff.next_delay("b"), Duration::ZERO);
    }
}
