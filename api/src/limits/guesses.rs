//! How much that is wrong an address may present in a minute, so that guessing is not free.
//!
//! Each address has a bucket for each sort of what it may present: credentials, cookies and passwords. Everything that is
//! refused takes one from its own. While that is empty nothing that may be a guess is judged, and nothing that is refused is
//! told from it. Whatever was right before, and access tokens, whose signature is looked at before anything else is, are
//! judged all the same: one broken client does not lock out the others behind its address, nor keep them from signing in.
//! Each process counts for itself.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::counter;
use moka::{policy::EvictionPolicy, sync::Cache};
use paddock_store::context::network;
use tokio::time::Instant;

use super::rate::{Rate, SECOND};
use crate::problem::{Kind, Problem};

/// How many buckets are kept. Beyond, those that were idle longest are forgotten.
const BUCKETS: u64 = 100_000;
/// After this long without anything wrong every bucket is full, and need not be kept.
const IDLE: Duration = Duration::from_mins(2);
/// After how many microseconds the log may tell of an address again,
const TELL_AGAIN: u64 = 60 * SECOND;
/// and how many lines a minute that makes of all together.
const LINES_A_MINUTE: u64 = 10;

/// What is presented to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    /// A key or an access token.
    Credential,
    /// The cookie of a session.
    Cookie,
    /// The password of a user who signs in.
    Password,
}

impl Sort {
    /// What is said in the log of one wrong one after the other.
    const fn warning(self) -> &'static str {
        match self {
            Self::Credential => "one wrong credential after another; no more are judged for now",
            Self::Cookie => "one wrong cookie after another; no more are judged for now",
            Self::Password => "one failed sign-in after another; no more are judged for now",
        }
    }
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner {
    network: IpAddr,
    sort: Sort,
}

/// The buckets of addresses that present what is wrong.
pub(crate) struct Guesses {
    /// `None`: as many as they like.
    rate: Option<Rate>,
    started: Instant,
    buckets: Cache<Owner, Arc<Mutex<Bucket>>>,
    /// The bucket of lines in the log.
    lines: Mutex<u64>,
}

/// In microseconds from the start of the process.
#[derive(Default)]
struct Bucket {
    /// When it is full again.
    full: u64,
    /// The latest time at which it was asked: of many at once the earlier ones may be asked for later.
    now: u64,
    /// From when on the log may tell of the address again.
    silent_until: u64,
}

/// Too many were wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    sort: Sort,
    /// When to come back.
    pub(crate) wait: Duration,
}

impl Throttled {
    /// What is wrong, for people.
    pub(crate) fn message(self) -> &'static str {
        match self.sort {
            Sort::Credential => "too many credentials from your address are not valid; come back later",
            Sort::Cookie => "too many cookies from your address are not valid; come back later",
            Sort::Password => "too many sign-ins from your address failed; come back later",
        }
    }
}

impl From<Throttled> for Problem {
    fn from(throttled: Throttled) -> Self {
        let kind = match throttled.sort {
            Sort::Credential | Sort::Cookie => Kind::RateLimited,
            Sort::Password => Kind::LoginLocked,
        };
        Self::new(kind, throttled.message()).retry_after(throttled.wait)
    }
}

/// Something that is being judged. What is dropped, because its client left, counts as wrong.
#[must_use]
pub(crate) struct Attempt<'a> {
    guesses: &'a Guesses,
    owner: Owner,
    /// When it came.
    now: u64,
    /// It has taken from the bucket already.
    is_counted: bool,
    is_open: bool,
}

impl Guesses {
    /// With so many of each sort a minute from one address; 0: as many as they like.
    pub(crate) fn new(limit: u64) -> Self {
        Self::bounded(limit, BUCKETS)
    }

    fn bounded(limit: u64, buckets: u64) -> Self {
        let buckets =
            Cache::builder().max_capacity(buckets).eviction_policy(EvictionPolicy::lru()).time_to_idle(IDLE).build();
        let rate = (limit > 0).then(|| Rate::per_minute(limit));
        Self { rate, started: Instant::now(), buckets, lines: Mutex::new(0) }
    }

    /// Begins to judge a credential or a cookie. Where others were wrong lately, one that may be a guess takes from the bucket
    /// now, so that many at once get no further than one after another; where none was, only when it turns out wrong, so that
    /// no crowd with valid keys is held up.
    pub(crate) fn begin(
        &self,
        ip: IpAddr,
        sort: Sort,
        may_be_guess: impl FnOnce() -> bool,
    ) -> Result<Attempt<'_>, Throttled> {
        self.begin_at(self.now(), ip, sort, may_be_guess)
    }

    /// Begins a sign-in, which takes from the bucket at once and gives back what it took if it succeeds: judging one is dear,
    /// so that no more may be under way than may fail.
    pub(crate) fn sign_in(&self, ip: IpAddr) -> Result<Attempt<'_>, Throttled> {
        self.sign_in_at(self.now(), ip)
    }

    fn begin_at(
        &self,
        now: u64,
        ip: IpAddr,
        sort: Sort,
        may_be_guess: impl FnOnce() -> bool,
    ) -> Result<Attempt<'_>, Throttled> {
        let owner = Owner { network: network(ip), sort };
        let bucket = self.rate.and_then(|_| self.buckets.get(&owner));
        self.attempt(now, owner, bucket.is_some() && may_be_guess())
    }

    fn sign_in_at(&self, now: u64, ip: IpAddr) -> Result<Attempt<'_>, Throttled> {
        self.attempt(now, Owner { network: network(ip), sort: Sort::Password }, true)
    }

    fn attempt(&self, now: u64, owner: Owner, is_counted: bool) -> Result<Attempt<'_>, Throttled> {
        if is_counted {
            self.take(owner, now)?;
        }
        Ok(Attempt { guesses: self, owner, now, is_counted, is_open: true })
    }

    /// In microseconds from the start of the process.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn take(&self, owner: Owner, now: u64) -> Result<(), Throttled> {
        let Some(rate) = self.rate else { return Ok(()) };
        let bucket = self.buckets.get_with(owner, Arc::default);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.max(bucket.now);
        bucket.now = now;
        if let Some(full) = rate.take(bucket.full, now) {
            bucket.full = full;
            return Ok(());
        }
        counter!("paddock_rate_limited_total", "limit" => "address").increment(1);
        if now >= bucket.silent_until && self.may_tell(now) {
            bucket.silent_until = now.saturating_add(TELL_AGAIN);
            tracing::warn!(address = %owner.network, "{}", owner.sort.warning());
        }
        let wait = rate.standing(bucket.full, now, false).wait.unwrap_or_default();
        Err(Throttled { sort: owner.sort, wait })
    }

    fn may_tell(&self, now: u64) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Rate::per_minute(LINES_A_MINUTE).take(*lines, now);
        *lines = next.unwrap_or(*lines);
        next.is_some()
    }

    fn give_back(&self, owner: Owner) {
        let Some((rate, bucket)) = self.rate.zip(self.buckets.get(&owner)) else { return };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.full = rate.give_back(bucket.full);
    }
}

impl Attempt<'_> {
    /// It is right, or could not be judged.
    pub(crate) fn spare(mut self) {
        self.is_open = false;
        if self.is_counted {
            self.guesses.give_back(self.owner);
        }
    }

    /// It is wrong.
    pub(crate) fn wrong(mut self) -> Result<(), Throttled> {
        self.is_open = false;
        if self.is_counted { Ok(()) } else { self.guesses.take(self.owner, self.now) }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_open && !self.is_counted {
            let _ = self.guesses.take(self.owner, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));

    fn begin(guesses: &Guesses, may_be_guess: bool) -> Result<Attempt<'_>, Throttled> {
        guesses.begin_at(0, ONE, Sort::Credential, || may_be_guess)
    }

    /// Whether a wrong one is judged, and told from all others.
    fn wrong(guesses: &Guesses, now: u64, ip: IpAddr) -> Result<(), Throttled> {
        guesses.begin_at(now, ip, Sort::Credential, || true).and_then(Attempt::wrong)
    }

    /// How many of so many are.
    fn judged(guesses: &Guesses, now: u64, ip: IpAddr, times: usize) -> usize {
        (0..times).filter(|_| wrong(guesses, now, ip).is_ok()).count()
    }

    #[test]
    fn an_address_has_so_many_and_then_one_each_interval() {
        let guesses = Guesses::new(60);
        assert_eq!(judged(&guesses, 0, ONE, 200), 60);
        assert_eq!(wrong(&guesses, 0, ONE), Err(Throttled { sort: Sort::Credential, wait: Duration::from_secs(1) }));
        assert_eq!(judged(&guesses, 0, OTHER, 1), 1);
        assert_eq!(judged(&guesses, SECOND, ONE, 5), 1);
    }

    #[test]
    fn what_is_right_costs_nothing_and_what_was_right_before_is_judged() {
        let guesses = Guesses::new(2);
        let right = |times| (0..times).all(|_| begin(&guesses, true).map(Attempt::spare).is_ok());
        assert!(right(10));
        assert_eq!(guesses.buckets.iter().count(), 0, "nobody who is right is kept");
        assert_eq!(judged(&guesses, 0, ONE, 1), 1);
        assert!(right(10));
        assert_eq!(judged(&guesses, 0, ONE, 9), 1);
        assert!(!right(1), "it may be a guess");
        begin(&guesses, false).unwrap().spare();
        assert!(begin(&guesses, false).unwrap().wrong().is_err(), "refused, and told no more");
    }

    #[test]
    fn many_at_once_get_no_further_and_leaving_saves_nothing() {
        let guesses = Guesses::new(5);
        drop(begin(&guesses, true).unwrap());
        let open: Vec<_> = (0..20).filter_map(|_| begin(&guesses, true).ok()).collect();
        assert_eq!(open.len(), 4);
        drop(open);
        assert!(begin(&guesses, true).is_err());
    }

    #[test]
    fn so_many_sign_ins_are_under_way_as_may_fail_and_those_that_succeed_cost_nothing() {
        let guesses = Guesses::new(5);
        let open: Vec<_> = (0..20).filter_map(|_| guesses.sign_in_at(0, ONE).ok()).collect();
        assert_eq!(open.len(), 5);
        open.into_iter().for_each(Attempt::spare);
        assert!((0..20).all(|_| guesses.sign_in_at(0, ONE).map(Attempt::spare).is_ok()));
        let failed = |now| (0..20).filter(|_| guesses.sign_in_at(now, ONE).is_ok()).count();
        assert_eq!(failed(0), 5);
        assert_eq!(guesses.sign_in_at(0, ONE).err().map(|throttled| throttled.wait), Some(Duration::from_secs(12)));
        assert!(guesses.sign_in_at(0, OTHER).is_ok());
        assert_eq!(failed(12 * SECOND), 1);
    }

    #[test]
    fn those_that_come_at_once_are_counted_in_any_order() {
        let guesses = Guesses::new(6);
        assert_eq!((0..6).rev().filter(|at| guesses.sign_in_at(SECOND + at, ONE).is_ok()).count(), 6);
    }

    #[test]
    fn what_is_wrong_of_one_sort_leaves_the_others_alone() {
        let guesses = Guesses::new(3);
        assert_eq!(judged(&guesses, 0, ONE, 10), 3);
        let cookie = || guesses.begin_at(0, ONE, Sort::Cookie, || true).and_then(Attempt::wrong);
        assert_eq!((0..10).filter(|_| cookie().is_ok()).count(), 3);
        assert_eq!((0..10).filter(|_| guesses.sign_in_at(0, ONE).is_ok()).count(), 3);
    }

    #[test]
    fn an_ipv6_client_has_one_bucket_for_all_its_addresses() {
        let guesses = Guesses::new(3);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let judged_of = |n| judged(&guesses, 0, address(&format!("2001:db8:0:1::{n}")), 1);
        assert_eq!((0..10).map(judged_of).sum::<usize>(), 3);
        assert_eq!(judged(&guesses, 0, address("2001:db8:0:2::"), 1), 1);
    }

    #[test]
    fn without_a_limit_nobody_is_kept() {
        let guesses = Guesses::new(0);
        assert_eq!(judged(&guesses, 0, ONE, 1000), 1000);
        assert_eq!(guesses.buckets.iter().count(), 0);
    }

    #[test]
    fn the_table_is_bounded() {
        let guesses = Guesses::bounded(3, 100);
        for number in 0..10_000_u32 {
            assert!(wrong(&guesses, 0, Ipv4Addr::from(number).into()).is_ok());
        }
        guesses.buckets.run_pending_tasks();
        assert!(guesses.buckets.entry_count() <= 100);
    }

    #[test]
    fn the_log_is_not_flooded() {
        let guesses = Guesses::new(1);
        let told = (0..1000).filter(|_| guesses.may_tell(0)).count();
        assert_eq!(told as u64, LINES_A_MINUTE);
    }
}
