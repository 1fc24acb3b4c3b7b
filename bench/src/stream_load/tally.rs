//! Checks the frames of streams, and collects their times.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    clock::now_ns,
    frame::{Dialect, Order, Stamp},
};

/// A frame that comes so much later than intended is late.
const LATE_NS: u64 = 100_000_000;
const LONGEST_NS: u64 = 600_000_000_000;

/// Percentiles of a histogram in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Frames that a proxy must not produce.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FrameErrors {
    pub(crate) lost: u64,
    /// Frames that came in the same chunk as the one before.
    pub(crate) merged: u64,
    /// Chunks that ended inside a frame.
    pub(crate) split: u64,
    pub(crate) reordered: u64,
}

impl FrameErrors {
    pub(crate) fn sum(&self) -> u64 {
        self.lost + self.merged + self.split + self.reordered
    }

    /// Adds the errors of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.merged += other.merged;
        self.split += other.split;
        self.reordered += other.reordered;
    }
}

/// The outcome of a load.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    /// Streams that ended in order.
    pub(crate) streams: u64,
    /// Those of them whose times were recorded.
    pub(crate) recorded: u64,
    /// Streams that ended in order per second, of those whose times were recorded.
    pub(crate) rate: f64,
    /// Requests with another status than 200, by what it means.
    pub(crate) refused: u64,
    /// Streams whose connection broke, and statuses that are no refusal.
    pub(crate) failed: u64,
    pub(crate) frames: u64,
    pub(crate) frame_errors: FrameErrors,
    /// Frames that came 100 ms after their intended time or later.
    pub(crate) late: u64,
    /// From the intended time of a request to its first frame.
    pub(crate) first_frame: Quantiles,
    /// From the intended time of each further frame to its arrival.
    pub(crate) frame_delay: Quantiles,
    /// From the intended time of a request to its refusal.
    pub(crate) refusal: Quantiles,
}

/// The counts of all streams.
pub(super) struct Tally {
    streams: u64,
    recorded: u64,
    refused: u64,
    failed: u64,
    frames: u64,
    frame_errors: FrameErrors,
    late: u64,
    first_frame: Histogram<u64>,
    frame_delay: Histogram<u64>,
    refusal: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1_000, LONGEST_NS, 3);
        Ok(Self {
            streams: 0,
            recorded: 0,
            refused: 0,
            failed: 0,
            frames: 0,
            frame_errors: FrameErrors::default(),
            late: 0,
            first_frame: histogram()?,
            frame_delay: histogram()?,
            refusal: histogram()?,
        })
    }

    /// The figures, of which those with recorded times took `length`.
    pub(super) fn summary(&self, length: Duration) -> Summary {
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes fit")]
        let quantiles = |histogram: &Histogram<u64>| Quantiles {
            p50: histogram.value_at_quantile(0.5) as f64 / 1e3,
            p99: histogram.value_at_quantile(0.99) as f64 / 1e3,
            max: histogram.max() as f64 / 1e3,
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of streams fits")]
        let recorded = self.recorded as f64;
        Summary {
            streams: self.streams,
            recorded: self.recorded,
            rate: recorded / length.as_secs_f64(),
            refused: self.refused,
            failed: self.failed,
            frames: self.frames,
            frame_errors: self.frame_errors,
            late: self.late,
            first_frame: quantiles(&self.first_frame),
            frame_delay: quantiles(&self.frame_delay),
            refusal: quantiles(&self.refusal),
        }
    }
}

/// The check of one stream. A check that is dropped unfinished counts a failure.
pub(super) struct Check {
    tally: Arc<Mutex<Tally>>,
    dialect: Dialect,
    order: Order,
    /// When the request should have been sent.
    intended_ns: u64,
    is_recorded: bool,
    state: State,
    /// The number of the next frame.
    expected: u64,
}

#[derive(PartialEq, Eq)]
enum State {
    Waiting,
    Accepted,
    Refused,
    Finished,
}

impl Check {
    pub(super) fn new(
        tally: Arc<Mutex<Tally>>,
        dialect: Dialect,
        order: Order,
        intended_ns: u64,
        is_recorded: bool,
    ) -> Self {
        Self { tally, dialect, order, intended_ns, is_recorded, state: State::Waiting, expected: 0 }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request was answered with 200.
    pub(super) fn accepted(&mut self) {
        self.state = State::Accepted;
    }

    /// The request was answered with this status.
    pub(super) fn refused(&mut self, status: u16) {
        if matches!(status, 429 | 503) {
            let delay = now_ns().saturating_sub(self.intended_ns);
            let mut tally = self.tally();
            tally.refused += 1;
            tally.refusal.saturating_record(delay);
            drop(tally);
            self.state = State::Refused;
        }
    }

    /// A chunk was received at this time.
    pub(super) fn chunk(&mut self, chunk: &[u8], received_ns: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if !chunk.ends_with(self.dialect.end()) {
            tally.frame_errors.split += 1;
        }
        let Some((stamp, count)) = Stamp::find(chunk) else { return };
        let count = u64::try_from(count).unwrap_or(1);
        tally.frames += count;
        tally.frame_errors.merged += count - 1;
        tally.frame_errors.lost += stamp.number.saturating_sub(self.expected);
        tally.frame_errors.reordered += u64::from(stamp.number < self.expected || stamp.stream != self.order.stream);
        self.expected = stamp.number.max(self.expected.saturating_sub(1)) + count;
        let begin = if stamp.number == 0 { self.intended_ns } else { stamp.intended_ns };
        let delay = received_ns.saturating_sub(begin);
        tally.late += u64::from(stamp.number > 0 && delay >= LATE_NS);
        if self.is_recorded {
            let histogram = if stamp.number == 0 { &mut tally.first_frame } else { &mut tally.frame_delay };
            histogram.saturating_record(delay);
        }
    }

    /// The response ended in order.
    pub(super) fn finish(mut self) {
        if self.state == State::Accepted {
            let lost = self.order.frames.saturating_sub(self.expected);
            let recorded = u64::from(self.is_recorded);
            let mut tally = self.tally();
            tally.frame_errors.lost += lost;
            tally.streams += 1;
            tally.recorded += recorded;
            drop(tally);
            self.state = State::Finished;
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        if matches!(self.state, State::Waiting | State::Accepted) {
            let is_accepted = self.state == State::Accepted;
            let lost = if is_accepted { self.order.frames.saturating_sub(self.expected) } else { 0 };
            let mut tally = self.tally();
            tally.failed += 1;
            tally.frame_errors.lost += lost;
        }
    }
}
