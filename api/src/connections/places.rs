//! Places for connections: no more than there are file descriptors for. When all are taken, whoever has kept still the
//! longest makes place, so that nobody keeps others out by doing nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::{counter, gauge};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::config::Connections;

/// How long the log is quiet after it has told that all places are taken.
const QUIET: Duration = Duration::from_mins(1);

/// All places.
pub(super) struct Places {
    config: Connections,
    free: Arc<Semaphore>,
    queue: Mutex<Queue>,
    told: Mutex<Option<Instant>>,
}

/// The connections that wait for a request, in the order in which they began to.
#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

impl Places {
    pub(super) fn new(config: Connections) -> Arc<Self> {
        gauge!("paddock_connections_max").set(u32::try_from(config.most).unwrap_or(u32::MAX));
        let free = Arc::new(Semaphore::new(config.most));
        Arc::new(Self { config, free, queue: Mutex::default(), told: Mutex::default() })
    }

    /// A place: a free one, or that of who has waited the longest. `None`: everybody is at work.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.displace() => Arc::clone(&self.free).acquire_owned().await.ok()?,
            Err(_) => {
                self.turned_away("refused");
                return None;
            }
        };
        gauge!("paddock_connections_open").increment(1);
        let displaced = CancellationToken::new();
        let turn = lock(&self.queue).join(displaced.clone());
        let still = Still { stage: Stage::Silent, turn, until: Instant::now() + self.config.first_byte };
        Some(Arc::new(Place { places: Arc::clone(self), displaced, still: Mutex::new(still), _permit: permit }))
    }

    /// Has the one go that has waited the longest, if anyone waits.
    fn displace(&self) -> bool {
        let first = lock(&self.queue).waiting.pop_first();
        let Some((_, token)) = first else { return false };
        token.cancel();
        self.turned_away("displaced");
        true
    }

    /// Counts each, and logs that it happens.
    fn turned_away(&self, how: &'static str) {
        counter!("paddock_connections_turned_away_total", "how" => how).increment(1);
        let mut told = lock(&self.told);
        if told.is_none_or(|told| told.elapsed() > QUIET) {
            *told = Some(Instant::now());
            tracing::warn!(
                most = self.config.most,
                "every place for a connection is taken: who waits for nothing makes place, and who finds none is refused"
            );
        }
    }

    /// The shortest time that a connection may keep still.
    fn shortest(&self) -> Duration {
        let Connections { first_byte, head, idle, .. } = self.config;
        first_byte.min(head).min(idle)
    }
}

impl Queue {
    fn join(&mut self, displaced: CancellationToken) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, displaced);
        self.next
    }
}

/// The place of one connection. It is free again when nobody holds it any more.
pub(super) struct Place {
    places: Arc<Places>,
    /// Told to go, for another one.
    displaced: CancellationToken,
    still: Mutex<Still>,
    _permit: OwnedSemaphorePermit,
}

/// What a connection is at.
struct Still {
    stage: Stage,
    /// Its place in the queue of those that wait.
    turn: u64,
    /// Until when it may, unless it is at work.
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not sent anything yet.
    Silent,
    /// It has begun to send a request.
    Head,
    /// Its request is worked on.
    Work,
    /// What others take their time with is waited for, by clocks of its own.
    Lent,
    /// It has had an answer.
    Idle,
}

impl Place {
    /// Something came.
    pub(super) fn heard(&self) {
        let mut still = lock(&self.still);
        if matches!(still.stage, Stage::Silent | Stage::Idle) {
            still.stage = Stage::Head;
            still.until = Instant::now() + self.places.config.head;
        }
    }

    /// Something of an answer was taken. One that is long and finished goes on for as long as it is read.
    pub(super) fn took(&self) {
        let Connections { head, idle, .. } = self.places.config;
        let mut still = lock(&self.still);
        match still.stage {
            Stage::Head => still.until = Instant::now() + head,
            Stage::Idle => still.until = Instant::now() + idle,
            Stage::Silent | Stage::Work | Stage::Lent => {}
        }
    }

    /// Begins to work on a request: until what is returned is dropped, the place is nobody else's. `None`: it is already.
    pub(super) fn work(self: &Arc<Self>) -> Option<Work> {
        let mut still = lock(&self.still);
        lock(&self.places.queue).waiting.remove(&still.turn)?;
        still.stage = Stage::Work;
        Some(Work(Arc::clone(self)))
    }

    /// Does what takes as long as others like, within work. Meanwhile the place may be given to another; then this does
    /// not end, and the connection is about to be dropped.
    pub(super) async fn lend<T>(&self, others: impl Future<Output = T>) -> T {
        {
            let mut still = lock(&self.still);
            still.stage = Stage::Lent;
            still.turn = lock(&self.places.queue).join(self.displaced.clone());
        }
        let done = others.await;
        let is_back = {
            let mut still = lock(&self.still);
            still.stage = Stage::Work;
            lock(&self.places.queue).waiting.remove(&still.turn).is_some()
        };
        if is_back { done } else { std::future::pending().await }
    }

    /// Ends when the connection has kept still for too long.
    pub(super) async fn late(&self) {
        loop {
            // No patience that begins meanwhile can be over before that.
            let look = Instant::now() + self.places.shortest();
            match self.until() {
                Some(until) if until <= Instant::now() => return,
                Some(until) => sleep_until(until.min(look)).await,
                None => sleep_until(look).await,
            }
        }
    }

    /// Until when it may keep still. `None`: it does not.
    fn until(&self) -> Option<Instant> {
        let still = lock(&self.still);
        (!matches!(still.stage, Stage::Work | Stage::Lent)).then_some(still.until)
    }

    /// Ends when another connection is to have the place.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let still = self.still.get_mut().unwrap_or_else(PoisonError::into_inner);
        lock(&self.places.queue).waiting.remove(&still.turn);
        gauge!("paddock_connections_open").decrement(1);
    }
}

/// The work on one request, until its answer has been made. Whether that is read is no work.
pub(super) struct Work(Arc<Place>);

impl Drop for Work {
    fn drop(&mut self) {
        let Place { places, displaced, still, .. } = &*self.0;
        let mut still = lock(still);
        still.stage = Stage::Idle;
        still.until = Instant::now() + places.config.idle;
        let mut queue = lock(&places.queue);
        // It may have been dropped while its place was lent.
        queue.waiting.remove(&still.turn);
        still.turn = queue.join(displaced.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn places(most: usize) -> Arc<Places> {
        Places::new(Connections { most, first_byte: SECOND, head: 3 * SECOND, idle: 10 * SECOND })
    }

    fn is_displaced(place: &Place) -> bool {
        place.displaced().now_or_never().is_some()
    }

    #[tokio::test]
    async fn who_has_waited_longest_makes_place_and_who_works_never_does() {
        let places = places(3);
        let [first, second, third] =
            [places.take().await, places.take().await, places.take().await].map(Option::unwrap);
        // The first one waits again, and so it is the last.
        drop(first.work().unwrap());
        let work = third.work().unwrap();
        let (fourth, ()) = tokio::join!(places.take(), async {
            second.displaced().await;
            drop(second);
        });
        assert!(!is_displaced(&first) && !is_displaced(&third));
        let fourth = fourth.unwrap();
        let also = fourth.work().unwrap();
        let (fifth, ()) = tokio::join!(places.take(), async {
            first.displaced().await;
            assert!(first.work().is_none(), "its place is given away");
            drop(first);
        });
        let fifth = fifth.unwrap();
        let _all = fifth.work().unwrap();
        assert!(places.take().await.is_none(), "all are at work");
        drop(also);
        let (sixth, ()) = tokio::join!(places.take(), async {
            fourth.displaced().await;
            drop(fourth);
        });
        assert!(sixth.is_some() && !is_displaced(&third));
        drop(work);
    }

    #[tokio::test]
    async fn a_place_that_is_lent_is_the_first_to_be_given_away() {
        let places = places(2);
        let [first, second] = [places.take().await, places.take().await].map(Option::unwrap);
        let [work, other] = [first.work().unwrap(), second.work().unwrap()];
        assert_eq!(first.lend(async { 7 }).await, 7);
        assert!(places.take().await.is_none(), "all are at work again");
        let lent = async {
            tokio::select! {
                () = first.displaced() => {}
                () = first.lend(std::future::pending()) => {}
            }
            drop((work, first));
        };
        let ((), third) = tokio::join!(lent, places.take());
        assert!(third.is_some() && !is_displaced(&second));
        drop((third, other, second));
        assert!(lock(&places.queue).waiting.is_empty(), "nobody is there who could make place");
    }

    /// Does something, after which the place may keep still for so long and no longer.
    fn gives(place: &Place, patience: Option<Duration>, act: impl FnOnce()) {
        let before = Instant::now();
        act();
        match (place.until(), patience) {
            (Some(until), Some(patience)) => {
                assert!((before + patience..=Instant::now() + patience).contains(&until), "not {patience:?}");
            }
            (until, patience) => assert_eq!(until.is_some(), patience.is_some()),
        }
    }

    #[tokio::test]
    async fn each_way_to_keep_still_has_its_time() {
        let before = Instant::now();
        let place = places(1).take().await.unwrap();
        let first = place.until().unwrap();
        assert!((before + SECOND..=Instant::now() + SECOND).contains(&first), "without a byte");
        place.took();
        assert_eq!(place.until(), Some(first), "nothing was to be taken");
        gives(&place, Some(3 * SECOND), || place.heard());
        let head = place.until();
        place.heard();
        assert_eq!(place.until(), head, "more of the same head is no new one");
        let mut work = None;
        gives(&place, None, || work = place.work());
        gives(&place, None, || place.heard());
        gives(&place, None, || place.took());
        gives(&place, Some(10 * SECOND), || drop(work));
        gives(&place, Some(10 * SECOND), || place.took());
        gives(&place, Some(3 * SECOND), || place.heard());
        gives(&place, Some(3 * SECOND), || place.took());
    }
}
