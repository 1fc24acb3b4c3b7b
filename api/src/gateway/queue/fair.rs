//! The order of the requests of one model. Pure.
//!
//! Each band is a weighted fair queue over users. Each user has a virtual time, to which every
//! request of the user adds its tokens. The next request is that of the waiting user with the
//! earliest time. A user who begins to wait joins at the time of the users who wait already, so an
//! absent user saves up no time. A user with many requests delays the single request of another user
//! by one turn at most.
//!
//! The tokens of a running request are an estimate, which its client can raise at will. They delay the
//! next request of its user. They do not move the time at which others join.
//!
//! Requests of the band `interactive` begin before those of the band `batch`, except that every
//! [`BATCH_TURN`]th turn is of `batch` while both wait.

use std::collections::{HashMap, VecDeque};

use paddock_accounts::{UserId, types::Priority};
use tokio::sync::oneshot;

use super::QueuePermit;

/// While requests of both bands wait, one turn of this many is of the band `batch`.
const BATCH_TURN: u32 = 5;

/// Whose request it is, and in which band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) user: UserId,
    pub(crate) priority: Priority,
}

/// A request that waits.
pub(super) struct Waiter {
    /// Orders the waiting requests of all models by their arrival.
    pub(super) arrival: u64,
    pub(super) tokens: u64,
    pub(super) grant: oneshot::Sender<QueuePermit>,
}

/// The requests of one model. Exists while one of them runs.
#[derive(Default)]
pub(super) struct ModelQueue {
    running: usize,
    interactive: Band,
    batch: Band,
    /// How many turns in a row were of the band `interactive` while the other one waited.
    interactive_turns: u32,
}

/// The requests of one band.
#[derive(Default)]
struct Band {
    /// The virtual time at which a user joins, in tokens. It never goes back.
    clock: u64,
    users: HashMap<UserId, UserQueue>,
}

/// The requests of one user in a band.
#[derive(Default)]
struct UserQueue {
    /// The virtual time at which the next request begins, in tokens.
    time: u64,
    /// The part of `time` that running requests are expected to use.
    expected: u64,
    running: usize,
    waiting: VecDeque<Waiter>,
}

impl ModelQueue {
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// The number of requests that begin before a new one of this band, if no other one arrives and
    /// turns of `batch` are not counted.
    pub(super) fn ahead(&self, priority: Priority) -> usize {
        let batch = if priority == Priority::Batch { self.batch.waiting() } else { 0 };
        self.interactive.waiting() + batch
    }

    /// Begins a request that did not wait.
    pub(super) fn begin(&mut self, requester: Requester, tokens: u64) {
        self.running += 1;
        let band = self.band(requester.priority);
        band.join(requester.user);
        band.begin(requester.user, tokens);
    }

    /// Adds a request that waits.
    pub(super) fn wait(&mut self, requester: Requester, waiter: Waiter) {
        self.band(requester.priority).join(requester.user).waiting.push_back(waiter);
    }

    /// Removes a waiting request. Returns false if it does not wait.
    pub(super) fn leave(&mut self, requester: Requester, arrival: u64) -> bool {
        let Some(user) = self.band(requester.priority).users.get_mut(&requester.user) else { return false };
        let before = user.waiting.len();
        user.waiting.retain(|waiter| waiter.arrival != arrival);
        user.waiting.len() < before
    }

    /// Ends a request, for which these tokens are counted.
    pub(super) fn end(&mut self, requester: Requester, tokens: u64) {
        self.running -= 1;
        self.band(requester.priority).end(requester.user, tokens);
    }

    /// Corrects the time of a user by the tokens that a running request has used.
    pub(super) fn settle(&mut self, requester: Requester, expected: u64, actual: u64) {
        if let Some(user) = self.band(requester.priority).users.get_mut(&requester.user) {
            user.time = user.time.saturating_sub(expected).saturating_add(actual);
            user.expected = user.expected.saturating_sub(expected).saturating_add(actual);
        }
    }

    /// Begins the next request.
    pub(super) fn next(&mut self) -> Option<(Requester, Waiter)> {
        let (interactive, batch) = (self.interactive.waiting() > 0, self.batch.waiting() > 0);
        let is_turn_of_batch = batch && self.interactive_turns + 1 >= BATCH_TURN;
        let priority = if interactive && !is_turn_of_batch { Priority::Interactive } else { Priority::Batch };
        let (user, waiter) = self.band(priority).next()?;
        self.running += 1;
        self.interactive_turns =
            if priority == Priority::Interactive && batch { self.interactive_turns + 1 } else { 0 };
        Some((Requester { user, priority }, waiter))
    }

    /// Each user who waits in the band, with the number of waiting requests and the arrival of the
    /// youngest.
    pub(super) fn waiting_users(&self, priority: Priority) -> impl Iterator<Item = (UserId, usize, u64)> {
        let band = match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        };
        let waiting =
            |(user, queue): (&UserId, &UserQueue)| Some((*user, queue.waiting.len(), queue.waiting.back()?.arrival));
        band.users.iter().filter_map(waiting)
    }

    fn band(&mut self, priority: Priority) -> &mut Band {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}

impl UserQueue {
    /// The time without what running requests are expected to use.
    fn used(&self) -> u64 {
        self.time.saturating_sub(self.expected)
    }
}

impl Band {
    /// Returns the requests of the user. A user who did not wait saves up no time.
    fn join(&mut self, user: UserId) -> &mut UserQueue {
        let waiting = self.users.values().filter(|queue| !queue.waiting.is_empty());
        if let Some(earliest) = waiting.map(UserQueue::used).min() {
            self.clock = self.clock.max(earliest);
        }
        let clock = self.clock;
        let queue = self.users.entry(user).or_default();
        if queue.waiting.is_empty() {
            queue.time = queue.time.max(clock.saturating_add(queue.expected));
        }
        queue
    }

    fn begin(&mut self, user: UserId, tokens: u64) {
        if let Some(queue) = self.users.get_mut(&user) {
            queue.time = queue.time.saturating_add(tokens);
            queue.expected = queue.expected.saturating_add(tokens);
            queue.running += 1;
        }
    }

    fn end(&mut self, user: UserId, tokens: u64) {
        if let Some(queue) = self.users.get_mut(&user) {
            queue.running -= 1;
            queue.expected = queue.expected.saturating_sub(tokens);
        }
        let clock = self.clock;
        self.users.retain(|_, queue| queue.running > 0 || !queue.waiting.is_empty() || queue.time > clock);
    }

    /// Begins the request of the user with the earliest time; of several, the one that has waited
    /// longest.
    fn next(&mut self) -> Option<(UserId, Waiter)> {
        let heads =
            self.users.iter().filter_map(|(user, queue)| Some((queue.time, queue.waiting.front()?.arrival, *user)));
        let (_, _, user) = heads.min_by_key(|(time, arrival, _)| (*time, *arrival))?;
        let waiter = self.users.get_mut(&user)?.waiting.pop_front()?;
        self.begin(user, waiter.tokens);
        Some((user, waiter))
    }

    fn waiting(&self) -> usize {
        self.users.values().map(|queue| queue.waiting.len()).sum()
    }
}
