//! The cache of authenticated credentials: a warm request needs neither the database nor Argon2.
//!
//! An entry is valid as long as nothing changed the rights of its user since the database was read.
//! The write door reports each change after its commit; [`run_invalidation`] reports those of other
//! processes. An entry carries the [`Generation`] of the latest change before its
//! reading began, so a change during the reading outdates the entry.

mod invalidation;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
pub(crate) use invalidation::run_invalidation;
use metrics::{counter, gauge};
use paddock_store::{
    clock::Timestamp,
    ids::UserId,
    rights::{Generation, Rights, RightsChanges},
};
use tokio::sync::Mutex;

use crate::{access::principal::Principal, rejection::AuthFailure};

/// How many accepted credentials are cached.
const MAX_ACCEPTED: u64 = 100_000;
/// How many rejected credentials are cached: few, so that guessing does not fill the memory.
const MAX_REJECTED: u64 = 10_000;
/// How long an accepted credential is cached at most, in case an invalidation is lost.
const ACCEPTED_TTL: Duration = Duration::from_mins(5);
/// How long a rejected credential is cached.
const REJECTED_TTL: Duration = Duration::from_secs(10);
/// How many keys are verified for the first time in parallel.
const LOCK_STRIPES: usize = 64;

/// The SHA-256 of a credential. A credential has 256 random bits or is signed, so its digest does not
/// reveal it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(credential: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, credential.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// The result of verifying a credential.
#[derive(Clone, Debug)]
pub(crate) struct CachedDecision {
    pub(crate) outcome: Result<Arc<Principal>, AuthFailure>,
    /// The user that the credential belongs to, if any.
    pub(crate) user: Option<UserId>,
    /// When the credential ends by itself, and the failure from then on.
    pub(crate) until: Option<(Timestamp, AuthFailure)>,
}

impl CachedDecision {
    /// A rejection that belongs to no user.
    pub(crate) fn rejected(why: AuthFailure) -> Self {
        Self { outcome: Err(why), user: None, until: None }
    }

    /// The result at this time.
    pub(crate) fn at(&self, now: Timestamp) -> Result<Arc<Principal>, AuthFailure> {
        match self.until {
            Some((end, why)) if end <= now => self.outcome.clone().and(Err(why)),
            _ => self.outcome.clone(),
        }
    }
}

#[derive(Clone)]
struct Entry {
    decision: CachedDecision,
    read_at: Generation,
}

/// The cache of authenticated credentials. Disabled until [`run_invalidation`] runs.
pub(crate) struct CredentialCache {
    rights: Arc<Rights>,
    accepted: moka::sync::Cache<Digest, Entry>,
    rejected: moka::sync::Cache<Digest, Entry>,
    /// The hash that a credential was verified against. This never becomes wrong.
    verified: moka::sync::Cache<Digest, Arc<str>>,
    verification_locks: [Mutex<()>; LOCK_STRIPES],
    is_enabled: AtomicBool,
}

impl CredentialCache {
    pub(crate) fn new(rights: Arc<Rights>) -> Self {
        let bounded = |capacity, ttl| moka::sync::Cache::builder().max_capacity(capacity).time_to_live(ttl).build();
        Self {
            rights,
            accepted: bounded(MAX_ACCEPTED, ACCEPTED_TTL),
            rejected: bounded(MAX_REJECTED, REJECTED_TTL),
            verified: moka::sync::Cache::builder().max_capacity(MAX_ACCEPTED).build(),
            verification_locks: std::array::from_fn(|_| Mutex::new(())),
            is_enabled: AtomicBool::new(false),
        }
    }

    /// Whether warm requests are answered without the database.
    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Acquire)
    }

    /// Subscribes to changes of rights, those of other processes while [`run_invalidation`] runs.
    pub(crate) fn rights_changes(&self) -> RightsChanges {
        self.rights.subscribe()
    }

    /// The cached result for a credential.
    pub(crate) fn find(&self, digest: &Digest) -> Option<CachedDecision> {
        if !self.is_enabled() {
            counter!("paddock_credential_cache_misses_total", "reason" => "bypassed").increment(1);
            return None;
        }
        let entry = self.accepted.get(digest).or_else(|| self.rejected.get(digest));
        if let Some(entry) = entry
            && self.rights.is_current(entry.read_at, entry.decision.user)
        {
            return Some(entry.decision);
        }
        counter!("paddock_credential_cache_misses_total", "reason" => "unknown").increment(1);
        None
    }

    /// The latest change of rights. Take it before reading the database.
    pub(crate) fn generation(&self) -> Generation {
        self.rights.generation()
    }

    /// Stores the result of a reading that began at this generation.
    pub(crate) fn insert(&self, digest: Digest, read_at: Generation, decision: &CachedDecision) {
        let cache = if decision.outcome.is_ok() { &self.accepted } else { &self.rejected };
        cache.insert(digest, Entry { decision: decision.clone(), read_at });
    }

    /// Whether the credential was verified against this hash.
    pub(crate) fn is_verified(&self, digest: &Digest, hash: &str) -> bool {
        self.verified.get(digest).is_some_and(|verified| &*verified == hash)
    }

    /// Whether the credential was verified at all, even if it was revoked since.
    pub(crate) fn was_verified(&self, digest: &Digest) -> bool {
        self.verified.contains_key(digest)
    }

    /// Remembers that the credential was verified against this hash.
    pub(crate) fn set_verified(&self, digest: Digest, hash: &str) {
        self.verified.insert(digest, hash.into());
    }

    /// A lock for verifying the credential, so that many requests with one new key hash it once.
    pub(crate) async fn verification_lock(&self, digest: &Digest) -> tokio::sync::MutexGuard<'_, ()> {
        self.verification_locks[usize::from(digest.0[0]) % LOCK_STRIPES].lock().await
    }

    /// Removes every result: changes may have been lost.
    fn clear(&self) {
        self.rights.report_any();
        self.accepted.invalidate_all();
        self.rejected.invalidate_all();
    }

    /// Enables or disables the cache, and clears it.
    fn set_enabled(&self, is_enabled: bool) {
        if !is_enabled {
            self.is_enabled.store(false, Ordering::Release);
        }
        self.clear();
        if is_enabled {
            self.is_enabled.store(true, Ordering::Release);
        }
        gauge!("paddock_credential_cache_enabled").set(u8::from(is_enabled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn disabled(user: UserId) -> CachedDecision {
        CachedDecision { outcome: Err(AuthFailure::Disabled), user: Some(user), until: None }
    }

    fn enabled() -> CredentialCache {
        let cache = CredentialCache::new(Arc::default());
        cache.set_enabled(true);
        cache
    }

    #[test]
    fn nothing_is_found_until_it_is_enabled() {
        let cache = CredentialCache::new(Arc::default());
        let digest = Digest::of("a");
        cache.insert(digest, cache.generation(), &disabled(ADA));
        assert!(cache.find(&digest).is_none());
        cache.set_enabled(true);
        assert!(cache.find(&digest).is_none(), "entries from before are dropped");
        cache.insert(digest, cache.generation(), &disabled(ADA));
        assert!(cache.find(&digest).is_some());
        cache.set_enabled(false);
        cache.set_enabled(true);
        assert!(cache.find(&digest).is_none());
    }

    #[test]
    fn a_change_forgets_its_user_and_nobody_else() {
        let cache = enabled();
        let (a, b) = (Digest::of("a"), Digest::of("b"));
        cache.insert(a, cache.generation(), &disabled(ADA));
        cache.insert(b, cache.generation(), &disabled(BOB));
        cache.rights.report(ADA);
        assert!(cache.find(&a).is_none());
        assert!(cache.find(&b).is_some());
    }

    #[test]
    fn a_reading_that_a_change_overtook_is_not_believed() {
        let cache = enabled();
        let digest = Digest::of("a");
        let reading = cache.generation();
        cache.rights.report(ADA);
        cache.insert(digest, reading, &disabled(ADA));
        assert!(cache.find(&digest).is_none());
        let reading = cache.generation();
        cache.set_enabled(true);
        cache.insert(digest, reading, &disabled(ADA));
        assert!(cache.find(&digest).is_none(), "a reconnection overtakes readings too");
    }

    #[test]
    fn a_decision_ends_by_itself() {
        let end = Timestamp::from_micros(10);
        let decision = CachedDecision { until: Some((end, AuthFailure::Expired)), ..disabled(ADA) };
        assert_eq!(decision.at(Timestamp::from_micros(9)).unwrap_err(), AuthFailure::Disabled);
        assert_eq!(decision.at(end).unwrap_err(), AuthFailure::Disabled, "what was refused before is refused for that");
    }
}
