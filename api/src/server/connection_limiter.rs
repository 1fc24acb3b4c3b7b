//! Bounds the number of connections. Each connection needs a file descriptor, and their number is
//! limited.
//!
//! When every permit is taken, the connection that has been idle longest is evicted for a new one.
//! So a client cannot keep others out by opening connections and sending nothing (a slow-loris
//! attack).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{config::ConnectionLimits, http::slot::Slot};

/// The time between two log lines about exhausted permits.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Grants permits for connections.
pub(super) struct ConnectionLimiter {
    limits: ConnectionLimits,
    permits: Arc<Semaphore>,
    queue: Mutex<IdleQueue>,
    last_logged: Mutex<Option<Instant>>,
}

/// The idle connections by ticket, so in order of their idle time. The token evicts the connection.
#[derive(Default)]
struct IdleQueue {
    next: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

impl ConnectionLimiter {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        gauge!("paddock_connections_max").set(u32::try_from(limits.max).unwrap_or(u32::MAX));
        let permits = Arc::new(Semaphore::new(limits.max));
        Arc::new(Self { limits, permits, queue: Mutex::default(), last_logged: Mutex::default() })
    }

    /// Returns a free permit. If no permit is free, evicts the connection that has been idle
    /// longest and returns its permit. Returns `None` if every connection is processing a request.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<Arc<ConnectionPermit>> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.evict_idle() => Arc::clone(&self.permits).acquire_owned().await.ok()?,
            Err(_) => {
                self.record_over_limit("refused");
                return None;
            }
        };
        gauge!("paddock_connections_open").increment(1);
        let eviction = CancellationToken::new();
        let ticket = self.queue.lock().push(eviction.clone());
        let deadline = Instant::now() + self.limits.first_byte;
        let state = Mutex::new(IdleState { stage: Stage::New, ticket, deadline });
        Some(Arc::new(ConnectionPermit { limiter: Arc::clone(self), eviction, state, _permit: permit }))
    }

    /// Evicts the connection that has been idle longest. Returns false if none is idle.
    fn evict_idle(&self) -> bool {
        let first = self.queue.lock().waiting.pop_first();
        let Some((_, eviction)) = first else { return false };
        eviction.cancel();
        self.record_over_limit("evicted");
        true
    }

    /// Counts a connection that was evicted or refused. Logs a warning at most once a minute.
    fn record_over_limit(&self, action: &'static str) {
        counter!("paddock_connections_over_limit_total", "action" => action).increment(1);
        let mut last_logged = self.last_logged.lock();
        if last_logged.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
            *last_logged = Some(Instant::now());
            tracing::warn!(
                max = self.limits.max,
                "connection limit reached; idle connections are evicted, or new connections refused"
            );
        }
    }

    /// The shortest of the idle timeouts.
    fn min_timeout(&self) -> Duration {
        let ConnectionLimits { first_byte, head, idle, .. } = self.limits;
        first_byte.min(head).min(idle)
    }
}

impl IdleQueue {
    /// Appends a connection. Returns its ticket, which removes it.
    fn push(&mut self, eviction: CancellationToken) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, eviction);
        self.next
    }
}

/// The permit of one connection. Dropping the last reference frees it.
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// Cancelled when another connection takes the permit.
    eviction: CancellationToken,
    state: Mutex<IdleState>,
    _permit: OwnedSemaphorePermit,
}

/// The stage of a connection, and its deadline.
struct IdleState {
    stage: Stage,
    /// The ticket in the idle queue.
    ticket: u64,
    /// When the wait times out. Not used in the stages `Processing` and `Evictable`.
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The client has not sent anything yet.
    New,
    /// The client has begun to send a request.
    ReadingHead,
    /// The server processes a request.
    Processing,
    /// The request waits for its client or for Ollama, with timeouts of its own.
    Evictable,
    /// The response is complete.
    Idle,
}

impl ConnectionPermit {
    /// Notes that the client has sent bytes.
    pub(super) fn on_read(&self) {
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::New | Stage::Idle) {
            state.stage = Stage::ReadingHead;
            state.deadline = Instant::now() + self.limiter.limits.head;
        }
    }

    /// Notes that the server has written bytes to the client. Extends the timeout, because a client
    /// may read a long response slowly after the response is complete.
    pub(super) fn on_write(&self) {
        let ConnectionLimits { head, idle, .. } = self.limiter.limits;
        let mut state = self.state.lock();
        match state.stage {
            Stage::ReadingHead => state.deadline = Instant::now() + head,
            Stage::Idle => state.deadline = Instant::now() + idle,
            Stage::New | Stage::Processing | Stage::Evictable => {}
        }
    }

    /// Begins to process a request. The connection cannot be evicted until the guard is dropped.
    /// Returns `None` if the connection was already evicted.
    pub(super) fn begin_request(self: &Arc<Self>) -> Option<RequestGuard> {
        let mut state = self.state.lock();
        self.limiter.queue.lock().waiting.remove(&state.ticket)?;
        state.stage = Stage::Processing;
        Some(RequestGuard(Arc::clone(self)))
    }

    /// Completes when the connection has been idle for too long.
    pub(super) async fn idle_timeout(&self) {
        loop {
            // A wait that begins during the sleep cannot time out before `recheck`.
            let recheck = Instant::now() + self.limiter.min_timeout();
            match self.deadline() {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => sleep_until(deadline.min(recheck)).await,
                None => sleep_until(recheck).await,
            }
        }
    }

    /// Returns when the connection times out; `None` while it processes a request.
    fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        (!matches!(state.stage, Stage::Processing | Stage::Evictable)).then_some(state.deadline)
    }

    /// Completes when the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.eviction.cancelled().await;
    }
}

impl Slot for ConnectionPermit {
    fn release(&self) {
        let mut state = self.state.lock();
        state.stage = Stage::Evictable;
        state.ticket = self.limiter.queue.lock().push(self.eviction.clone());
    }

    fn reclaim(&self) -> bool {
        let mut state = self.state.lock();
        state.stage = Stage::Processing;
        self.limiter.queue.lock().waiting.remove(&state.ticket).is_some()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.queue.lock().waiting.remove(&self.state.get_mut().ticket);
        gauge!("paddock_connections_open").decrement(1);
    }
}

/// Marks the connection as processing a request. Dropped when the response is complete; the client
/// may still be reading the response.
pub(super) struct RequestGuard(Arc<ConnectionPermit>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let ConnectionPermit { limiter, eviction, state, .. } = &*self.0;
        let mut state = state.lock();
        state.stage = Stage::Idle;
        state.deadline = Instant::now() + limiter.limits.idle;
        let mut queue = limiter.queue.lock();
        // The guard may have been dropped while the connection was evictable.
        queue.waiting.remove(&state.ticket);
        state.ticket = queue.push(eviction.clone());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::http::slot::{ConnectionHandle, evictable_while};

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(max: usize) -> Arc<ConnectionLimiter> {
        ConnectionLimiter::new(ConnectionLimits { max, first_byte: SECOND, head: 3 * SECOND, idle: 10 * SECOND })
    }

    fn is_evicted(permit: &ConnectionPermit) -> bool {
        permit.evicted().now_or_never().is_some()
    }

    /// Runs `waiting` as a request of the connection would: the connection is evictable meanwhile.
    async fn evictable<T>(permit: &Arc<ConnectionPermit>, waiting: impl Future<Output = T>) -> T {
        let mut request = http::Extensions::new();
        request.insert(ConnectionHandle(Arc::clone(permit) as Arc<dyn Slot>));
        evictable_while(&request, waiting).await
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_evicted_and_a_processing_one_never() {
        let limiter = limiter(3);
        let [first, second, third] =
            [limiter.acquire().await, limiter.acquire().await, limiter.acquire().await].map(Option::unwrap);
        // The first connection is idle again, so it is the last in the queue.
        drop(first.begin_request().unwrap());
        let guard = third.begin_request().unwrap();
        let (fourth, ()) = tokio::join!(limiter.acquire(), async {
            second.evicted().await;
            drop(second);
        });
        assert!(!is_evicted(&first) && !is_evicted(&third));
        let fourth = fourth.unwrap();
        let also = fourth.begin_request().unwrap();
        let (fifth, ()) = tokio::join!(limiter.acquire(), async {
            first.evicted().await;
            assert!(first.begin_request().is_none(), "its permit is taken");
            drop(first);
        });
        let fifth = fifth.unwrap();
        let _all = fifth.begin_request().unwrap();
        assert!(limiter.acquire().await.is_none(), "all are processing");
        drop(also);
        let (sixth, ()) = tokio::join!(limiter.acquire(), async {
            fourth.evicted().await;
            drop(fourth);
        });
        assert!(sixth.is_some() && !is_evicted(&third));
        drop(guard);
    }

    #[tokio::test]
    async fn an_evictable_connection_is_evicted_first() {
        let limiter = limiter(2);
        let [first, second] = [limiter.acquire().await, limiter.acquire().await].map(Option::unwrap);
        let [guard, other] = [first.begin_request().unwrap(), second.begin_request().unwrap()];
        assert_eq!(evictable(&first, async { 7 }).await, 7);
        assert!(limiter.acquire().await.is_none(), "all are processing again");
        let waiting = async {
            tokio::select! {
                () = first.evicted() => {}
                () = evictable(&first, std::future::pending()) => {}
            }
            drop((guard, first));
        };
        let ((), third) = tokio::join!(waiting, limiter.acquire());
        assert!(third.is_some() && !is_evicted(&second));
        drop((third, other, second));
        assert!(limiter.queue.lock().waiting.is_empty(), "no connection is left to evict");
    }

    /// Acts, and checks the timeout that the connection has afterwards.
    fn has_timeout(permit: &ConnectionPermit, timeout: Option<Duration>, act: impl FnOnce()) {
        let before = Instant::now();
        act();
        match (permit.deadline(), timeout) {
            (Some(deadline), Some(timeout)) => {
                assert!((before + timeout..=Instant::now() + timeout).contains(&deadline), "not {timeout:?}");
            }
            (deadline, timeout) => assert_eq!(deadline.is_some(), timeout.is_some()),
        }
    }

    #[tokio::test]
    async fn each_stage_has_its_timeout() {
        let before = Instant::now();
        let permit = limiter(1).acquire().await.unwrap();
        let first = permit.deadline().unwrap();
        assert!((before + SECOND..=Instant::now() + SECOND).contains(&first), "without a byte");
        permit.on_write();
        assert_eq!(permit.deadline(), Some(first), "no response was written");
        has_timeout(&permit, Some(3 * SECOND), || permit.on_read());
        let head = permit.deadline();
        permit.on_read();
        assert_eq!(permit.deadline(), head, "more of the same head is no new one");
        let mut guard = None;
        has_timeout(&permit, None, || guard = permit.begin_request());
        has_timeout(&permit, None, || permit.on_read());
        has_timeout(&permit, None, || permit.on_write());
        has_timeout(&permit, Some(10 * SECOND), || drop(guard));
        has_timeout(&permit, Some(10 * SECOND), || permit.on_write());
        has_timeout(&permit, Some(3 * SECOND), || permit.on_read());
        has_timeout(&permit, Some(3 * SECOND), || permit.on_write());
    }
}
