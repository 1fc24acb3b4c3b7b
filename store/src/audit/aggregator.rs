//! Counts repeated events in memory, so that a flood can neither fill the log nor go uncounted.
//!
//! The first event of a kind is written at once. Its repeats within the next minute are counted, and
//! the count is in the next row of the kind. If there is none, a row with the count is written after
//! the minute, or at the end of the process. A process that has no time for that writes one row for
//! each event type. The field `change.after.times` of a row is the number of events it stands for;
//! without it, the number is one.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::event::{Event, EventType};
use crate::{clock::Timestamp, context::AuditContext};

/// How long repeats are counted.
const AGGREGATION_WINDOW: Duration = Duration::from_mins(1);
/// How many kinds of denials are counted apart, and as many of sign-ins. Beyond that they are grouped
/// by actor, or by address.
const MAX_KINDS: usize = 4096;
/// How many such groups are counted apart. Beyond that events are grouped by type.
const MAX_ORIGINS: usize = 1024;
/// The kind of an event: events of the same kind are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AggregateKey {
    /// The same actor was denied the same route.
    #[doc(hidden)]
    Denial { actor: String, route: String },
    /// A sign-in to the same account failed in the same way, from the same address.
    #[doc(hidden)]
    SignIn { event_type: EventType, account: Option<String>, address: String },
    /// The surplus of one actor of denials or one address of sign-ins; `None`: of many of them.
    #[doc(hidden)]
    Rest { event_type: EventType, origin: Option<String> },
}

impl AggregateKey {
    /// For `access_denied`.
    #[must_use]
    pub fn denial(context: &AuditContext, route: &str) -> Self {
        Self::Denial { actor: context.actor.to_string(), route: route.to_owned() }
    }

    /// The key of a coarser group.
    fn coarser(&self, event_type: EventType) -> Self {
        let origin = match self {
            Self::Denial { actor, .. } => Some(actor.clone()),
            Self::SignIn { address, .. } => Some(address.clone()),
            Self::Rest { .. } => None,
        };
        Self::Rest { event_type, origin }
    }

    /// For `login_failure` and `login_rate_limited`.
    #[must_use]
    pub fn sign_in(event_type: EventType, account: Option<String>, address: &str) -> Self {
        Self::SignIn { event_type, account, address: address.to_owned() }
    }
}

/// A minute in which repeats are counted.
pub(super) struct Window {
    pub(super) since: Timestamp,
    pub(super) count: u64,
    /// The newest event, and its context.
    pub(super) event: Event,
    pub(super) context: AuditContext,
}

impl Window {
    fn new(since: Timestamp, event: Event, context: AuditContext) -> Self {
        Self { since, count: 0, event, context }
    }

    /// The event that stands for all counted ones.
    pub(super) fn event(&self) -> (Event, AuditContext) {
        (aggregated(self.event.clone(), self.count, self.since), self.context.clone())
    }

    /// A clock that was set back ends it too.
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.since || now >= self.since + AGGREGATION_WINDOW
    }
}

/// What is being counted of one sort of events.
type Windows = HashMap<AggregateKey, Window>;

/// The current counts.
#[derive(Default)]
pub(super) struct Aggregator {
    denials: Mutex<Windows>,
    sign_ins: Mutex<Windows>,
    /// From when on the counts are flushed by type only.
    coarse_after: OnceLock<Instant>,
}

impl Aggregator {
    fn windows(&self, event_type: EventType) -> MutexGuard<'_, Windows> {
        let windows = if event_type == EventType::AccessDenied { &self.denials } else { &self.sign_ins };
        windows.lock()
    }

    /// Counts an event. Returns `None` if it was only counted; otherwise the caller must write it, with
    /// the number of uncounted repeats before it and the time of their first.
    pub(super) fn count(
        &self,
        key: &AggregateKey,
        context: &AuditContext,
        event: &Event,
        now: Timestamp,
    ) -> Option<(u64, Timestamp)> {
        let mut windows = self.windows(event.event_type);
        let key = &room_for(&windows, key, event.event_type);
        if matches!(key, AggregateKey::Rest { origin: None, .. }) {
            let window = windows.entry(key.clone()).or_insert_with(|| {
                let event = Event::new(event.event_type).detail("more different ones than are told apart");
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

    /// Removes the windows that are over, or all, and returns those with a count.
    pub(super) fn take(&self, now: Timestamp, all: bool) -> Vec<(AggregateKey, Window)> {
        let mut told = Vec::new();
        for windows in [&self.denials, &self.sign_ins] {
            let mut windows = windows.lock();
            let over = windows.extract_if(|_, window| all || window.is_over(now));
            told.extend(over.filter(|(_, window)| window.count > 0));
        }
        told
    }

    /// Flushes the remaining counts by type only, from this moment on.
    pub(super) fn set_coarse_after(&self, moment: Instant) {
        // Only the first call counts.
        let _ = self.coarse_after.set(moment);
    }

    pub(super) fn is_coarse(&self) -> bool {
        self.coarse_after.get().is_some_and(|moment| Instant::now() >= *moment)
    }

    /// Puts back a count that could not be written.
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

/// The key itself while there is room, and a coarser one otherwise.
fn room_for(windows: &Windows, key: &AggregateKey, event_type: EventType) -> AggregateKey {
    let has_room = |key: &AggregateKey, max| windows.contains_key(key) || windows.len() < max;
    if has_room(key, MAX_KINDS) {
        return key.clone();
    }
    let coarser = key.coarser(event_type);
    if has_room(&coarser, MAX_KINDS + MAX_ORIGINS) { coarser } else { coarser.coarser(event_type) }
}

/// Sums the counts by event type.
pub(super) fn by_type(windows: Vec<(AggregateKey, Window)>) -> Vec<(AggregateKey, Window)> {
    let mut sums = Windows::new();
    for (_, window) in windows {
        let event_type = window.event.event_type;
        let sum = sums.entry(AggregateKey::Rest { event_type, origin: None }).or_insert_with(|| {
            let event = Event::new(event_type).detail("different ones that there was no time to tell apart");
            Window::new(window.since, event, AuditContext::system("audit"))
        });
        sum.count += window.count;
        sum.since = sum.since.min(window.since);
    }
    sums.into_iter().collect()
}

/// The event, as one row for this number of events.
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
        let fold = AggregateKey::denial(&AuditContext::system("test"), &format!("GET /{number}"));
        (fold, Event::new(EventType::AccessDenied))
    }

    fn by(key: usize) -> AuditContext {
        let actor = Actor::Key(CredentialId(i64::try_from(key).unwrap()));
        AuditContext { actor, ..AuditContext::system("test") }
    }

    /// How many of these denials are written at once.
    fn count_all(aggregator: &Aggregator, denials: impl Iterator<Item = (AuditContext, usize)>) -> usize {
        denials
            .filter(|(context, number)| {
                let fold = AggregateKey::denial(context, &format!("GET /{number}"));
                aggregator.count(&fold, context, &Event::new(EventType::AccessDenied), NOW).is_some()
            })
            .count()
    }

    #[test]
    fn many_different_ones_take_bounded_memory_and_none_is_uncounted() {
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
    fn a_flood_of_one_hides_neither_another_nor_a_sign_in() {
        let aggregator = Aggregator::default();
        count_all(&aggregator, (0..2 * MAX_KINDS).map(|number| (by(1), number)));
        let other = by(2);
        assert_eq!(count_all(&aggregator, [(other.clone(), 1), (other.clone(), 2)].into_iter()), 1);
        let sign_in = AggregateKey::sign_in(EventType::LoginFailure, Some("ada@example.com".into()), "192.0.2.1");
        let failed = Event::new(EventType::LoginFailure);
        assert_eq!(aggregator.count(&sign_in, &other, &failed, NOW), Some((0, NOW)));

        let left = aggregator.take(NOW + AGGREGATION_WINDOW, false);
        let mut of: Vec<_> = left.iter().map(|(_, window)| (window.context.actor.to_string(), window.count)).collect();
        of.sort();
        let rest = u64::try_from(MAX_KINDS - 1).unwrap();
        assert_eq!(of, [("key:1".to_owned(), rest), ("key:2".to_owned(), 1)]);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_minute() {
        let aggregator = Aggregator::default();
        let (fold, event) = denial(1);
        let note = |now| aggregator.count(&fold, &AuditContext::system("test"), &event, now);
        assert_eq!(note(NOW), Some((0, NOW)));
        assert_eq!(note(NOW), None);
        let earlier = NOW - AGGREGATION_WINDOW;
        assert_eq!(note(earlier), Some((1, NOW)));
    }

    #[test]
    fn what_is_owed_joins_what_was_counted_since() {
        let aggregator = Aggregator::default();
        let (fold, event) = denial(1);
        let context = AuditContext::system("test");
        let owed = Window { count: 5, ..Window::new(NOW, event.clone(), context.clone()) };
        let later = NOW + AGGREGATION_WINDOW;
        assert_eq!(aggregator.count(&fold, &context, &event, later), Some((0, later)));
        assert_eq!(aggregator.count(&fold, &context, &event, later), None);
        aggregator.requeue(fold.clone(), owed);
        let left = aggregator.take(later, true);
        assert_eq!((left.len(), left[0].1.count, left[0].1.since), (1, 6, NOW));
    }

    #[test]
    fn what_there_is_no_time_for_is_summed_up_by_type() {
        let aggregator = Aggregator::default();
        count_all(&aggregator, (0..100).chain(0..100).chain(50..100).map(|number| (by(1), number)));
        let context = by(2);
        for ip in ["192.0.2.1", "192.0.2.2"] {
            let (fold, event) =
                (AggregateKey::sign_in(EventType::LoginFailure, None, ip), Event::new(EventType::LoginFailure));
            assert!(aggregator.count(&fold, &context, &event, NOW + AGGREGATION_WINDOW).is_some());
            assert!(aggregator.count(&fold, &context, &event, NOW + AGGREGATION_WINDOW).is_none());
        }
        let mut sums: Vec<_> = by_type(aggregator.take(NOW, true))
            .into_iter()
            .map(|(_, window)| (window.event.event_type.text(), window.count, window.since))
            .collect();
        sums.sort();
        assert_eq!(sums, [("access_denied", 150, NOW), ("login_failure", 2, NOW + AGGREGATION_WINDOW)]);
    }
}
