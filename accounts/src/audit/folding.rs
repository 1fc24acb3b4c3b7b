//! Repeats that are counted instead of written one by one, so that nobody can flood the chain and nothing is uncounted.
//!
//! The first event of a kind is written at once. Those of the minute after it are counted in memory, and their number
//! stands in the next row of that kind; where none comes, in a row that is written when the minute is over, or the process
//! ends. `change.after.times` of a row is how many events it stands for: without it, one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::counter;
use scoped_futures::ScopedFutureExt;
use tokio::sync;

use super::{Event, EventType};
use crate::{Accounts, clock::Time, context::Context, error::Error, store::Outcome};

/// How long repeats are counted.
const WINDOW: Duration = Duration::from_mins(1);
/// How many kinds are told apart at once. Beyond that only the type of an event is.
const MOST_KINDS: usize = 4096;

/// What makes two events repeats of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fold {
    /// The same principal was refused on the same route.
    Denial { actor: String, route: String },
    /// Signing in to the same account went wrong likewise, from the same address.
    SignIn { event_type: EventType, account: Option<String>, address: String },
    /// Whatever more there is than can be told apart.
    Rest(EventType),
}

impl Fold {
    pub(crate) fn denial(context: &Context, route: &str) -> Self {
        Self::Denial { actor: context.actor.to_string(), route: route.to_owned() }
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

    /// A clock that was set back ends it too.
    fn is_over(&self, now: Time) -> bool {
        now < self.since || now >= self.since + WINDOW
    }
}

/// What is being counted.
#[derive(Default)]
pub(crate) struct Folding {
    windows: Mutex<HashMap<Fold, Window>>,
    /// Held while counts are written, so that the end of the process waits for it.
    turn: Arc<sync::Mutex<()>>,
}

impl Folding {
    fn windows(&self) -> MutexGuard<'_, HashMap<Fold, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event; or has it written, with how many repeats before it, and since when.
    fn note(&self, fold: &Fold, context: &Context, event: &Event, now: Time) -> Option<(u64, Time)> {
        let mut windows = self.windows();
        if !windows.contains_key(fold) && windows.len() >= MOST_KINDS {
            let rest = Fold::Rest(event.event_type);
            let window = windows.entry(rest).or_insert_with(|| {
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
        let over = self.windows().extract_if(|_, window| all || window.is_over(now)).collect::<Vec<_>>();
        over.into_iter().filter(|(_, window)| window.count > 0).collect()
    }

    /// Puts back what could not be written.
    fn owe(&self, fold: Fold, owed: Window) {
        let mut windows = self.windows();
        if let Some(window) = windows.get_mut(&fold) {
            window.count += owed.count;
            window.since = window.since.min(owed.since);
        } else {
            windows.insert(fold, owed);
        }
    }
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
            let mut left = accounts.folding().take(accounts.now(), all).into_iter();
            while let Some((fold, window)) = left.next() {
                let event = standing_for(window.event.clone(), window.count, window.since);
                if let Err(error) = accounts.write_event(&window.context, &event).await {
                    let owed = left.len() + 1;
                    tracing::error!(%error, owed, "folded audit events cannot be written yet");
                    std::iter::once((fold, window)).chain(left).for_each(|(fold, w)| accounts.folding().owe(fold, w));
                    return;
                }
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

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn denial(number: usize) -> (Fold, Event) {
        let fold = Fold::denial(&Context::system("test"), &format!("GET /{number}"));
        (fold, Event::new(EventType::AccessDenied))
    }

    #[test]
    fn many_different_ones_take_bounded_memory_and_none_is_uncounted() {
        let folding = Folding::default();
        let all = MOST_KINDS + 1000;
        let written = (0..all)
            .filter(|number| {
                let (fold, event) = denial(*number);
                folding.note(&fold, &Context::system("test"), &event, NOW).is_some()
            })
            .count();
        assert_eq!(written, MOST_KINDS);
        assert_eq!(folding.windows().len(), MOST_KINDS + 1);
        let left = folding.take(NOW + WINDOW, false);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, Fold::Rest(EventType::AccessDenied));
        assert_eq!(left[0].1.count, 1000);
        assert!(folding.windows().is_empty());
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
}
