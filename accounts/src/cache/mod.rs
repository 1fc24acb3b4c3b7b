//! What is known of the credentials that were presented lately, so that a warm request asks neither the database nor
//! Argon2.
//!
//! An entry is true as long as nothing changed the rights of its user since the database was asked. Whoever changes them
//! says so after the commit, in this process directly and in others through [`crate::Accounts::keep_cache`]. Each change
//! gets a number; an entry carries the number that was the latest when its reading began, so that a reading that a change
//! overtook is never taken for the truth.

mod keep;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
pub use keep::RightsChanges;
pub(crate) use keep::notify;
use metrics::{counter, gauge};
use tokio::sync::{Mutex, broadcast};

use crate::{access::Principal, authenticate::Refused, clock::Time, users::UserId};

/// How many credentials are kept that count.
const GRANTED: u64 = 100_000;
/// How many are kept that do not: few enough that guessing fills no memory.
const REFUSED: u64 = 10_000;
/// How long one that counts is kept without asking again, whatever is heard: a net below the net.
const GRANTED_FOR: Duration = Duration::from_mins(5);
/// How long one that does not is kept.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How many users' changes are remembered one by one; with more, everything is forgotten.
const CHANGES: usize = 65_536;
/// How many changes a slow listener may be behind before it is told that all may have changed.
const TOLD: usize = 1_024;
/// How many keys are verified for the first time side by side, at the most.
const TURNS: usize = 64;

/// The SHA-256 of a credential: it has 256 random bits, or is signed, so that nothing leads back from the one to the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(presented: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, presented.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// What came of judging a credential.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) outcome: Result<Arc<Principal>, Refused>,
    /// Whose it is, if it is anybody's.
    pub(crate) about: Option<UserId>,
    /// When it ends by itself, and what is said of it from then on.
    pub(crate) until: Option<(Time, Refused)>,
}

impl Judged {
    /// Refused, and nobody's.
    pub(crate) fn refused(why: Refused) -> Self {
        Self { outcome: Err(why), about: None, until: None }
    }

    /// What it comes to at this moment.
    pub(crate) fn at(&self, now: Time) -> Result<Arc<Principal>, Refused> {
        match self.until {
            Some((end, why)) if end <= now => self.outcome.clone().and(Err(why)),
            _ => self.outcome.clone(),
        }
    }
}

/// The rights of these may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsChanged {
    /// Of one user, or of a key or session of it.
    Of(UserId),
    /// Of any: changes may have been missed.
    Any,
}

/// The number of a change, or of the latest one before a reading began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

#[derive(Clone)]
struct Entry {
    judged: Judged,
    read_at: Generation,
}

/// What changed when.
struct Changes {
    latest: Generation,
    /// Nothing read before this counts.
    floor: Generation,
    of: HashMap<UserId, Generation>,
}

/// The cache. Empty and bypassed until someone keeps it true.
pub(crate) struct Cache {
    granted: moka::sync::Cache<Digest, Entry>,
    refused: moka::sync::Cache<Digest, Entry>,
    /// The hash that a credential was verified against. That stays true for ever, whatever becomes of the key.
    verified: moka::sync::Cache<Digest, Arc<str>>,
    turns: [Mutex<()>; TURNS],
    changes: RwLock<Changes>,
    kept: AtomicBool,
    told: broadcast::Sender<RightsChanged>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let bounded = |capacity, time| moka::sync::Cache::builder().max_capacity(capacity).time_to_live(time).build();
        Self {
            granted: bounded(GRANTED, GRANTED_FOR),
            refused: bounded(REFUSED, REFUSED_FOR),
            verified: moka::sync::Cache::builder().max_capacity(GRANTED).build(),
            turns: std::array::from_fn(|_| Mutex::new(())),
            changes: RwLock::new(Changes { latest: Generation(0), floor: Generation(0), of: HashMap::new() }),
            kept: AtomicBool::new(false),
            told: broadcast::Sender::new(TOLD),
        }
    }

    /// What is known of a credential.
    pub(crate) fn find(&self, digest: &Digest) -> Option<Judged> {
        if !self.kept.load(Ordering::Acquire) {
            counter!("paddock_credential_cache_misses_total", "reason" => "bypassed").increment(1);
            return None;
        }
        let entry = self.granted.get(digest).or_else(|| self.refused.get(digest));
        if let Some(entry) = entry
            && self.is_true(&entry)
        {
            return Some(entry.judged);
        }
        counter!("paddock_credential_cache_misses_total", "reason" => "unknown").increment(1);
        None
    }

    fn is_true(&self, entry: &Entry) -> bool {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let since = entry.judged.about.and_then(|user| changes.of.get(&user));
        entry.read_at >= changes.floor && since.is_none_or(|since| entry.read_at >= *since)
    }

    /// To be asked before the database is.
    pub(crate) fn reading(&self) -> Generation {
        self.changes.read().unwrap_or_else(PoisonError::into_inner).latest
    }

    /// Keeps what a reading came to.
    pub(crate) fn keep(&self, digest: Digest, read_at: Generation, judged: &Judged) {
        let cache = if judged.outcome.is_ok() { &self.granted } else { &self.refused };
        cache.insert(digest, Entry { judged: judged.clone(), read_at });
    }

    /// Whether the credential has been verified against this very hash.
    pub(crate) fn is_verified(&self, digest: &Digest, hash: &str) -> bool {
        self.verified.get(digest).is_some_and(|verified| &*verified == hash)
    }

    /// Whether it has been verified at all, whatever became of it since.
    pub(crate) fn was_right(&self, digest: &Digest) -> bool {
        self.verified.contains_key(digest)
    }

    /// Remembers that it has.
    pub(crate) fn verified(&self, digest: Digest, hash: &str) {
        self.verified.insert(digest, hash.into());
    }

    /// A turn at verifying: many requests with one new key hash it once.
    pub(crate) async fn turn(&self, digest: &Digest) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns[usize::from(digest.0[0]) % TURNS].lock().await
    }

    /// The rights of a user, or of something of it, are others now.
    pub(crate) fn changed(&self, user: UserId) {
        let all = {
            let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
            changes.latest.0 += 1;
            let latest = changes.latest;
            changes.of.insert(user, latest);
            changes.of.len() > CHANGES
        };
        if all {
            self.clear();
        }
        // Without a listener there is nobody to tell.
        let _ = self.told.send(RightsChanged::Of(user));
    }

    /// Forgets everything: changes may have been missed.
    fn clear(&self) {
        {
            let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
            changes.latest.0 += 1;
            changes.floor = changes.latest;
            changes.of.clear();
        }
        self.granted.invalidate_all();
        self.refused.invalidate_all();
        let _ = self.told.send(RightsChanged::Any);
    }

    /// Begins or ends to be used. Whatever was missed meanwhile is forgotten first.
    fn set_kept(&self, kept: bool) {
        if !kept {
            self.kept.store(false, Ordering::Release);
        }
        self.clear();
        if kept {
            self.kept.store(true, Ordering::Release);
        }
        gauge!("paddock_credential_cache_kept").set(u8::from(kept));
    }

    /// Hears of changes from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<RightsChanged> {
        self.told.subscribe()
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn disabled(user: UserId) -> Judged {
        Judged { outcome: Err(Refused::Disabled), about: Some(user), until: None }
    }

    fn kept() -> Cache {
        let cache = Cache::new();
        cache.set_kept(true);
        cache
    }

    #[test]
    fn nothing_is_found_until_someone_keeps_it_true() {
        let cache = Cache::new();
        let digest = Digest::of("a");
        cache.keep(digest, cache.reading(), &disabled(ADA));
        assert!(cache.find(&digest).is_none());
        cache.set_kept(true);
        assert!(cache.find(&digest).is_none(), "what was kept before was not kept true");
        cache.keep(digest, cache.reading(), &disabled(ADA));
        assert!(cache.find(&digest).is_some());
        cache.set_kept(false);
        cache.set_kept(true);
        assert!(cache.find(&digest).is_none());
    }

    #[test]
    fn a_change_forgets_its_user_and_nobody_else() {
        let cache = kept();
        let (a, b) = (Digest::of("a"), Digest::of("b"));
        cache.keep(a, cache.reading(), &disabled(ADA));
        cache.keep(b, cache.reading(), &disabled(BOB));
        cache.changed(ADA);
        assert!(cache.find(&a).is_none());
        assert!(cache.find(&b).is_some());
    }

    #[test]
    fn a_reading_that_a_change_overtook_is_not_believed() {
        let cache = kept();
        let digest = Digest::of("a");
        let reading = cache.reading();
        cache.changed(ADA);
        cache.keep(digest, reading, &disabled(ADA));
        assert!(cache.find(&digest).is_none());
        let reading = cache.reading();
        cache.set_kept(true);
        cache.keep(digest, reading, &disabled(ADA));
        assert!(cache.find(&digest).is_none(), "a reconnection overtakes readings too");
    }

    #[test]
    fn many_changes_are_not_remembered_one_by_one() {
        let cache = kept();
        let digest = Digest::of("a");
        cache.keep(digest, cache.reading(), &disabled(UserId(-1)));
        for user in 0..=i64::try_from(CHANGES).unwrap() {
            cache.changed(UserId(user));
        }
        assert!(cache.find(&digest).is_none());
        assert!(cache.changes.read().unwrap().of.len() <= CHANGES);
    }

    #[test]
    fn an_end_comes_without_anybody_saying_so() {
        let end = Time::from_micros(10);
        let judged = Judged { until: Some((end, Refused::Expired)), ..disabled(ADA) };
        assert_eq!(judged.at(Time::from_micros(9)).unwrap_err(), Refused::Disabled);
        assert_eq!(judged.at(end).unwrap_err(), Refused::Disabled, "what was refused before is refused for that");
    }
}
