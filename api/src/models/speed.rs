//! The speed of a pull.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use paddock_ollama::PullEvent;
use tokio::time::Instant;

/// The time over which the speed is averaged.
const WINDOW: Duration = Duration::from_secs(5);
/// The shortest time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Measures how fast data arrives.
///
/// The first event of a layer does not count: it includes the data that Ollama received in an earlier
/// attempt.
#[derive(Debug, Default)]
pub(super) struct Speed {
    layers: HashMap<String, u64>,
    received: u64,
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    pub(super) fn update(&mut self, event: &PullEvent, now: Instant) {
        let PullEvent::Layer { digest, completed, .. } = event else { return };
        match self.layers.get_mut(digest) {
            Some(known) => {
                self.received += completed.saturating_sub(*known);
                *known = (*known).max(*completed);
            }
            None => {
                self.layers.insert(digest.clone(), *completed);
            }
        }
        if self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE_INTERVAL) {
            self.samples.push_back((now, self.received));
        }
    }

    /// Returns bytes per second over the last seconds; `None` if no data arrived.
    pub(super) fn bytes_per_second(&mut self, now: Instant) -> Option<i64> {
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let millis = now.duration_since(since).as_millis().max(1);
        let speed = i64::try_from(u128::from(self.received - before) * 1000 / millis).unwrap_or(i64::MAX);
        (speed > 0).then_some(speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(completed: u64) -> PullEvent {
        PullEvent::Layer { digest: "sha256:a".to_owned(), completed, total: 100_000 }
    }

    #[test]
    fn data_of_an_earlier_attempt_has_no_speed() {
        let (mut speed, start) = (Speed::default(), Instant::now());
        speed.update(&layer(50_000), start);
        assert_eq!(speed.bytes_per_second(start + Duration::from_secs(1)), None);
        speed.update(&layer(51_000), start + Duration::from_secs(1));
        assert_eq!(speed.bytes_per_second(start + Duration::from_secs(1)), Some(1_000));
    }

    #[test]
    fn speed_is_that_of_the_last_seconds() {
        let (mut speed, start) = (Speed::default(), Instant::now());
        for second in 0..20 {
            let per_second = if second < 10 { 10_000 } else { 100 };
            let base = if second < 10 { 0 } else { 100_000 - 1_000 };
            speed.update(&layer(base + second * per_second), start + Duration::from_secs(second));
        }
        assert_eq!(speed.bytes_per_second(start + Duration::from_secs(19)), Some(100));
        assert_eq!(speed.bytes_per_second(start + Duration::from_mins(1)), None);
    }
}
