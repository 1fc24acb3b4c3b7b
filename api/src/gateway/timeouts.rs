//! The deadlines of one request.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Timeout, Timeouts};

/// The deadlines of a request that was forwarded to Ollama.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// When the headers must have arrived; `None` if the response is not a stream.
    headers: Option<Instant>,
    /// The longest time between two chunks; `None` if the response is not a stream.
    idle: Option<Duration>,
    total: Instant,
    lifetime: Instant,
}

impl Deadlines {
    /// `started` is when the client's request began, and `sent` is when the gateway forwarded it.
    pub(super) fn new(timeouts: &Timeouts, started: Instant, sent: Instant, is_stream: bool) -> Self {
        Self {
            headers: is_stream.then_some(sent + timeouts.headers),
            idle: is_stream.then_some(timeouts.idle),
            total: sent + timeouts.total,
            lifetime: started + timeouts.lifetime,
        }
    }

    /// Returns when the headers must have arrived, and which timeout ends the wait.
    pub(super) fn head_deadline(&self) -> (Instant, Timeout) {
        self.earlier(self.headers.map(|headers| (headers, Timeout::Headers)))
    }

    /// Returns when the next chunk must have arrived, and which timeout ends the wait.
    pub(super) fn chunk_deadline(&self, last_chunk: Instant) -> (Instant, Timeout) {
        self.earlier(self.idle.map(|idle| (last_chunk + idle, Timeout::Idle)))
    }

    /// Returns the timeout of the whole response, if it has passed.
    pub(super) fn passed(&self, now: Instant) -> Option<Timeout> {
        let (deadline, timeout) = self.earlier(None);
        (deadline <= now).then_some(timeout)
    }

    fn earlier(&self, first: Option<(Instant, Timeout)>) -> (Instant, Timeout) {
        let whole =
            if self.total <= self.lifetime { (self.total, Timeout::Total) } else { (self.lifetime, Timeout::Lifetime) };
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

    fn deadlines(is_stream: bool) -> (Instant, Deadlines) {
        let started = Instant::now();
        let timeouts = Timeouts { headers: 2 * SECOND, idle: SECOND, total: 4 * SECOND, lifetime: 6 * SECOND };
        (started, Deadlines::new(&timeouts, started, started + SECOND, is_stream))
    }

    #[test]
    fn a_stream_has_all_timeouts() {
        let (started, deadlines) = deadlines(true);
        assert_eq!(deadlines.head_deadline(), (started + 3 * SECOND, Timeout::Headers));
        assert_eq!(deadlines.chunk_deadline(started + 2 * SECOND), (started + 3 * SECOND, Timeout::Idle));
        assert_eq!(deadlines.chunk_deadline(started + 5 * SECOND), (started + 5 * SECOND, Timeout::Total));
    }

    #[test]
    fn a_response_that_is_not_a_stream_has_only_the_total_and_lifetime_timeouts() {
        let (started, deadlines) = deadlines(false);
        assert_eq!(deadlines.head_deadline(), (started + 5 * SECOND, Timeout::Total));
        assert_eq!(deadlines.chunk_deadline(started), (started + 5 * SECOND, Timeout::Total));
        assert_eq!(deadlines.passed(started + 4 * SECOND), None);
        assert_eq!(deadlines.passed(started + 5 * SECOND), Some(Timeout::Total));
    }

    #[test]
    fn a_late_request_ends_with_its_lifetime() {
        let started = Instant::now();
        let timeouts = Timeouts { headers: 9 * SECOND, idle: 9 * SECOND, total: 9 * SECOND, lifetime: 10 * SECOND };
        let deadlines = Deadlines::new(&timeouts, started, started + 5 * SECOND, true);
        assert_eq!(deadlines.head_deadline(), (started + 10 * SECOND, Timeout::Lifetime));
    }
}
