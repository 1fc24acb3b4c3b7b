//! Sends the frames of all streams at their intended times.
//!
//! One timer ticks for all streams, and a wheel has the streams that are due at each tick. A tick
//! that is served late still stamps its frames with the time at which it was due.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::{
    clock::{TICK_INTERVAL_NS, Ticker, now_ns},
    frame::{Dialect, Order, Stamp, ending, stamp_now, write},
};

/// Slots of the wheel. An interval between frames is shorter than a turn of the wheel.
const SLOTS: usize = 8192;

/// The schedule of all streams.
#[derive(Clone)]
pub(super) struct Schedule {
    wheel: Arc<Mutex<Wheel>>,
}

struct Wheel {
    began_ns: u64,
    /// The last tick that was served.
    tick: u64,
    slots: Vec<Vec<Running>>,
}

struct Running {
    order: Order,
    dialect: Dialect,
    has_usage: bool,
    next: u64,
    frames: UnboundedSender<Bytes>,
}

impl Schedule {
    /// Starts the timer.
    pub(super) fn start() -> Result<Self> {
        let slots = std::iter::repeat_with(Vec::new).take(SLOTS).collect();
        let wheel = Arc::new(Mutex::new(Wheel { began_ns: now_ns(), tick: 0, slots }));
        let turned = Arc::clone(&wheel);
        tokio::spawn(Ticker::start()?.run(move || turned.lock().unwrap_or_else(PoisonError::into_inner).turn()));
        Ok(Self { wheel })
    }

    /// A stream whose first frame is sent now.
    pub(super) fn stream(
        &self,
        order: Order,
        dialect: Dialect,
        has_usage: bool,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        let (frames, receiver) = mpsc::unbounded_channel();
        let stream = Running { order, dialect, has_usage, next: 0, frames };
        let mut wheel = self.wheel.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (now_ns() - wheel.began_ns) / TICK_INTERVAL_NS;
        wheel.send(stream, now, stamp_now(order.stream, 0).intended_ns);
        futures_util::stream::unfold(receiver, async |mut receiver: UnboundedReceiver<Bytes>| {
            receiver.recv().await.map(|frame| (Ok(frame), receiver))
        })
    }
}

impl Wheel {
    /// Serves all ticks until now.
    fn turn(&mut self) {
        let now = (now_ns() - self.began_ns) / TICK_INTERVAL_NS;
        while self.tick < now {
            self.tick += 1;
            let slot = slot_of(self.tick);
            let intended_ns = self.began_ns + self.tick * TICK_INTERVAL_NS;
            for stream in std::mem::take(&mut self.slots[slot]) {
                self.send(stream, self.tick, intended_ns);
            }
        }
    }

    /// Sends the next frame of a stream at this tick, and schedules the one after it.
    fn send(&mut self, mut stream: Running, tick: u64, intended_ns: u64) {
        let Running { order, dialect, has_usage, next: number, ref frames } = stream;
        let stamp = Stamp { stream: order.stream, number, intended_ns };
        // Sending fails if the client has left. The stream then ends here.
        let mut is_open = frames.send(write(dialect, stamp, has_usage).into()).is_ok();
        stream.next += 1;
        if stream.next >= order.frames {
            for frame in ending(dialect, order.frames, has_usage) {
                let _ = frames.send(frame.into());
            }
            is_open = false;
        }
        if is_open {
            let ticks = (order.interval_us * 1_000 / TICK_INTERVAL_NS).clamp(1, SLOTS as u64 - 1);
            // A tick that was already served would be a turn of the wheel away.
            let due = (tick + ticks).max(self.tick + 1);
            self.slots[slot_of(due)].push(stream);
        }
    }
}

/// The slot of a tick.
fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or_default()
}
