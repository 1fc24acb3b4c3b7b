//! Exponential backoff per object, jitter, and the objects that wait for the same cure.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// With the jitter of 20 %, an object is tried again within 15 s.
const MAX_BACKOFF: Duration = Duration::from_secs(12);
/// If many objects wait, each waits longer, so that at most 50 are tried in a second. The first one
/// that succeeds wakes the others with the same cause.
const RETRY_SPACING: Duration = Duration::from_millis(20);

/// The name of an object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What an object waits for. All objects with the same cause have the same cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Database,
    /// The API server refuses or fails requests in this namespace: a right is missing, or an admission
    /// webhook or a quota refuses them.
    ApiServer {
        namespace: String,
    },
    Ollama,
}

/// The objects whose last reconcile failed, by UID.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, Waiting>>);

#[derive(Debug)]
struct Waiting {
    object: ObjectName,
    cause: Option<Cause>,
    failures: u32,
    since: Instant,
}

/// A counted failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    /// The number of consecutive failures.
    pub(crate) failures: u32,
    /// The delay until the next attempt.
    pub(crate) delay: Duration,
    /// How long the object fails already.
    pub(crate) lasted: Duration,
}

impl Backoff {
    /// Counts one more failure of the object.
    pub(crate) fn fail(&self, uid: &str, object: ObjectName, cause: Option<Cause>) -> Failed {
        let mut all = self.0.lock();
        let new = Waiting { object, cause: None, failures: 0, since: Instant::now() };
        let waiting = all.entry(uid.to_owned()).or_insert(new);
        let (failures, lasted) = (waiting.failures, waiting.since.elapsed());
        waiting.failures = failures.saturating_add(1);
        waiting.cause = cause;
        Failed { failures: failures.saturating_add(1), delay: delay_after(failures, uid, all.len()), lasted }
    }

    /// Forgets the failures of an object that succeeded or was deleted. Returns the objects that
    /// waited for the same cure; their next failure counts as their first.
    #[must_use]
    pub(crate) fn succeed(&self, uid: &str) -> Vec<ObjectName> {
        let mut all = self.0.lock();
        let Some(cause) = all.remove(uid).and_then(|waiting| waiting.cause) else { return Vec::new() };
        let cured = all.values_mut().filter(|waiting| waiting.cause.as_ref() == Some(&cause));
        cured
            .map(|waiting| {
                (waiting.failures, waiting.cause) = (0, None);
                waiting.object.clone()
            })
            .collect()
    }
}

/// Returns the delay after `failures` earlier failures, with [`jitter`]: 1 s, doubled each time, at
/// most 12 s, or longer if many objects are `waiting`.
pub(crate) fn delay_after(failures: u32, uid: &str, waiting: usize) -> Duration {
    let spread = RETRY_SPACING.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
    let delay = MIN_BACKOFF.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    jitter(delay.min(MAX_BACKOFF.max(spread)), uid, failures)
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

    fn object(name: &str) -> ObjectName {
        ObjectName { kind: "ApiKey", namespace: "a".to_owned(), name: name.to_owned() }
    }

    proptest! {
        #[test]
        fn delays_grow_and_stay_within_bounds(failures in 0_u32..200, waiting in 0_usize..20_000, uid in "[a-f0-9-]{36}") {
            let delay = delay_after(failures, &uid, waiting);
            prop_assert!(delay >= MIN_BACKOFF * 8 / 10);
            prop_assert!(failures < 20 || delay >= MAX_BACKOFF * 8 / 10);
            prop_assert!(waiting > 600 || delay < Duration::from_secs(15));
            prop_assert!(delay <= MAX_BACKOFF.max(RETRY_SPACING * u32::try_from(waiting).unwrap()) * 12 / 10);
        }
    }

    #[test]
    fn a_success_starts_over() {
        let backoff = Backoff::default();
        let delays: Vec<_> = (0..4).map(|_| backoff.fail("a", object("a"), None).delay).collect();
        assert!(delays.is_sorted_by(|a, b| a < b), "{delays:?}");
        assert_eq!(backoff.succeed("a"), []);
        assert_eq!(backoff.fail("a", object("a"), None).delay, delays[0]);
    }

    #[test]
    fn a_success_wakes_what_waited_for_the_same_cure() {
        let backoff = Backoff::default();
        let in_namespace = |namespace: &str| Some(Cause::ApiServer { namespace: namespace.to_owned() });
        backoff.fail("a", object("a"), Some(Cause::Database));
        backoff.fail("b", object("b"), in_namespace("a"));
        backoff.fail("c", object("c"), in_namespace("b"));
        for _ in 0..9 {
            backoff.fail("d", object("d"), in_namespace("a"));
        }
        assert_eq!(backoff.succeed("b"), [object("d")]);
        assert_eq!(backoff.fail("d", object("d"), in_namespace("a")).failures, 1);
        assert_eq!(backoff.succeed("x"), []);
    }

    #[test]
    fn a_failure_lasts_from_the_first_one() {
        let backoff = Backoff::default();
        assert!(backoff.fail("a", object("a"), None).lasted < MIN_BACKOFF);
        backoff.0.lock().get_mut("a").unwrap().since -= Duration::from_secs(7);
        assert!(backoff.fail("a", object("a"), Some(Cause::Ollama)).lasted >= Duration::from_secs(7));
    }
}
