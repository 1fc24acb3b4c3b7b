//! Waiting for a moment, more precisely than tokio's timers.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use tokio::sync::oneshot;

use crate::clock::{Ticker, now_ns};

/// Wakes tasks at the first tick after their moment.
#[derive(Clone)]
pub(super) struct Alarm {
    sleepers: Arc<Mutex<Sleepers>>,
}

#[derive(Default)]
struct Sleepers {
    /// The moments, and the places in `wakers`.
    moments: BinaryHeap<Reverse<(u64, usize)>>,
    wakers: Vec<Option<oneshot::Sender<()>>>,
    free: Vec<usize>,
}

impl Alarm {
    /// Starts the timer. Needs a runtime.
    pub(super) fn start() -> Result<Self> {
        let sleepers = Arc::new(Mutex::new(Sleepers::default()));
        let woken = Arc::clone(&sleepers);
        tokio::spawn(Ticker::start()?.run(move || woken.lock().unwrap_or_else(PoisonError::into_inner).wake()));
        Ok(Self { sleepers })
    }

    /// Waits until this moment, in nanoseconds of [`now_ns`].
    pub(super) async fn until(&self, moment: u64) {
        if moment <= now_ns() {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
            let place = sleepers.free.pop().unwrap_or(sleepers.wakers.len());
            if place == sleepers.wakers.len() {
                sleepers.wakers.push(None);
            }
            sleepers.wakers[place] = Some(sender);
            sleepers.moments.push(Reverse((moment, place)));
        }
        // The sender is dropped only with the alarm.
        let _ = receiver.await;
    }
}

impl Sleepers {
    fn wake(&mut self) {
        let now = now_ns();
        while self.moments.peek().is_some_and(|Reverse((moment, _))| *moment <= now) {
            if let Some(Reverse((_, place))) = self.moments.pop() {
                self.free.push(place);
                if let Some(waker) = self.wakers[place].take() {
                    // Sending fails if the task has ended.
                    let _ = waker.send(());
                }
            }
        }
    }
}
