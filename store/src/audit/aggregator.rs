//! Aggregates repeated events in memory, so that a flood neither fills the log nor goes uncounted.
//!
//! The first event of a kind is written immediately. Repeats within the next minute are only
//! counted. The count is written after the minute: in the row of the next event of the kind, or by
//! a flush in a row of its own. A flush also runs when the process stops. If that flush takes too
//! long, it writes one row per event type and not one per kind. The field `change.after.times`
//! holds the number of events that a row represents; a row without the field represents one event.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::event::{Event, EventType};
use crate::{clock::Timestamp, context::AuditContext};

/// The period in which repeats are counted instead of written.
const AGGREGATION_WINDOW: Duration = Duration::from_mins(1);
/// The number of kinds with a count of their own, for denials and sign-ins separately. Further
/// kinds are grouped by actor (denials) or by address (sign-ins).
const MAX_KINDS: usize = 4096;
/// The number of groups with a count of their own. Further events are grouped by event type.
const MAX_ORIGINS: usize = 1024;

/// The kind of an event. Events of the same kind are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AggregateKey {
    /// The same actor was denied the same route.
    #[doc(hidden)]
    Denial { actor: String, route: String },
    /// A sign-in to the same account failed in the same way, from the same address.
    #[doc(hidden)]
    SignIn { event_type: EventType, account: Option<String>, address: String },
    /// The events of one actor or address beyond `MAX_KINDS`. `None` stands for all further
    /// origins.
    #[doc(hidden)]
    Rest { event_type: EventType, origin: Option<String> },
}

impl AggregateKey {
    /// The key of an `access_denied` event.
    #[must_use]
    pub fn denial(context: &AuditContext, route: &str) -> Self {
        Self::Denial { actor: context.actor.to_string(), route: route.to_owned() }
    }

    /// The next coarser key: the same origin, or else only the event type.
    fn coarser(&self, event_type: EventType) -> Self {
        let origin = match self {
            Self::Denial { actor, .. } => Some(actor.clone()),
            Self::SignIn { address, .. } => Some(address.clone()),
            Self::Rest { .. } => None,
        };
        Self::Rest { event_type, origin }
    }

    /// The key of a `login_failure` or `login_rate_limited` event.
    #[must_use]
    pub fn sign_in(event_type: EventType, account: Option<String>, address: &str) -> Self {
        Self::SignIn { event_type, account, address: address.to_owned() }
    }
}

/// The repeats of one kind within [`AGGREGATION_WINDOW`].
pub(super) struct Window {
    pub(super) since: Timestamp,
    pub(super) count: u64,
    /// The latest repeat, and its context below.
    pub(super) event: Event,
    pub(super) context: AuditContext,
}

impl Window {
    fn new(since: Timestamp, event: Event, context: AuditContext) -> Self {
        Self { since, count: 0, event, context }
    }

    /// The event that represents all counted repeats.
    pub(super) fn event(&self) -> (Event, AuditContext) {
        (aggregated(self.event.clone(), self.count, self.since), self.context.clone())
    }

    /// Whether the window has ended. A clock that was set back ends it too.
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.since || now >= self.since + AGGREGATION_WINDOW
    }
}

/// The open windows of denials, or of sign-ins.
type Windows = HashMap<AggregateKey, Window>;

/// The counts of all open windows.
#[derive(Default)]
pub(super) struct Aggregator {
    denials: Mutex<Windows>,
    sign_ins: Mutex<Windows>,
    /// From this moment on, counts are flushed by event type only.
    coarse_after: OnceLock<Instant>,
}

impl Aggregator {
    fn windows(&self, event_type: EventType) -> MutexGuard<'_, Windows> {
        let windows = if event_type == EventType::AccessDenied { &self.denials } else { &self.sign_ins };
        windows.lock()
    }

    /// Counts an event. Returns `None` if the event is a repeat, which needs no row. Otherwise the
    /// caller must write the event with the returned number of earlier repeats and their start
    /// time.
    pub(super) fn count(
        &self,
        key: &AggregateKey,
        context: &AuditContext,
        event: &Event,
        now: Timestamp,
    ) -> Option<(u64, Timestamp)> {
        let mut windows = self.windows(event.event_type);
        let key = &key_within_capacity(&windows, key, event.event_type);
        if matches!(key, AggregateKey::Rest { origin: None, .. }) {
            let window = windows.entry(key.clone()).or_insert_with(|| {
                let event = Event::new(event.event_type).detail("too many different events to count separately");
                Window::new(now, event, AuditContext::system("audit"))
            });
            window.count += 1;
            return None;
        }
        match windows.get_mut(key) {
            Some(window) if !window.is_over(now) => {
                window.count += 1;
                (window.event, window.context) = (event.clone(), context.clone());
                None
            }
            Some(window) => {
                let before = std::mem::replace(window, Window::new(now, event.clone(), context.clone()));
                Some((before.count, if before.count == 0 { now } else { before.since }))
            }
            None => {
                windows.insert(key.clone(), Window::new(now, event.clone(), context.clone()));
                Some((0, now))
            }
        }
    }

    /// Removes the windows that have ended, or all of them, and returns the windows with repeats.
    pub(super) fn take(&self, now: Timestamp, all: bool) -> Vec<(AggregateKey, Window)> {
        let mut taken = Vec::new();
        for windows in [&self.denials, &self.sign_ins] {
            let mut windows = windows.lock();
            let ended = windows.extract_if(|_, window| all || window.is_over(now));
            taken.extend(ended.filter(|(_, window)| window.count > 0));
        }
        taken
    }

    /// Makes flushes after this moment write one row per event type.
    pub(super) fn set_coarse_after(&self, moment: Instant) {
        // Only the first call has an effect.
        let _ = self.coarse_after.set(moment);
    }

    pub(super) fn is_coarse(&self) -> bool {
        self.coarse_after.get().is_some_and(|moment| Instant::now() >= *moment)
    }

    /// Returns a window whose row could not be written.
    pub(super) fn requeue(&self, key: AggregateKey, failed: Window) {
        let mut windows = self.windows(failed.event.event_type);
        if let Some(window) = windows.get_mut(&key) {
            window.count += failed.count;
            window.since = window.since.min(failed.since);
        } else {
            windows.insert(key, failed);
        }
    }
}

/// Returns the key if the map is not full, and a coarser key otherwise.
fn key_within_capacity(windows: &Windows, key: &AggregateKey, event_type: EventType) -> AggregateKey {
    let is_accepted = |key: &AggregateKey, max| windows.contains_key(key) || windows.len() < max;
    if is_accepted(key, MAX_KINDS) {
        return key.clone();
    }
    let coarser = key.coarser(event_type);
    if is_accepted(&coarser, MAX_KINDS + MAX_ORIGINS) { coarser } else { coarser.coarser(event_type) }
}

/// Merges the windows by event type.
pub(super) fn by_type(windows: Vec<(AggregateKey, Window)>) -> Vec<(AggregateKey, Window)> {
    let mut sums = Windows::new();
    for (_, window) in windows {
        let event_type = window.event.event_type;
        let sum = sums.entry(AggregateKey::Rest { event_type, origin: None }).or_insert_with(|| {
            let event = Event::new(event_type).detail("different events, counted together at the end of the process");
            Window::new(window.since, event, AuditContext::system("audit"))
        });
        sum.count += window.count;
        sum.since = sum.since.min(window.since);
    }
    sums.into_iter().collect()
}

/// Adds the number of events that the row represents, and the time of the first.
pub(super) fn aggregated(mut event: Event, times: u64, since: Timestamp) -> Event {
    event.change.field("times", None, Some(&times));
    event.change.field("since", None, Some(&since));
    let detail = event.detail.take().unwrap_or_default();
    event.detail(format!("{detail} ({times} times since {since})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::Actor, ids::CredentialId};

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn denial(number: usize) -> (AggregateKey, Event) {
        let key = AggregateKey::denial(&AuditContext::system("test"), &format!("GET /{number}"));
        (key, Event::new(EventType::AccessDenied))
    }

    fn by(number: usize) -> AuditContext {
        let actor = Actor::Key(CredentialId(i64::try_from(number).unwrap()));
        AuditContext { actor, ..AuditContext::system("test") }
    }

    /// Counts the denials; returns how many of them must be written at once.
    fn count_all(aggregator: &Aggregator, denials: impl Iterator<Item = (AuditContext, usize)>) -> usize {
        denials
            .filter(|(context, number)| {
                let key = AggregateKey::denial(context, &format!("GET /{number}"));
                aggregator.count(&key, context, &Event::new(EventType::AccessDenied), NOW).is_some()
            })
            .count()
    }

    #[test]
    fn a_flood_of_kinds_takes_bounded_memory_and_is_fully_counted() {
        let aggregator = Aggregator::default();
        let origins = (1..=MAX_ORIGINS + 1000).map(|number| (by(number), number));
        let kinds = (0..MAX_KINDS).map(|number| (by(0), number));
        assert_eq!(count_all(&aggregator, kinds), MAX_KINDS);
        assert_eq!(count_all(&aggregator, origins), MAX_ORIGINS);
        assert_eq!(aggregator.windows(EventType::AccessDenied).len(), MAX_KINDS + MAX_ORIGINS + 1);
        let left = aggregator.take(NOW + AGGREGATION_WINDOW, false);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, AggregateKey::Rest { event_type: EventType::AccessDenied, origin: None });
        assert_eq!(left[0].1.count, 1000);
        assert!(aggregator.windows(EventType::AccessDenied).is_empty());
    }

    #[test]
    fn a_flood_by_one_actor_hides_neither_another_actor_nor_a_sign_in() {
        let aggregator = Aggregator::default();
        count_all(&aggregator, (0..2 * MAX_KINDS).map(|number| (by(1), number)));
        let other = by(2);
        assert_eq!(count_all(&aggregator, [(other.clone(), 1), (other.clone(), 2)].into_iter()), 1);
        let sign_in = AggregateKey::sign_in(EventType::LoginFailure, Some("ada@example.com".into()), "192.0.2.1");
        let failed = Event::new(EventType::LoginFailure);
        assert_eq!(aggregator.count(&sign_in, &other, &failed, NOW), Some((0, NOW)));

        let left = aggregator.take(NOW + AGGREGATION_WINDOW, false);
        let mut counts: Vec<_> =
            left.iter().map(|(_, window)| (window.context.actor.to_string(), window.count)).collect();
        counts.sort();
        let rest = u64::try_from(MAX_KINDS - 1).unwrap();
        assert_eq!(counts, [("key:1".to_owned(), rest), ("key:2".to_owned(), 1)]);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_window() {
        let aggregator = Aggregator::default();
        let (key, event) = denial(1);
        let count = |now| aggregator.count(&key, &AuditContext::system("test"), &event, now);
        assert_eq!(count(NOW), Some((0, NOW)));
        assert_eq!(count(NOW), None);
        let earlier = NOW - AGGREGATION_WINDOW;
        assert_eq!(count(earlier), Some((1, NOW)));
    }

    #[test]
    fn a_requeued_window_adds_to_the_repeats_counted_since() {
        let aggregator = Aggregator::default();
        let (key, event) = denial(1);
        let context = AuditContext::system("test");
        let failed = Window { count: 5, ..Window::new(NOW, event.clone(), context.clone()) };
        let later = NOW + AGGREGATION_WINDOW;
        assert_eq!(aggregator.count(&key, &context, &event, later), Some((0, later)));
        assert_eq!(aggregator.count(&key, &context, &event, later), None);
        aggregator.requeue(key.clone(), failed);
        let left = aggregator.take(later, true);
        assert_eq!((left.len(), left[0].1.count, left[0].1.since), (1, 6, NOW));
    }

    #[test]
    fn by_type_sums_the_remaining_windows() {
        let aggregator = Aggregator::default();
        count_all(&aggregator, (0..100).chain(0..100).chain(50..100).map(|number| (by(1), number)));
        let context = by(2);
        for ip in ["192.0.2.1", "192.0.2.2"] {
            let (key, event) =
                (AggregateKey::sign_in(EventType::LoginFailure, None, ip), Event::new(EventType::LoginFailure));
            assert!(aggregator.count(&key, &context, &event, NOW + AGGREGATION_WINDOW).is_some());
            assert!(aggregator.count(&key, &context, &event, NOW + AGGREGATION_WINDOW).is_none());
        }
        let mut sums: Vec<_> = by_type(aggregator.take(NOW, true))
            .into_iter()
            .map(|(_, window)| (window.event.event_type.text(), window.count, window.since))
            .collect();
        sums.sort();
        assert_eq!(sums, [("access_denied", 150, NOW), ("login_failure", 2, NOW + AGGREGATION_WINDOW)]);
    }
}
