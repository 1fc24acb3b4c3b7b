//! Readiness and liveness of the operator, for `/readyz` and `/livez`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::watch_activity::{WatchActivity, WatchName};

/// How long a watch of the leader may be silent before the process counts as hung. Longer than the
/// time after which the leader gives the lease up.
const MAX_WATCH_SILENCE: Duration = Duration::from_mins(2);

/// The operator's readiness. Clones are cheap and share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
    watches: WatchActivity,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Whether the caches were complete before. An instance that becomes the leader again stays
    /// ready, because the gateway in the same process does not depend on the caches.
    has_led: bool,
    /// What each watch lacks the right for; `None` for a watch that works.
    grants: BTreeMap<WatchName, Option<String>>,
    /// Why the operator cannot start yet.
    obstacle: Option<String>,
}

/// The phases of a start, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The API server has not answered yet.
    #[default]
    Connecting,
    /// Some custom resource definitions are missing.
    WaitingForDefinitions,
    /// Another instance is the leader. A standby is ready.
    StandingBy,
    /// This instance is the leader and lists the objects for the first time.
    Syncing,
    /// This instance is the leader and its caches are complete.
    Leading,
}

impl Readiness {
    /// Returns what `/readyz` reports as missing, or `None` if the operator is ready.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        let state = self.state.lock();
        match state.phase {
            Phase::Connecting => Some("kubernetes"),
            Phase::WaitingForDefinitions => Some("custom resource definitions"),
            Phase::Syncing if !state.has_led => Some("caches"),
            Phase::Leading if !state.grants.is_empty() && state.grants.values().all(Option::is_some) => {
                Some("permissions")
            }
            Phase::StandingBy | Phase::Syncing | Phase::Leading => None,
        }
    }

    /// Returns details for people: rights that the operator lacks, with the bindings that grant
    /// them.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let state = self.state.lock();
        state.obstacle.iter().chain(state.grants.values().flatten()).cloned().collect()
    }

    /// Whether the operator works: false if this instance is the leader and a watch is silent for
    /// longer than the leader should bear.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.is_leader() || self.watches.oldest().is_none_or(|(_, age)| age <= MAX_WATCH_SILENCE)
    }

    /// Whether this instance holds the lease.
    pub(crate) fn is_leader(&self) -> bool {
        self.state.lock().phase >= Phase::Syncing
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut state = self.state.lock();
        state.phase = phase;
        state.has_led |= phase == Phase::Leading;
        if phase == Phase::StandingBy {
            state.grants.clear();
            state.obstacle = None;
        }
    }

    /// Sets why the operator cannot start yet.
    pub(crate) fn set_obstacle(&self, obstacle: Option<String>) {
        self.state.lock().obstacle = obstacle;
    }

    /// Records that the watch works, or which right it lacks. Returns whether that is new.
    pub(crate) fn set_grant(&self, watch: &WatchName, missing: Option<&str>) -> bool {
        let before = self.state.lock().grants.insert(watch.clone(), missing.map(str::to_owned));
        before.flatten().as_deref() != missing
    }

    /// Returns the activity of the watches.
    pub(crate) const fn watches(&self) -> &WatchActivity {
        &self.watches
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn one_missing_grant_is_a_detail_and_all_missing_grants_are_not_ready() {
        let readiness = Readiness::default();
        readiness.set_phase(Phase::Leading);
        let (a, b) = (WatchName::new("apikeys", None, Some("a")), WatchName::new("apikeys", None, Some("b")));
        assert!(!readiness.set_grant(&a, None));
        assert!(readiness.set_grant(&b, Some("not b")));
        assert!(!readiness.set_grant(&b, Some("not b")));
        assert_eq!((readiness.missing(), readiness.details()), (None, vec!["not b".to_owned()]));
        readiness.set_grant(&a, Some("not a"));
        assert_eq!(readiness.missing(), Some("permissions"));
    }

    #[test]
    fn a_leader_that_lists_again_stays_ready() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing(), Some("kubernetes"));
        readiness.set_phase(Phase::Syncing);
        assert_eq!(readiness.missing(), Some("caches"));
        readiness.set_phase(Phase::Leading);
        readiness.set_phase(Phase::StandingBy);
        readiness.set_phase(Phase::Syncing);
        assert_eq!(readiness.missing(), None);
    }

    #[test]
    fn a_leader_with_a_deaf_watch_is_not_alive() {
        let readiness = Readiness::default();
        let silent_since = Instant::now() - MAX_WATCH_SILENCE - Duration::from_secs(1);
        readiness.watches().start_at(WatchName::new("apikeys", None, None), silent_since);
        readiness.set_phase(Phase::StandingBy);
        assert!(readiness.is_alive());
        readiness.set_phase(Phase::Leading);
        assert!(!readiness.is_alive());
    }
}
