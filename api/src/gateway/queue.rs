//! The queue in front of each model: at most `MAX_CONCURRENT_PER_MODEL` requests run at once in this
//! process, and the others wait in a fair order.
//!
//! The order is weighted fair queueing over users. Each user has a virtual time, to which every
//! request of the user adds its tokens. The next request is that of the waiting user with the
//! earliest time. A user without requests in the queue joins at the time of the request that began
//! last, so an absent user saves up no time. A user with many requests delays the single request of
//! another user by one turn at most.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use metrics::{counter, gauge, histogram};
use paddock_accounts::UserId;
use paddock_ollama::ModelName;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::config::QueueLimits;

/// The queue of this process.
pub(super) struct RequestQueue {
    limits: QueueLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    models: HashMap<String, ModelQueue>,
    /// The number of waiting requests, for all models.
    waiting: usize,
    /// How many requests have waited so far, which orders them.
    arrivals: u64,
}

/// The requests of one model. Exists while one of them runs.
#[derive(Default)]
struct ModelQueue {
    running: usize,
    /// The virtual time of the request that began last, in tokens.
    clock: u64,
    users: HashMap<UserId, UserQueue>,
}

/// The requests of one user for a model.
#[derive(Default)]
struct UserQueue {
    /// The virtual time at which the next request begins, in tokens.
    time: u64,
    running: usize,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    arrival: u64,
    tokens: u64,
    grant: oneshot::Sender<QueuePermit>,
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
    user: UserId,
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
        user: UserId,
        tokens: u64,
    ) -> Result<Option<QueuePermit>, QueueError> {
        let Some(max) = self.limits.max_concurrent_per_model else { return Ok(None) };
        let entered = self.enter(model.as_str(), user, tokens, max);
        let entered = entered.inspect_err(|refused| refused.count());
        let mut waiting = match entered? {
            Entered::Running(permit) => return Ok(Some(permit)),
            Entered::Waiting(waiting) => waiting,
        };
        let began = Instant::now();
        let granted = timeout(self.limits.timeout, &mut waiting.granted).await;
        histogram!("paddock_queue_wait_seconds").record(began.elapsed().as_secs_f64());
        if let Ok(Ok(permit)) = granted {
            return Ok(Some(permit));
        }
        QueueError::Timeout.count();
        Err(QueueError::Timeout)
    }

    /// Runs the request at once, or adds it to the queue.
    fn enter(self: &Arc<Self>, model: &str, user: UserId, tokens: u64, max: usize) -> Result<Entered, QueueError> {
        let mut state = self.state.lock();
        let State { models, waiting, arrivals } = &mut *state;
        let queue = models.entry(model.to_owned()).or_default();
        if queue.running < max {
            queue.join(user);
            queue.begin(user, tokens);
            return Ok(Entered::Running(self.permit(model, user, tokens)));
        }
        if *waiting >= self.limits.size {
            return Err(QueueError::Full);
        }
        *waiting += 1;
        *arrivals += 1;
        let (grant, granted) = oneshot::channel();
        let arrival = *arrivals;
        queue.join(user).waiting.push_back(Waiter { arrival, tokens, grant });
        histogram!("paddock_queue_position").record(count(queue.waiting()));
        gauge!("paddock_queue_waiting").set(count(*waiting));
        let leave = Leave { queue: Arc::clone(self), model: model.to_owned(), user, arrival };
        Ok(Entered::Waiting(Waiting { granted, _leave: leave }))
    }

    fn permit(self: &Arc<Self>, model: &str, user: UserId, tokens: u64) -> QueuePermit {
        QueuePermit { queue: Arc::clone(self), model: model.to_owned(), user, tokens }
    }

    /// Ends a request, and begins the next one.
    fn release(self: &Arc<Self>, model: &str, user: UserId) {
        let mut state = self.state.lock();
        let State { models, waiting, .. } = &mut *state;
        let Some(queue) = models.get_mut(model) else { return };
        queue.end(user);
        let next = queue.next();
        if queue.running == 0 {
            // Nobody waits either. The next request begins a new time.
            models.remove(model);
        }
        if next.is_some() {
            *waiting -= 1;
            gauge!("paddock_queue_waiting").set(count(*waiting));
        }
        drop(state);
        if let Some((user, waiter)) = next {
            // A waiter that has left drops the permit, which calls this function again.
            let _ = waiter.grant.send(self.permit(model, user, waiter.tokens));
        }
    }

    /// Removes a waiting request, unless it has begun.
    fn leave(&self, leave: &Leave) {
        let mut state = self.state.lock();
        let State { models, waiting, .. } = &mut *state;
        let user = models.get_mut(&leave.model).and_then(|queue| queue.users.get_mut(&leave.user));
        let Some(user) = user else { return };
        let before = user.waiting.len();
        user.waiting.retain(|waiter| waiter.arrival != leave.arrival);
        *waiting -= before - user.waiting.len();
        gauge!("paddock_queue_waiting").set(count(*waiting));
    }
}

enum Entered {
    Running(QueuePermit),
    Waiting(Waiting),
}

/// A request in the queue. It leaves the queue when it is dropped.
struct Waiting {
    granted: oneshot::Receiver<QueuePermit>,
    _leave: Leave,
}

struct Leave {
    queue: Arc<RequestQueue>,
    model: String,
    user: UserId,
    arrival: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.queue.leave(self);
    }
}

impl ModelQueue {
    /// Returns the requests of the user, whose time is not before that of the queue.
    fn join(&mut self, user: UserId) -> &mut UserQueue {
        let queue = self.users.entry(user).or_default();
        if queue.running == 0 && queue.waiting.is_empty() {
            queue.time = queue.time.max(self.clock);
        }
        queue
    }

    fn begin(&mut self, user: UserId, tokens: u64) {
        self.running += 1;
        if let Some(queue) = self.users.get_mut(&user) {
            self.clock = self.clock.max(queue.time);
            queue.time = queue.time.saturating_add(tokens);
            queue.running += 1;
        }
    }

    fn end(&mut self, user: UserId) {
        self.running -= 1;
        if let Some(queue) = self.users.get_mut(&user) {
            queue.running -= 1;
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

impl QueuePermit {
    /// Corrects the time of the user to the tokens that the request has used.
    pub(crate) fn settle(&mut self, actual: u64) {
        let mut state = self.queue.state.lock();
        let user = state.models.get_mut(&self.model).and_then(|queue| queue.users.get_mut(&self.user));
        if let Some(user) = user {
            user.time = user.time.saturating_sub(self.tokens).saturating_add(actual);
            self.tokens = actual;
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.queue.release(&self.model, self.user);
    }
}

impl QueueError {
    fn count(self) {
        counter!("paddock_queue_refused_total", "reason" => self.code()).increment(1);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
const fn count(requests: usize) -> f64 {
    requests as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    const ADA: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn queue(max: usize, size: usize) -> Arc<RequestQueue> {
        let timeout = Duration::from_mins(1);
        RequestQueue::new(QueueLimits { max_concurrent_per_model: Some(max), size, timeout })
    }

    fn model() -> ModelName {
        ModelName::parse("m").unwrap()
    }

    /// Runs requests of these users and tokens one after the other, and returns the users in the
    /// order in which they run. The first one runs while the others arrive.
    async fn order(requests: &[(UserId, u64)]) -> Vec<UserId> {
        let (queue, model) = (queue(1, 100), model());
        let (sender, mut began) = tokio::sync::mpsc::unbounded_channel();
        let mut first = None;
        for &(user, tokens) in requests {
            let mut acquiring = Box::pin({
                let (queue, model) = (Arc::clone(&queue), model.clone());
                async move { queue.acquire(&model, user, tokens).await }
            });
            if let Some(permit) = acquiring.as_mut().now_or_never() {
                first = permit.unwrap();
                continue;
            }
            let sender = sender.clone();
            tokio::spawn(async move {
                let permit = acquiring.await.unwrap();
                sender.send(user).unwrap();
                drop(permit);
            });
        }
        drop((first, sender));
        let mut users = vec![requests[0].0];
        while let Some(user) = began.recv().await {
            users.push(user);
        }
        assert!(queue.state.lock().models.is_empty());
        assert_eq!(queue.state.lock().waiting, 0);
        users
    }

    #[tokio::test]
    async fn a_single_request_waits_for_one_turn() {
        let mut requests = vec![(ADA, 10); 20];
        requests.push((BOB, 1000));
        let users = order(&requests).await;
        assert_eq!(users[..3], [ADA, BOB, ADA]);
        assert_eq!(users.len(), 21);
    }

    #[tokio::test]
    async fn users_share_the_model_by_tokens() {
        // Bob's requests are three times as large, so Ada's run three times as often.
        let requests = [[(ADA, 10); 12].as_slice(), &[(BOB, 30); 4]].concat();
        let users = order(&requests).await;
        for turns in users.chunks(4) {
            assert_eq!(turns.iter().filter(|user| **user == BOB).count(), 1, "{users:?}");
        }
    }

    #[tokio::test]
    async fn a_request_that_leaves_frees_its_place() {
        let (queue, model) = (queue(1, 1), model());
        let running = queue.acquire(&model, ADA, 1).await.unwrap();
        let mut waiting = Box::pin(queue.acquire(&model, ADA, 1));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(queue.acquire(&model, BOB, 1).await.err(), Some(QueueError::Full));
        drop(waiting);
        let mut waiting = Box::pin(queue.acquire(&model, BOB, 1));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(running);
        assert!(waiting.await.unwrap().is_some());
        assert!(queue.state.lock().models.is_empty());
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_timeout() {
        let timeout = Duration::from_millis(1);
        let queue = RequestQueue::new(QueueLimits { max_concurrent_per_model: Some(1), size: 9, timeout });
        let model = model();
        let _running = queue.acquire(&model, ADA, 1).await.unwrap();
        assert_eq!(queue.acquire(&model, BOB, 1).await.err(), Some(QueueError::Timeout));
        assert_eq!(queue.state.lock().waiting, 0);
    }

    #[tokio::test]
    async fn a_settled_request_counts_with_its_tokens() {
        let (queue, model) = (queue(2, 9), model());
        let mut of_ada = queue.acquire(&model, ADA, 1000).await.unwrap();
        let _of_bob = queue.acquire(&model, BOB, 100).await.unwrap();
        let mut second = Box::pin(queue.acquire(&model, BOB, 1));
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(queue.acquire(&model, ADA, 1));
        assert!(third.as_mut().now_or_never().is_none());
        // Ada's request used few tokens, so that Ada is ahead of Bob.
        of_ada.as_mut().unwrap().settle(1);
        drop(of_ada);
        let _of_ada = third.now_or_never().expect("a place");
        assert!(second.as_mut().now_or_never().is_none());
    }
}
