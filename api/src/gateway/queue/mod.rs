//! The queue in front of each model: at most `MAX_CONCURRENT_PER_MODEL` requests run at once in this
//! process, and the others wait in a fair order, which [`fair`] decides.

mod fair;

use std::{collections::HashMap, sync::Arc};

use metrics::{counter, gauge, histogram};
use paddock_accounts::{
    UserId,
    types::{Priority, TextEnum as _},
};
use paddock_ollama::ModelName;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::config::QueueLimits;
pub(super) use fair::Requester;
use fair::{ModelQueue, Waiter};

/// The queue of this process.
pub(super) struct RequestQueue {
    limits: QueueLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    models: HashMap<String, ModelQueue>,
    waiting: Waiting,
    /// How many requests have waited so far, which orders them.
    arrivals: u64,
}

/// The number of waiting requests, for all models.
#[derive(Clone, Copy, Default)]
struct Waiting {
    interactive: usize,
    batch: usize,
}

/// Why a request may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueError {
    /// Too many requests wait already.
    Full,
    /// The request has waited for `QUEUE_TIMEOUT`.
    Timeout,
}

impl QueueError {
    /// The code of the error, and the reason in log and metrics.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Timeout => "queue_timeout",
        }
    }
}

/// A running request. Its place goes to the next one when it is dropped.
pub(crate) struct QueuePermit {
    queue: Arc<RequestQueue>,
    model: String,
    requester: Requester,
    /// The tokens that were added to the time of the user.
    tokens: u64,
}

impl RequestQueue {
    pub(super) fn new(limits: QueueLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Whether requests may have to wait.
    pub(super) fn is_limited(&self) -> bool {
        self.limits.max_concurrent_per_model.is_some()
    }

    /// Waits until the request may run. `tokens` is how many it is expected to use. Returns `None`
    /// if nothing limits the requests of a model. A caller that is dropped leaves the queue.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        model: &ModelName,
        requester: Requester,
        tokens: u64,
    ) -> Result<Option<QueuePermit>, QueueError> {
        let Some(max) = self.limits.max_concurrent_per_model else { return Ok(None) };
        let entered = self.enter(model.as_str(), requester, tokens, max);
        let entered = entered.inspect_err(|refused| refused.count(requester.priority));
        let mut waiting = match entered? {
            Entered::Running(permit) => return Ok(Some(permit)),
            Entered::Waiting(waiting) => waiting,
        };
        let began = Instant::now();
        let granted = timeout(self.limits.timeout, &mut waiting.granted).await;
        let band = requester.priority.text();
        histogram!("paddock_queue_wait_seconds", "band" => band).record(began.elapsed().as_secs_f64());
        let refused = match granted {
            Ok(Ok(permit)) => return Ok(Some(permit)),
            // The request was displaced.
            Ok(Err(_)) => QueueError::Full,
            Err(_) => QueueError::Timeout,
        };
        refused.count(requester.priority);
        Err(refused)
    }

    /// Runs the request at once, or adds it to the queue.
    fn enter(
        self: &Arc<Self>,
        model: &str,
        requester: Requester,
        tokens: u64,
        max: usize,
    ) -> Result<Entered, QueueError> {
        let mut state = self.state.lock();
        let queue = state.models.entry(model.to_owned()).or_default();
        if queue.running() < max {
            queue.begin(requester, tokens);
            return Ok(Entered::Running(self.permit(model, requester, tokens)));
        }
        if state.waiting.total() >= self.limits.size && !state.make_room(requester) {
            return Err(QueueError::Full);
        }
        state.waiting.change(requester.priority, |waiting| waiting + 1);
        state.arrivals += 1;
        let arrival = state.arrivals;
        let (grant, granted) = oneshot::channel();
        let queue = state.models.entry(model.to_owned()).or_default();
        queue.wait(requester, Waiter { arrival, tokens, grant });
        let position = count(queue.ahead(requester.priority));
        histogram!("paddock_queue_position", "band" => requester.priority.text()).record(position);
        let leave = Leave { queue: Arc::clone(self), model: model.to_owned(), requester, arrival };
        Ok(Entered::Waiting(InQueue { granted, _leave: leave }))
    }

    fn permit(self: &Arc<Self>, model: &str, requester: Requester, tokens: u64) -> QueuePermit {
        QueuePermit { queue: Arc::clone(self), model: model.to_owned(), requester, tokens }
    }

    /// Ends a request, and begins the next one.
    fn release(self: &Arc<Self>, model: &str, requester: Requester, tokens: u64) {
        let mut state = self.state.lock();
        let Some(queue) = state.models.get_mut(model) else { return };
        queue.end(requester, tokens);
        let next = queue.next();
        if queue.running() == 0 {
            // Nobody waits either. The next request begins a new time.
            state.models.remove(model);
        }
        if let Some((next, _)) = &next {
            state.waiting.change(next.priority, |waiting| waiting - 1);
        }
        drop(state);
        if let Some((requester, waiter)) = next {
            // A waiter that has left drops the permit, which calls this function again.
            let _ = waiter.grant.send(self.permit(model, requester, waiter.tokens));
        }
    }
}

impl State {
    /// Displaces a request for the one of `requester`: the youngest of the band `batch` for one of the
    /// band `interactive`, else the youngest of the user with most waiting requests in the same band.
    /// Returns false if there is none, or if that user would then have fewer than the requester.
    fn make_room(&mut self, requester: Requester) -> bool {
        let youngest_batch = self.models.iter().flat_map(|(model, queue)| {
            queue.waiting_users(Priority::Batch).map(move |(user, _, arrival)| (arrival, model.clone(), user))
        });
        let youngest_batch = youngest_batch.max_by_key(|(arrival, ..)| *arrival);
        if requester.priority == Priority::Interactive
            && let Some((arrival, model, user)) = youngest_batch
        {
            return self.displace(&model, Requester { user, priority: Priority::Batch }, arrival);
        }
        let mut users: HashMap<UserId, (usize, u64, &String)> = HashMap::new();
        for (model, queue) in &self.models {
            for (user, waiting, arrival) in queue.waiting_users(requester.priority) {
                let (count, youngest, of) = users.entry(user).or_insert((0, arrival, model));
                *count += waiting;
                if arrival > *youngest {
                    (*youngest, *of) = (arrival, model);
                }
            }
        }
        let own = users.get(&requester.user).map_or(0, |(count, ..)| *count);
        let most = users.into_iter().max_by_key(|(_, (count, arrival, _))| (*count, *arrival));
        let Some((user, (_, arrival, model))) = most.filter(|(_, (count, ..))| *count > own + 1) else {
            return false;
        };
        let model = model.clone();
        self.displace(&model, Requester { user, ..requester }, arrival)
    }

    /// Removes a waiting request, which then gets [`QueueError::Full`].
    fn displace(&mut self, model: &str, requester: Requester, arrival: u64) -> bool {
        let is_removed = self.models.get_mut(model).is_some_and(|queue| queue.leave(requester, arrival));
        if is_removed {
            self.waiting.change(requester.priority, |waiting| waiting - 1);
        }
        is_removed
    }

    /// Removes a waiting request, unless it has begun or was displaced.
    fn leave(&mut self, leave: &Leave) {
        let queue = self.models.get_mut(&leave.model);
        if queue.is_some_and(|queue| queue.leave(leave.requester, leave.arrival)) {
            self.waiting.change(leave.requester.priority, |waiting| waiting - 1);
        }
    }
}

impl Waiting {
    fn total(self) -> usize {
        self.interactive + self.batch
    }

    fn change(&mut self, priority: Priority, change: impl FnOnce(usize) -> usize) {
        let waiting = match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        };
        *waiting = change(*waiting);
        gauge!("paddock_queue_waiting", "band" => priority.text()).set(count(*waiting));
    }
}

enum Entered {
    Running(QueuePermit),
    Waiting(InQueue),
}

/// A request in the queue. It leaves the queue when it is dropped.
struct InQueue {
    granted: oneshot::Receiver<QueuePermit>,
    _leave: Leave,
}

struct Leave {
    queue: Arc<RequestQueue>,
    model: String,
    requester: Requester,
    arrival: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.queue.state.lock().leave(self);
    }
}

impl QueuePermit {
    /// Corrects the time of the user to the tokens that the request has used.
    pub(crate) fn settle(&mut self, actual: u64) {
        if let Some(queue) = self.queue.state.lock().models.get_mut(&self.model) {
            queue.settle(self.requester, self.tokens, actual);
            self.tokens = actual;
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.queue.release(&self.model, self.requester, self.tokens);
    }
}

impl QueueError {
    fn count(self, priority: Priority) {
        let band = priority.text();
        counter!("paddock_queue_refused_total", "reason" => self.code(), "band" => band).increment(1);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
const fn count(requests: usize) -> f64 {
    requests as f64
}

#[cfg(test)]
mod tests;
