//! The `X-RateLimit-*` headers of a response, and delays as `Retry-After` has them.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    bucket::{BucketKey, CountedRequest},
    quota::LimitStatus,
};

const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The status of the limits that a request counted against. The rate limiter sets it once; the
/// dispatcher writes it into the response. Every clone shares the same status.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateLimitStatus(Arc<Status>);

#[derive(Debug, Default)]
struct Status {
    counted: OnceLock<(CountedRequest, CountedIn)>,
    /// Whether the request was refused later, and is not counted any more.
    is_refunded: AtomicBool,
}

/// Where a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountedIn {
    /// In the memory of this process.
    Memory,
    /// In the Redis of all replicas.
    Redis,
}

impl RateLimitStatus {
    /// Sets the status. Only the first call has an effect.
    pub(super) fn set(&self, counted: CountedRequest, place: CountedIn) {
        let _ = self.0.counted.set((counted, place));
    }

    /// Notes that the request is not counted any more. Returns where it was counted; `None` if it
    /// was not counted, or noted before.
    pub(super) fn refund(&self) -> Option<CountedIn> {
        let (counted, place) = self.0.counted.get()?;
        (counted.is_allowed() && !self.0.is_refunded.swap(true, Ordering::Relaxed)).then_some(*place)
    }

    /// The status of each bucket that counted the request; none if no limit applies.
    pub(crate) fn buckets(&self) -> &[(BucketKey, LimitStatus)] {
        self.0.counted.get().map_or(&[], |(counted, _)| &counted.buckets)
    }

    /// Writes the headers of the most restrictive bucket, if the request was counted.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let counted = self.0.counted.get().and_then(|(counted, _)| counted.most_restrictive());
        let Some((_, status)) = counted else { return };
        let refunded = u64::from(self.0.is_refunded.load(Ordering::Relaxed));
        headers.insert(X_RATELIMIT_LIMIT, HeaderValue::from(status.limit));
        headers.insert(
            X_RATELIMIT_REMAINING,
            HeaderValue::from(status.remaining.saturating_add(refunded).min(status.limit)),
        );
        headers.insert(X_RATELIMIT_RESET, whole_seconds(status.reset));
    }
}

/// Formats a delay in whole seconds, rounded up, as in `Retry-After`.
pub(crate) fn whole_seconds(delay: Duration) -> HeaderValue {
    HeaderValue::from(delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_nanos(1)), "1");
        assert_eq!(whole_seconds(Duration::from_secs(2)), "2");
    }
}
