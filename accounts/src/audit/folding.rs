//! Repeats that are counted instead of written one by one, so that nobody can flood the chain and nothing is uncounted.
//!
//! The first event of a kind is written at once. Those of the minute after it are counted in memory, and their number
//! stands in the next row of that kind; where none comes, in a row that is written when the minute is over, or the process
//! ends. What a process that ends has no time to write kind by kind is one row for each type. `change.after.times` of a row is how many events it stands for: without it, one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use metrics::counter;
use scoped_futures::ScopedFutureExt;
use tokio::{sync, time::Instant};

use super::{Event, EventType};
use crate::{Accounts, clock::Time, context::Context, error::Error, store::Outcome};

/// How long repeats are counted.
const WINDOW: Duration = Duration::from_mins(1);
/// How many kinds of denials are told apart at once, and how many of sign-ins, so that neither takes the other's room.
/// Beyond that only by whom, or from where, they are.
const MOST_KINDS: usize = 4096;
/// How many of these are told apart then. Beyond that only the type of an event is.
const MOST_ORIGINS: usize = 1024;
/// How many counts are written in one transaction: each of its own would take a second for each thousand.
const TOGETHER: usize = 500;

/// What makes two events repeats of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fold {
    /// The same principal was refused on the same route.
    Denial { actor: String, route: String },
    /// Signing in to the same account went wrong likewise, from the same address.
    SignIn { event_type: EventType, account: Option<String>, address: String },
    /// What more there is than can be told apart otherwise, by the actor of a denial or the address of a sign-in; `None`:
    /// of many of those.
    Rest { event_type: EventType, origin: Option<String> },
}

impl Fold {
    pub(crate) fn denial(context: &Context, route: &str) -> Self {
        Self::Denial { actor: context.actor.to_string(), route: route.to_owned() }
    }

    /// The same, told apart by less.
    fn coarser(&self, event_type: EventType) -> Self {
        let origin = match self {
            Self::Denial { actor, .. } => Some(actor.clone()),
            Self::SignIn { address, .. } => Some(address.clone()),
            Self::Rest { .. } => None,
        };
        Self::Rest { event_type, origin }
    }

    /// For `login_failure` and `login_rate_limited`.
    pub(crate) fn sign_in(event_type: EventType, account: Option<String>, address: &str) -> Self {
        Self::SignIn { event_type, account, address: address.to_owned() }
    }
}

/// A minute in which repeats are counted.
struct Window {
    since: Time,
    count: u64,
    /// The newest of them, and its circumstances.
    event: Event,
    context: Context,
}

impl Window {
    fn new(since: Time, event: Event, context: Context) -> Self {
        Self { since, count: 0, event, context }
    }

    /// The row that stands for all of them.
    fn row(&self) -> (Event, Context) {
        (standing_for(self.event.clone(), self.count, self.since), self.context.clone())
    }

    /// A clock that was set back ends it too.
    fn is_over(&self, now: Time) -> bool {
        now < self.since || now >= self.since + WINDOW
    }
}

/// What is being counted of one sort of events.
type Windows = HashMap<Fold, Window>;

/// What is being counted.
#[derive(Default)]
pub(crate) struct Folding {
    denials: Mutex<Windows>,
    sign_ins: Mutex<Windows>,
    /// Held while counts are written, so that the end of the process waits for it.
    turn: Arc<sync::Mutex<()>>,
    /// When there is no time any more to write them kind by kind.
    hurry: OnceLock<Instant>,
}

impl Folding {
    fn windows(&self, event_type: EventType) -> MutexGuard<'_, Windows> {
        let windows = if event_type == EventType::AccessDenied { &self.denials } else { &self.sign_ins };
        windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event; or has it written, with how many repeats before it, and since when.
    fn note(&self, fold: &Fold, context: &Context, event: &Event, now: Time) -> Option<(u64, Time)> {
        let mut windows = self.windows(event.event_type);
        let fold = &room_for(&windows, fold, event.event_type);
        if matches!(fold, Fold::Rest { origin: None, .. }) {
            let window = windows.entry(fold.clone()).or_insert_with(|| {
                let event = Event::new(event.event_type).detail("more different ones than are told apart");
                Window::new(now, event, Context::system("audit"))
            });
            window.count += 1;
            return None;
        }
        match windows.get_mut(fold) {
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
                windows.insert(fold.clone(), Window::new(now, event.clone(), context.clone()));
                Some((0, now))
            }
        }
    }

    /// Takes out the windows that are over, or all, and returns those that have something to tell.
    fn take(&self, now: Time, all: bool) -> Vec<(Fold, Window)> {
        let mut told = Vec::new();
        for windows in [&self.denials, &self.sign_ins] {
            let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
            let over = windows.extract_if(|_, window| all || window.is_over(now));
            told.extend(over.filter(|(_, window)| window.count > 0));
        }
        told
    }

    /// From this moment on, what is left of the counts is told by type alone.
    pub(super) fn hurry_from(&self, moment: Instant) {
        // At the first end of a process that has one.
        let _ = self.hurry.set(moment);
    }

    fn is_in_a_hurry(&self) -> bool {
        self.hurry.get().is_some_and(|moment| Instant::now() >= *moment)
    }

    /// Puts back what could not be written.
    fn owe(&self, fold: Fold, owed: Window) {
        let mut windows = self.windows(owed.event.event_type);
        if let Some(window) = windows.get_mut(&fold) {
            window.count += owed.count;
            window.since = window.since.min(owed.since);
        } else {
            windows.insert(fold, owed);
        }
    }
}

/// The kind itself while there is room, and a coarser one when there is none.
fn room_for(windows: &Windows, fold: &Fold, event_type: EventType) -> Fold {
    let has_room = |fold: &Fold, most| windows.contains_key(fold) || windows.len() < most;
    if has_room(fold, MOST_KINDS) {
        return fold.clone();
    }
    let coarser = fold.coarser(event_type);
    if has_room(&coarser, MOST_KINDS + MOST_ORIGINS) { coarser } else { coarser.coarser(event_type) }
}

/// The same counts, told apart by nothing but the type.
fn by_type(windows: Vec<(Fold, Window)>) -> Vec<(Fold, Window)> {
    let mut sums = Windows::new();
    for (_, window) in windows {
        let event_type = window.event.event_type;
        let sum = sums.entry(Fold::Rest { event_type, origin: None }).or_insert_with(|| {
            let event = Event::new(event_type).detail("different ones that there was no time to tell apart");
            Window::new(window.since, event, Context::system("audit"))
        });
        sum.count += window.count;
        sum.since = sum.since.min(window.since);
    }
    sums.into_iter().collect()
}

/// The event as a row that stands for so many.
fn standing_for(mut event: Event, times: u64, since: Time) -> Event {
    event.change.field("times", None, Some(&times));
    event.change.field("since", None, Some(&since));
    let detail = event.detail.take().unwrap_or_default();
    event.detail(format!("{detail} ({times} times since {since})"))
}

impl Accounts {
    /// Records an event that may come in floods: at once, or by counting it.
    ///
    /// One that is to be written is written also when the caller is dropped; one that could not be is counted.
    pub(crate) async fn fold(&self, context: &Context, fold: Fold, event: Event) -> Result<(), Error> {
        let now = self.now();
        let Some((before, since)) = self.folding().note(&fold, context, &event, now) else {
            counter!("paddock_audit_folded_total", "event_type" => event.event_type.text()).increment(1);
            return Ok(());
        };
        let (accounts, context) = (self.clone(), context.clone());
        let written = tokio::spawn(async move {
            let row = if before == 0 { event.clone() } else { standing_for(event.clone(), before + 1, since) };
            let written = accounts.write_event(&context, &row).await;
            if written.is_err() {
                accounts.folding().owe(fold, Window { since, count: before + 1, event, context });
            }
            written
        });
        written.await.map_err(|_| Error::Stopping)?
    }

    /// Writes the counts of the minutes that are over; at the end of the process, all.
    pub(super) async fn unfold(&self, all: bool) {
        let turn = self.folding().turn.clone().lock_owned().await;
        let accounts = self.clone();
        let told = tokio::spawn(async move {
            let _turn = turn;
            let mut left = accounts.folding().take(accounts.now(), all);
            while !left.is_empty() {
                if accounts.folding().is_in_a_hurry() {
                    left = by_type(left);
                }
                let next = left.split_off(left.len().min(TOGETHER));
                let rows = left.iter().map(|(_, window)| window.row()).collect();
                if let Err(error) = accounts.write_events(rows).await {
                    let owed = left.len() + next.len();
                    tracing::error!(%error, owed, "folded audit events cannot be written yet");
                    left.into_iter().chain(next).for_each(|(fold, window)| accounts.folding().owe(fold, window));
                    return;
                }
                left = next;
            }
        });
        // Should it have panicked, the panic hook has told.
        let _ = told.await;
    }

    async fn write_event(&self, context: &Context, event: &Event) -> Result<(), Error> {
        self.write(context, |_| async move { Ok(Outcome::changed((), event.clone())) }.scope_boxed()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::Actor, credentials::CredentialId};

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn denial(number: usize) -> (Fold, Event) {
        let fold = Fold::denial(&Context::system("test"), &format!("GET /{number}"));
        (fold, Event::new(EventType::AccessDenied))
    }

    fn by(key: usize) -> Context {
        let actor = Actor::Key(CredentialId(i64::try_from(key).unwrap()));
        Context { actor, ..Context::system("test") }
    }

    /// How many of these denials are written at once.
    fn note_all(folding: &Folding, denials: impl Iterator<Item = (Context, usize)>) -> usize {
        denials
            .filter(|(context, number)| {
                let fold = Fold::denial(context, &format!("GET /{number}"));
                folding.note(&fold, context, &Event::new(EventType::AccessDenied), NOW).is_some()
            })
            .count()
    }

    #[test]
    fn many_different_ones_take_bounded_memory_and_none_is_uncounted() {
        let folding = Folding::default();
        let origins = (1..=MOST_ORIGINS + 1000).map(|number| (by(number), number));
        let kinds = (0..MOST_KINDS).map(|number| (by(0), number));
        assert_eq!(note_all(&folding, kinds), MOST_KINDS);
        assert_eq!(note_all(&folding, origins), MOST_ORIGINS);
        assert_eq!(folding.windows(EventType::AccessDenied).len(), MOST_KINDS + MOST_ORIGINS + 1);
        let left = folding.take(NOW + WINDOW, false);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, Fold::Rest { event_type: EventType::AccessDenied, origin: None });
        assert_eq!(left[0].1.count, 1000);
        assert!(folding.windows(EventType::AccessDenied).is_empty());
    }

    #[test]
    fn a_flood_of_one_hides_neither_another_nor_a_sign_in() {
        let folding = Folding::default();
        note_all(&folding, (0..2 * MOST_KINDS).map(|number| (by(1), number)));
        let other = by(2);
        assert_eq!(note_all(&folding, [(other.clone(), 1), (other.clone(), 2)].into_iter()), 1);
        let sign_in = Fold::sign_in(EventType::LoginFailure, Some("ada@example.com".into()), "192.0.2.1");
        let failed = Event::new(EventType::LoginFailure);
        assert_eq!(folding.note(&sign_in, &other, &failed, NOW), Some((0, NOW)));

        let left = folding.take(NOW + WINDOW, false);
        let mut of: Vec<_> = left.iter().map(|(_, window)| (window.context.actor.to_string(), window.count)).collect();
        of.sort();
        let rest = u64::try_from(MOST_KINDS - 1).unwrap();
        assert_eq!(of, [("key:1".to_owned(), rest), ("key:2".to_owned(), 1)]);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_minute() {
        let folding = Folding::default();
        let (fold, event) = denial(1);
        let note = |now| folding.note(&fold, &Context::system("test"), &event, now);
        assert_eq!(note(NOW), Some((0, NOW)));
        assert_eq!(note(NOW), None);
        let earlier = NOW - WINDOW;
        assert_eq!(note(earlier), Some((1, NOW)));
    }

    #[test]
    fn what_is_owed_joins_what_was_counted_since() {
        let folding = Folding::default();
        let (fold, event) = denial(1);
        let context = Context::system("test");
        let owed = Window { count: 5, ..Window::new(NOW, event.clone(), context.clone()) };
        let later = NOW + WINDOW;
        assert_eq!(folding.note(&fold, &context, &event, later), Some((0, later)));
        assert_eq!(folding.note(&fold, &context, &event, later), None);
        folding.owe(fold.clone(), owed);
        let left = folding.take(later, true);
        assert_eq!((left.len(), left[0].1.count, left[0].1.since), (1, 6, NOW));
    }

    #[test]
    fn what_there_is_no_time_for_is_summed_up_by_type() {
        let folding = Folding::default();
        note_all(&folding, (0..100).chain(0..100).chain(50..100).map(|number| (by(1), number)));
        let context = by(2);
        for ip in ["192.0.2.1", "192.0.2.2"] {
            let (fold, event) = (Fold::sign_in(EventType::LoginFailure, None, ip), Event::new(EventType::LoginFailure));
            assert!(folding.note(&fold, &context, &event, NOW + WINDOW).is_some());
            assert!(folding.note(&fold, &context, &event, NOW + WINDOW).is_none());
        }
        let mut sums: Vec<_> = by_type(folding.take(NOW, true))
            .into_iter()
            .map(|(_, window)| (window.event.event_type.text(), window.count, window.since))
            .collect();
        sums.sort();
        assert_eq!(sums, [("access_denied", 150, NOW), ("login_failure", 2, NOW + WINDOW)]);
    }
}
