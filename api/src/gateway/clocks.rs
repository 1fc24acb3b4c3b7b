//! The deadlines of one request.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Clock, Timeouts};

/// The deadlines of a request that was forwarded to Ollama.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// When the headers must have arrived. `None`: the response is no stream.
    headers: Option<Instant>,
    /// The longest time between two chunks. `None`: the response is no stream.
    idle: Option<Duration>,
    total: Instant,
    lifetime: Instant,
}

impl Clocks {
    /// `started` is when the client's request began, and `sent` when it was forwarded.
    pub(super) fn new(timeouts: &Timeouts, started: Instant, sent: Instant, is_stream: bool) -> Self {
        Self {
            headers: is_stream.then_some(sent + timeouts.headers),
            idle: is_stream.then_some(timeouts.idle),
            total: sent + timeouts.total,
            lifetime: started + timeouts.lifetime,
        }
    }

    /// Returns when the headers must have arrived, and which timeout ends the wait.
    pub(super) fn head_deadline(&self) -> (Instant, Clock) {
        self.earlier(self.headers.map(|headers| (headers, Clock::Headers)))
    }

    /// Returns when the next chunk must have arrived, and which timeout ends the wait.
    pub(super) fn chunk_deadline(&self, last_chunk: Instant) -> (Instant, Clock) {
        self.earlier(self.idle.map(|idle| (last_chunk + idle, Clock::Idle)))
    }

    /// Returns the timeout of the whole response, if it has passed.
    pub(super) fn passed(&self, now: Instant) -> Option<Clock> {
        let (deadline, clock) = self.earlier(None);
        (deadline <= now).then_some(clock)
    }

    fn earlier(&self, first: Option<(Instant, Clock)>) -> (Instant, Clock) {
        let whole =
            if self.total <= self.lifetime { (self.total, Clock::Total) } else { (self.lifetime, Clock::Lifetime) };
        match first {
            Some(first) if first.0 <= whole.0 => first,
            _ => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clocks(is_stream: bool) -> (Instant, Clocks) {
        let started = Instant::now();
        let timeouts = Timeouts { headers: 2 * SECOND, idle: SECOND, total: 4 * SECOND, lifetime: 6 * SECOND };
        (started, Clocks::new(&timeouts, started, started + SECOND, is_stream))
    }

    #[test]
    fn a_stream_has_all_clocks() {
        let (started, clocks) = clocks(true);
        assert_eq!(clocks.head_deadline(), (started + 3 * SECOND, Clock::Headers));
        assert_eq!(clocks.chunk_deadline(started + 2 * SECOND), (started + 3 * SECOND, Clock::Idle));
        assert_eq!(clocks.chunk_deadline(started + 5 * SECOND), (started + 5 * SECOND, Clock::Total));
    }

    #[test]
    fn a_response_that_is_no_stream_has_only_the_clocks_of_the_whole() {
        let (started, clocks) = clocks(false);
        assert_eq!(clocks.head_deadline(), (started + 5 * SECOND, Clock::Total));
        assert_eq!(clocks.chunk_deadline(started), (started + 5 * SECOND, Clock::Total));
        assert_eq!(clocks.passed(started + 4 * SECOND), None);
        assert_eq!(clocks.passed(started + 5 * SECOND), Some(Clock::Total));
    }

    #[test]
    fn a_late_request_ends_with_its_lifetime() {
        let started = Instant::now();
        let timeouts = Timeouts { headers: 9 * SECOND, idle: 9 * SECOND, total: 9 * SECOND, lifetime: 10 * SECOND };
        let clocks = Clocks::new(&timeouts, started, started + 5 * SECOND, true);
        assert_eq!(clocks.head_deadline(), (started + 10 * SECOND, Clock::Lifetime));
    }
}
