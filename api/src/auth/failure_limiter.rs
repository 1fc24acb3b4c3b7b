//! Limits how many wrong credentials an address may present in a minute, so that guessing is slow.
//!
//! Each address has one bucket for each kind of attempt: for each API key that it presents, for keys
//! that do not exist, malformed credentials, cookies and passwords. A failed attempt takes one token
//! from its bucket. While the bucket is empty, unverified credentials of the kind get 429 unchecked.
//! Credentials that were valid before, and access tokens, whose signature is checked first, are
//! still verified. So one broken client does not lock out the others behind its address, nor does a
//! dead key that it repeats lock out living keys. Each process counts for itself.

use std::{net::IpAddr, sync::Arc, time::Duration};

use metrics::counter;
use moka::sync::Cache;
use paddock_store::context::network;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    http::error::{ApiError, Kind},
    rate_limit::{
        BUCKETS_CAPACITY, bucket_cache,
        quota::{Quota, SECOND},
    },
};

/// The time between two log lines about one address, in microseconds.
const LOG_INTERVAL: u64 = 60 * SECOND;
/// How many of these log lines are written a minute, for all addresses together.
const MAX_LOG_LINES: u64 = 10;

/// What an attempt presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AttemptKind {
    /// The API key with this id.
    Key([u8; KEY_ID_LENGTH]),
    /// An API key that does not exist, which costs a query.
    UnknownKey,
    /// A text that is no API key and no valid access token.
    Malformed,
    /// The cookie of a session.
    Cookie,
    /// The password of a sign-in.
    Password,
}

/// The length of the id of a key.
const KEY_ID_LENGTH: usize = 10;

impl AttemptKind {
    /// The attempt with the API key that has this id.
    pub(crate) fn key(id: &str) -> Self {
        id.as_bytes().try_into().map_or(Self::Malformed, Self::Key)
    }

    /// The value of the log field `attempts`.
    const fn text(self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::UnknownKey => "unknown key",
            Self::Malformed => "malformed credential",
            Self::Cookie => "cookie",
            Self::Password => "sign-in",
        }
    }
}

/// Names a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FailureKey {
    /// The address, or the network of an IPv6 address.
    network: IpAddr,
    kind: AttemptKind,
}

/// Counts the failed attempts of each address.
pub(crate) struct AuthFailureLimiter {
    /// `None`: unlimited.
    quota: Option<Quota>,
    started: Instant,
    buckets: Cache<FailureKey, Arc<Mutex<Bucket>>>,
    /// The bucket of log lines.
    log_lines: Mutex<u64>,
}

/// All times are microseconds from the start of the process.
#[derive(Default)]
struct Bucket {
    /// When the bucket is full again.
    full: u64,
    /// The latest time of an attempt. Concurrent attempts may arrive out of order.
    now: u64,
    /// When the log may mention the address again.
    silent_until: u64,
}

/// The address has made too many failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    kind: AttemptKind,
    /// How long the client must wait until an attempt is allowed.
    pub(crate) wait: Duration,
}

impl Throttled {
    /// The error message for the client.
    pub(crate) fn message(self) -> &'static str {
        match self.kind {
            AttemptKind::Key(_) => "this key was refused too often; stop using it, or come back later",
            AttemptKind::UnknownKey | AttemptKind::Malformed => {
                "too many credentials from your address are not valid; come back later"
            }
            AttemptKind::Cookie => "too many cookies from your address are not valid; come back later",
            AttemptKind::Password => "too many sign-ins from your address failed; come back later",
        }
    }
}

impl From<Throttled> for ApiError {
    fn from(throttled: Throttled) -> Self {
        let kind = match throttled.kind {
            AttemptKind::Key(_) | AttemptKind::UnknownKey | AttemptKind::Malformed | AttemptKind::Cookie => {
                Kind::RateLimited
            }
            AttemptKind::Password => Kind::LoginLocked,
        };
        Self::new(kind, throttled.message()).with_code("rate_limit_exceeded").with_retry_after(throttled.wait)
    }
}

/// An attempt that is being verified. A dropped permit, for example of a client that left, counts
/// as a failure.
#[must_use]
pub(crate) struct AttemptPermit<'a> {
    limiter: &'a AuthFailureLimiter,
    key: FailureKey,
    /// When the attempt began.
    now: u64,
    /// Whether the attempt has taken its token already.
    is_counted: bool,
    is_open: bool,
}

impl AuthFailureLimiter {
    /// Allows `limit` failures of each kind a minute from one address; 0 means unlimited.
    pub(crate) fn new(limit: u64) -> Self {
        Self::with_capacity(limit, BUCKETS_CAPACITY)
    }

    fn with_capacity(limit: u64, capacity: u64) -> Self {
        let quota = (limit > 0).then(|| Quota::per_minute(limit));
        Self { quota, started: Instant::now(), buckets: bucket_cache(capacity), log_lines: Mutex::new(0) }
    }

    /// Begins to verify a credential or a cookie. After recent failures of the address, an
    /// unverified one takes its token now, so that concurrent guesses get no further than
    /// sequential ones. Without recent failures it takes the token only if it fails, so that many
    /// valid clients are not held up.
    pub(crate) fn begin(
        &self,
        ip: IpAddr,
        kind: AttemptKind,
        is_unverified: impl FnOnce() -> bool,
    ) -> Result<AttemptPermit<'_>, Throttled> {
        self.begin_at(self.now(), ip, kind, is_unverified)
    }

    /// Begins a sign-in. It takes its token now and returns it on success: verifying a password is
    /// expensive, so no more sign-ins may be under way than may fail.
    pub(crate) fn begin_sign_in(&self, ip: IpAddr) -> Result<AttemptPermit<'_>, Throttled> {
        self.begin_sign_in_at(self.now(), ip)
    }

    fn begin_at(
        &self,
        now: u64,
        ip: IpAddr,
        kind: AttemptKind,
        is_unverified: impl FnOnce() -> bool,
    ) -> Result<AttemptPermit<'_>, Throttled> {
        let key = FailureKey { network: network(ip), kind };
        let bucket = self.quota.and_then(|_| self.buckets.get(&key));
        self.permit(now, key, bucket.is_some() && is_unverified())
    }

    fn begin_sign_in_at(&self, now: u64, ip: IpAddr) -> Result<AttemptPermit<'_>, Throttled> {
        self.permit(now, FailureKey { network: network(ip), kind: AttemptKind::Password }, true)
    }

    fn permit(&self, now: u64, key: FailureKey, is_counted: bool) -> Result<AttemptPermit<'_>, Throttled> {
        if is_counted {
            self.take(key, now)?;
        }
        Ok(AttemptPermit { limiter: self, key, now, is_counted, is_open: true })
    }

    /// The time since the start of the process, in microseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn take(&self, key: FailureKey, now: u64) -> Result<(), Throttled> {
        let Some(quota) = self.quota else { return Ok(()) };
        let bucket = self.buckets.get_with(key, Arc::default);
        let mut bucket = bucket.lock();
        let now = now.max(bucket.now);
        bucket.now = now;
        if let Some(full) = quota.take(bucket.full, now) {
            bucket.full = full;
            return Ok(());
        }
        counter!("paddock_rate_limited_total", "limit" => "address").increment(1);
        if now >= bucket.silent_until && self.may_log(now) {
            bucket.silent_until = now.saturating_add(LOG_INTERVAL);
            let attempts = key.kind.text();
            tracing::warn!(ip = %key.network, attempts, "too many failed attempts; address throttled");
        }
        let wait = quota.status(bucket.full, now, false).wait.unwrap_or_default();
        Err(Throttled { kind: key.kind, wait })
    }

    fn may_log(&self, now: u64) -> bool {
        let mut log_lines = self.log_lines.lock();
        let next = Quota::per_minute(MAX_LOG_LINES).take(*log_lines, now);
        *log_lines = next.unwrap_or(*log_lines);
        next.is_some()
    }

    fn refund(&self, key: FailureKey) {
        let Some((quota, bucket)) = self.quota.zip(self.buckets.get(&key)) else { return };
        let mut bucket = bucket.lock();
        bucket.full = quota.refund(bucket.full);
    }
}

impl AttemptPermit<'_> {
    /// Ends a successful attempt, or one that could not be verified.
    pub(crate) fn refund(mut self) {
        self.is_open = false;
        if self.is_counted {
            self.limiter.refund(self.key);
        }
    }

    /// Ends a failed attempt. `Err`: the bucket is empty, so the client must not learn that the
    /// attempt failed.
    pub(crate) fn consume(mut self) -> Result<(), Throttled> {
        self.is_open = false;
        if self.is_counted { Ok(()) } else { self.limiter.take(self.key, self.now) }
    }
}

impl Drop for AttemptPermit<'_> {
    fn drop(&mut self) {
        if self.is_open && !self.is_counted {
            let _ = self.limiter.take(self.key, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));

    fn begin(limiter: &AuthFailureLimiter, is_unverified: bool) -> Result<AttemptPermit<'_>, Throttled> {
        limiter.begin_at(0, ONE, AttemptKind::UnknownKey, || is_unverified)
    }

    /// Whether a wrong credential is verified, and refused for being wrong.
    fn wrong(limiter: &AuthFailureLimiter, now: u64, ip: IpAddr) -> Result<(), Throttled> {
        limiter.begin_at(now, ip, AttemptKind::UnknownKey, || true).and_then(AttemptPermit::consume)
    }

    /// How many of `times` wrong credentials are verified.
    fn verified(limiter: &AuthFailureLimiter, now: u64, ip: IpAddr, times: usize) -> usize {
        (0..times).filter(|_| wrong(limiter, now, ip).is_ok()).count()
    }

    #[test]
    fn an_address_has_its_limit_and_then_one_each_interval() {
        let limiter = AuthFailureLimiter::new(60);
        assert_eq!(verified(&limiter, 0, ONE, 200), 60);
        assert_eq!(
            wrong(&limiter, 0, ONE),
            Err(Throttled { kind: AttemptKind::UnknownKey, wait: Duration::from_secs(1) })
        );
        assert_eq!(verified(&limiter, 0, OTHER, 1), 1);
        assert_eq!(verified(&limiter, SECOND, ONE, 5), 1);
    }

    #[test]
    fn valid_credentials_cost_nothing_and_verified_keys_are_never_held_up() {
        let limiter = AuthFailureLimiter::new(2);
        let right = |times| (0..times).all(|_| begin(&limiter, true).map(AttemptPermit::refund).is_ok());
        assert!(right(10));
        assert_eq!(limiter.buckets.iter().count(), 0, "an address without failures has no bucket");
        assert_eq!(verified(&limiter, 0, ONE, 1), 1);
        assert!(right(10));
        assert_eq!(verified(&limiter, 0, ONE, 9), 1);
        assert!(!right(1), "it is unverified");
        begin(&limiter, false).unwrap().refund();
        assert!(begin(&limiter, false).unwrap().consume().is_err(), "refused, and not told why");
    }

    #[test]
    fn concurrent_attempts_get_no_further_and_a_dropped_one_counts() {
        let limiter = AuthFailureLimiter::new(5);
        drop(begin(&limiter, true).unwrap());
        let open: Vec<_> = (0..20).filter_map(|_| begin(&limiter, true).ok()).collect();
        assert_eq!(open.len(), 4);
        drop(open);
        assert!(begin(&limiter, true).is_err());
    }

    #[test]
    fn sign_ins_under_way_count_and_those_that_succeed_are_refunded() {
        let limiter = AuthFailureLimiter::new(5);
        let open: Vec<_> = (0..20).filter_map(|_| limiter.begin_sign_in_at(0, ONE).ok()).collect();
        assert_eq!(open.len(), 5);
        open.into_iter().for_each(AttemptPermit::refund);
        assert!((0..20).all(|_| limiter.begin_sign_in_at(0, ONE).map(AttemptPermit::refund).is_ok()));
        let failed = |now| (0..20).filter(|_| limiter.begin_sign_in_at(now, ONE).is_ok()).count();
        assert_eq!(failed(0), 5);
        assert_eq!(
            limiter.begin_sign_in_at(0, ONE).err().map(|throttled| throttled.wait),
            Some(Duration::from_secs(12))
        );
        assert!(limiter.begin_sign_in_at(0, OTHER).is_ok());
        assert_eq!(failed(12 * SECOND), 1);
    }

    #[test]
    fn concurrent_attempts_count_in_any_order() {
        let limiter = AuthFailureLimiter::new(6);
        assert_eq!((0..6).rev().filter(|at| limiter.begin_sign_in_at(SECOND + at, ONE).is_ok()).count(), 6);
    }

    #[test]
    fn failures_of_one_kind_leave_the_others_alone() {
        let limiter = AuthFailureLimiter::new(3);
        assert_eq!(verified(&limiter, 0, ONE, 10), 3);
        let cookie = || limiter.begin_at(0, ONE, AttemptKind::Cookie, || true).and_then(AttemptPermit::consume);
        assert_eq!((0..10).filter(|_| cookie().is_ok()).count(), 3);
        assert_eq!((0..10).filter(|_| limiter.begin_sign_in_at(0, ONE).is_ok()).count(), 3);
    }

    #[test]
    fn failures_of_one_key_leave_other_keys_alone() {
        let limiter = AuthFailureLimiter::new(3);
        let refused =
            |id: &str| limiter.begin_at(0, ONE, AttemptKind::key(id), || true).and_then(AttemptPermit::consume);
        assert_eq!((0..10).filter(|_| refused("0123456789").is_ok()).count(), 3);
        assert!(limiter.begin_at(0, ONE, AttemptKind::key("9876543210"), || true).is_ok());
        assert_eq!(verified(&limiter, 0, ONE, 10), 3);
    }

    #[test]
    fn an_ipv6_client_has_one_bucket_for_all_its_addresses() {
        let limiter = AuthFailureLimiter::new(3);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let verified_of = |n| verified(&limiter, 0, address(&format!("2001:db8:0:1::{n}")), 1);
        assert_eq!((0..10).map(verified_of).sum::<usize>(), 3);
        assert_eq!(verified(&limiter, 0, address("2001:db8:0:2::"), 1), 1);
    }

    #[test]
    fn without_a_limit_no_bucket_is_kept() {
        let limiter = AuthFailureLimiter::new(0);
        assert_eq!(verified(&limiter, 0, ONE, 1000), 1000);
        assert_eq!(limiter.buckets.iter().count(), 0);
    }

    #[test]
    fn the_table_is_bounded() {
        let limiter = AuthFailureLimiter::with_capacity(3, 100);
        for number in 0..10_000_u32 {
            assert!(wrong(&limiter, 0, Ipv4Addr::from(number).into()).is_ok());
        }
        limiter.buckets.run_pending_tasks();
        assert!(limiter.buckets.entry_count() <= 100);
    }

    #[test]
    fn the_log_is_not_flooded() {
        let limiter = AuthFailureLimiter::new(1);
        let logged = (0..1000).filter(|_| limiter.may_log(0)).count();
        assert_eq!(logged as u64, MAX_LOG_LINES);
    }
}
