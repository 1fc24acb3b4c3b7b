//! The credential cache. A request with a cached credential needs neither the database nor Argon2.
//!
//! An entry is valid while the rights of its user are unchanged since the database was read. The
//! write door reports each change of this process after its commit; [`run_invalidation`] reports
//! the changes of other processes. An entry carries the [`Generation`] from before its read, so a
//! change during the read outdates the entry.

mod decision;
mod invalidation;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
pub(crate) use decision::CachedDecision;
pub(crate) use invalidation::run_invalidation;
use metrics::{counter, gauge};
use paddock_store::{
    ids::UserId,
    rights::{Generation, Rights, RightsChanges},
};
use tokio::sync::Mutex;

/// The number of accepted credentials in the cache.
const MAX_ACCEPTED: u64 = 100_000;
/// The number of rejected credentials in the cache. It is small, so that guesses do not fill the
/// memory.
const MAX_REJECTED: u64 = 10_000;
/// How long an accepted credential is cached, in case an invalidation is lost.
const ACCEPTED_TTL: Duration = Duration::from_mins(5);
/// How long a rejected credential is cached.
const REJECTED_TTL: Duration = Duration::from_secs(30);
/// The number of locks for first verifications, which bounds how many run in parallel.
const LOCK_STRIPES: usize = 64;

/// The SHA-256 of a credential. A credential has 256 random bits or is signed, so it cannot be
/// guessed from its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(credential: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, credential.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[derive(Clone)]
struct Entry {
    decision: CachedDecision,
    read_at: Generation,
}

/// The credential cache. It is disabled until [`run_invalidation`] runs.
pub(crate) struct CredentialCache {
    rights: Arc<Rights>,
    accepted: moka::sync::Cache<Digest, Entry>,
    rejected: moka::sync::Cache<Digest, Entry>,
    /// The hash that each credential was verified against. Such an entry never becomes wrong.
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

    /// Whether the cache is enabled.
    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Acquire)
    }

    /// Subscribes to changes of rights. Changes of other processes arrive only while
    /// [`run_invalidation`] runs.
    pub(crate) fn rights_changes(&self) -> RightsChanges {
        self.rights.subscribe()
    }

    /// Whether a result read at this generation is still current: the cache is enabled, and the
    /// rights of the user are unchanged since.
    pub(crate) fn is_current(&self, read_at: Generation, user: UserId) -> bool {
        self.is_enabled() && self.rights.is_current(read_at, Some(user))
    }

    /// Returns the cached decision for a credential, if it is still current, and the generation at
    /// which it was read. Counts a miss.
    pub(crate) fn find(&self, digest: &Digest) -> Option<(CachedDecision, Generation)> {
        let found = self.current(digest);
        if found.is_none() {
            let reason = if self.is_enabled() { "unknown" } else { "bypassed" };
            counter!("paddock_credential_cache_misses_total", "reason" => reason).increment(1);
        }
        found.map(|entry| (entry.decision, entry.read_at))
    }

    /// Returns the cached decision for a credential that was accepted, as [`CredentialCache::find`]
    /// does. Does not count a miss.
    pub(crate) fn find_accepted(&self, digest: &Digest) -> Option<(CachedDecision, Generation)> {
        if !self.is_enabled() {
            return None;
        }
        let entry = self.accepted.get(digest)?;
        let is_current = self.rights.is_current(entry.read_at, entry.decision.user);
        is_current.then_some((entry.decision, entry.read_at))
    }

    /// Whether there is a current decision for a credential.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.current(digest).is_some()
    }

    fn current(&self, digest: &Digest) -> Option<Entry> {
        if !self.is_enabled() {
            return None;
        }
        let entry = self.accepted.get(digest).or_else(|| self.rejected.get(digest))?;
        self.rights.is_current(entry.read_at, entry.decision.user).then_some(entry)
    }

    /// Returns the generation of the latest change. Call this before reading the database.
    pub(crate) fn generation(&self) -> Generation {
        self.rights.generation()
    }

    /// Stores a result that was read from the database at this generation.
    pub(crate) fn insert(&self, digest: Digest, read_at: Generation, decision: &CachedDecision) {
        let cache = if decision.outcome.is_ok() { &self.accepted } else { &self.rejected };
        cache.insert(digest, Entry { decision: decision.clone(), read_at });
    }

    /// Whether the credential was verified against this hash.
    pub(crate) fn is_verified(&self, digest: &Digest, hash: &str) -> bool {
        self.verified.get(digest).is_some_and(|verified| &*verified == hash)
    }

    /// Whether the credential was ever verified. It may have been revoked since.
    pub(crate) fn was_verified(&self, digest: &Digest) -> bool {
        self.verified.contains_key(digest)
    }

    /// Remembers that the credential was verified against this hash.
    pub(crate) fn set_verified(&self, digest: Digest, hash: &str) {
        self.verified.insert(digest, hash.into());
    }

    /// Locks the verification of a credential, so that when many requests bring the same new key at
    /// once, only one of them hashes it.
    pub(crate) async fn verification_lock(&self, digest: &Digest) -> tokio::sync::MutexGuard<'_, ()> {
        self.verification_locks[usize::from(digest.0[0]) % LOCK_STRIPES].lock().await
    }

    /// Clears all cached authentication results, because change notifications may have been lost.
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
    use crate::auth_failure::AuthFailure;

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
    fn a_disabled_cache_finds_nothing() {
        let cache = CredentialCache::new(Arc::default());
        let digest = Digest::of("a");
        cache.insert(digest, cache.generation(), &disabled(ADA));
        assert!(cache.find(&digest).is_none());
        cache.set_enabled(true);
        assert!(cache.find(&digest).is_none(), "enabling the cache removes earlier entries");
        cache.insert(digest, cache.generation(), &disabled(ADA));
        assert!(cache.find(&digest).is_some());
        cache.set_enabled(false);
        cache.set_enabled(true);
        assert!(cache.find(&digest).is_none());
    }

    #[test]
    fn a_change_invalidates_only_its_user() {
        let cache = enabled();
        let (a, b) = (Digest::of("a"), Digest::of("b"));
        cache.insert(a, cache.generation(), &disabled(ADA));
        cache.insert(b, cache.generation(), &disabled(BOB));
        cache.rights.report(ADA);
        assert!(cache.find(&a).is_none());
        assert!(cache.find(&b).is_some());
    }

    #[test]
    fn a_change_during_a_read_outdates_its_result() {
        let cache = enabled();
        let digest = Digest::of("a");
        let read_at = cache.generation();
        cache.rights.report(ADA);
        cache.insert(digest, read_at, &disabled(ADA));
        assert!(cache.find(&digest).is_none());
        let read_at = cache.generation();
        cache.set_enabled(true);
        cache.insert(digest, read_at, &disabled(ADA));
        assert!(cache.find(&digest).is_none(), "enabling the cache outdates reads in progress");
    }
}
