//! Argon2id hashing in bounded pools, outside the threads that serve requests.

use std::{collections::HashMap, sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{Error as HashError, phc::PasswordHash},
};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// The cost of a hash.
#[derive(Clone, Copy, Debug)]
struct Cost {
    memory_kib: u32,
    passes: u32,
}

/// The cost for passwords: OWASP's parameters for Argon2id with 19 MiB.
const PASSWORD_COST: Cost = Cost { memory_kib: 19_456, passes: 2 };
/// The cost for keys: under a millisecond, because 256 random bits cannot be guessed.
const KEY_COST: Cost = Cost { memory_kib: 1_024, passes: 1 };

/// How many sign-ins may wait; one takes some 25 ms.
const PASSWORD_QUEUE_CAPACITY: usize = 64;
/// One address may take this part of the queue, so that a flood from it leaves room for the others.
const ADDRESS_QUEUE_DIVISOR: usize = 4;
/// How many keys may wait.
const KEY_QUEUE_CAPACITY: usize = 1_024;

/// Two hash pools, so that a flood of sign-ins does not delay keys.
#[derive(Clone)]
pub(crate) struct Hasher {
    passwords: HashPool,
    keys: HashPool,
    /// The hash of a random value, verified where there is no user, so that it takes as long.
    dummy_hash: Arc<str>,
}

/// A permit to hash, valid as long as it or a clone of it is held.
#[derive(Clone)]
pub(crate) struct HashPermit(#[expect(dead_code, reason = "released on drop, never read")] Arc<PermitParts>);

/// The parts of a permit.
struct PermitParts {
    _queued: OwnedSemaphorePermit,
    _address: Option<AddressCount>,
}

/// The number of permits of each address. An address without a permit is removed, so the map is bounded.
type AddressCounts = Arc<Mutex<HashMap<String, usize>>>;

/// Counts a permit for an address, until it is dropped.
struct AddressCount {
    counts: AddressCounts,
    address: String,
}

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) is_right: bool,
    /// The password is right, and its hash costs less than a new one.
    pub(crate) is_cheap: bool,
}

#[derive(Clone)]
struct HashPool {
    cost: Cost,
    running: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    counts: AddressCounts,
    /// How many permits one address may hold.
    max_per_address: usize,
    retry_after: Duration,
}

impl Hasher {
    /// Half of the cores hash passwords, all of them hash keys.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let mut random = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut random).expect("the operating system gives random bytes");
        Self {
            passwords: HashPool::new(
                PASSWORD_COST,
                (cores / 2).max(1),
                PASSWORD_QUEUE_CAPACITY,
                Duration::from_secs(2),
            ),
            keys: HashPool::new(KEY_COST, cores, KEY_QUEUE_CAPACITY, Duration::from_secs(1)),
            dummy_hash: PASSWORD_COST.hash(&random).expect("a hash of random bytes").into(),
        }
    }

    pub(crate) async fn hash_password(&self, password: SecretString) -> Result<String, Error> {
        self.passwords.hash(password).await
    }

    pub(crate) async fn hash_key(&self, key: SecretString) -> Result<String, Error> {
        self.keys.hash(key).await
    }

    /// Runs the check of a new password in the pool of passwords, so that it is bounded too.
    pub(crate) async fn check_password<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.passwords.run(self.acquire()?, move || Ok(check())).await
    }

    /// Takes a permit to hash a password. Fails at once if the queue is full.
    pub(crate) fn acquire(&self) -> Result<HashPermit, Error> {
        self.passwords.acquire()
    }

    /// Takes a permit for a client of this address. Also fails if the address holds its share of permits.
    pub(crate) fn acquire_for(&self, address: &str) -> Result<HashPermit, Error> {
        self.passwords.acquire_for(address)
    }

    /// Verifies a password against a hash; without a hash, against a dummy at the same cost.
    pub(crate) async fn verify_password(
        &self,
        permit: HashPermit,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.to_string());
        let work = move || {
            let is_right = verify(password.expose_secret().as_bytes(), &hash)? && known;
            Ok(Verdict { is_right, is_cheap: is_right && PASSWORD_COST.is_above(&hash)? })
        };
        self.passwords.run(permit, work).await
    }

    pub(crate) async fn verify_key(&self, key: SecretString, hash: String) -> Result<bool, Error> {
        self.keys.verify(key, hash).await
    }
}

impl HashPool {
    fn new(cost: Cost, running: usize, queue: usize, retry_after: Duration) -> Self {
        Self {
            cost,
            running: Arc::new(Semaphore::new(running)),
            queue: Arc::new(Semaphore::new(running + queue)),
            counts: AddressCounts::default(),
            max_per_address: (queue / ADDRESS_QUEUE_DIVISOR).max(1),
            retry_after,
        }
    }

    async fn hash(&self, secret: SecretString) -> Result<String, Error> {
        let cost = self.cost;
        self.run(self.acquire()?, move || cost.hash(secret.expose_secret().as_bytes())).await
    }

    async fn verify(&self, secret: SecretString, hash: String) -> Result<bool, Error> {
        self.run(self.acquire()?, move || verify(secret.expose_secret().as_bytes(), &hash)).await
    }

    /// Fails at once if the queue is full.
    fn acquire(&self) -> Result<HashPermit, Error> {
        self.acquire_counted(None)
    }

    /// Also fails if the address holds as many permits as it may.
    fn acquire_for(&self, address: &str) -> Result<HashPermit, Error> {
        let count = AddressCount::add(&self.counts, address, self.max_per_address).ok_or_else(|| self.busy())?;
        self.acquire_counted(Some(count))
    }

    fn acquire_counted(&self, address: Option<AddressCount>) -> Result<HashPermit, Error> {
        let queued = self.queue.clone().try_acquire_owned().map_err(|_| self.busy())?;
        Ok(HashPermit(Arc::new(PermitParts { _queued: queued, _address: address })))
    }

    fn busy(&self) -> Error {
        Error::Busy { retry_after: self.retry_after }
    }

    /// Runs the work when a core is free. The caller must hold no database connection.
    async fn run<T: Send + 'static>(
        &self,
        permit: HashPermit,
        f: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.running.clone().acquire_owned().await.map_err(|_| paddock_store::Error::Stopping)?;
        tokio::task::spawn_blocking(move || {
            // Held by the work and not by its caller: a client that disconnects does not raise the bound.
            let _held = (permit, running);
            f()
        })
        .await
        .map_err(|_| paddock_store::Error::Stopping)?
        .map_err(|error| paddock_store::Error::Corrupt(format!("hashing failed: {error}")).into())
    }
}

impl AddressCount {
    fn add(counts: &AddressCounts, address: &str, max: usize) -> Option<Self> {
        let mut held = counts.lock();
        let holds = held.get(address).copied().unwrap_or_default();
        if holds >= max {
            return None;
        }
        held.insert(address.to_owned(), holds + 1);
        Some(Self { counts: Arc::clone(counts), address: address.to_owned() })
    }
}

impl Drop for AddressCount {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        match counts.get_mut(&self.address) {
            Some(holds) if *holds > 1 => *holds -= 1,
            _ => drop(counts.remove(&self.address)),
        }
    }
}

impl Cost {
    fn hash(self, secret: &[u8]) -> Result<String, HashError> {
        let params = Params::new(self.memory_kib, self.passes, 1, None).map_err(|_| HashError::ParamsInvalid)?;
        let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(secret)?;
        Ok(hash.to_string())
    }

    /// Whether a hash was made at a lower cost.
    fn is_above(self, hash: &str) -> Result<bool, HashError> {
        let hash = PasswordHash::new(hash).map_err(|_| HashError::EncodingInvalid)?;
        let params = Params::try_from(&hash)?;
        Ok(params.m_cost() < self.memory_kib || params.t_cost() < self.passes)
    }
}

fn verify(secret: &[u8], hash: &str) -> Result<bool, HashError> {
    let hash = PasswordHash::new(hash).map_err(|_| HashError::EncodingInvalid)?;
    match Argon2::default().verify_password(secret, &hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_secret_verifies_and_nobody_verifies_against_nothing() {
        let hasher = Hasher::new();
        let hash = hasher.hash_password("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let judge = async |password: &str, hash: Option<&String>| {
            hasher.verify_password(hasher.acquire().unwrap(), password.into(), hash.cloned()).await.unwrap()
        };
        let verdict = |is_right, is_cheap| Verdict { is_right, is_cheap };
        assert_eq!(judge("correct horse", Some(&hash)).await, verdict(true, false));
        assert_eq!(judge("wrong horse", Some(&hash)).await, verdict(false, false));
        assert_eq!(judge("correct horse", None).await, verdict(false, false));
        let cheap = Cost { memory_kib: 8_192, passes: 2 }.hash(b"correct horse").unwrap();
        assert_eq!(judge("correct horse", Some(&cheap)).await, verdict(true, true));
        assert_eq!(judge("wrong horse", Some(&cheap)).await, verdict(false, false));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = HashPool::new(KEY_COST, 1, 1, Duration::from_secs(7));
        let _first = pool.queue.clone().try_acquire_many_owned(2).unwrap();
        let refused = pool.hash("secret".into()).await;
        assert!(matches!(refused, Err(Error::Busy { retry_after }) if retry_after == Duration::from_secs(7)));
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_others() {
        let pool = HashPool::new(KEY_COST, 1, 8, Duration::from_secs(7));
        let one: Vec<_> = (0..9).filter_map(|_| pool.acquire_for("192.0.2.1").ok()).collect();
        assert_eq!(one.len(), 2);
        let others: Vec<_> = (2..9).map(|n| pool.acquire_for(&format!("192.0.2.{n}")).unwrap()).collect();
        // Of the pool there is no more than there is of it.
        assert!(pool.acquire_for("192.0.2.9").is_err());
        drop(others);
        assert_eq!(
            *pool.counts.lock(),
            HashMap::from([("192.0.2.1".to_owned(), 2)]),
            "an address without a permit is removed"
        );
        drop(one);
        // A place is held until the work is done, and no longer.
        pool.run(pool.acquire_for("192.0.2.1").unwrap(), || Ok(())).await.unwrap();
        assert!(pool.counts.lock().is_empty());
        // A part is one at the least.
        HashPool::new(KEY_COST, 1, 1, Duration::ZERO).acquire_for("192.0.2.1").unwrap();
    }
}
