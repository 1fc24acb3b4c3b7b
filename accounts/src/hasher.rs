//! Argon2id, bounded and away from the threads that serve.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{Error as HashError, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// What a hash costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    memory_kib: u32,
    passes: u32,
}

/// For what people choose: OWASP's parameters for Argon2id with 19 MiB.
const PASSWORD: Cost = Cost { memory_kib: 19_456, passes: 2 };
/// For 256 random bits, which need no slowness: under a millisecond.
const KEY: Cost = Cost { memory_kib: 1_024, passes: 1 };

/// How many sign-ins may wait for their turn; one takes some 25 ms.
const PASSWORD_QUEUE: usize = 64;
/// The part of them that one address may have waiting, so that a flood from there leaves room for everybody else.
const PART_OF_AN_ADDRESS: usize = 4;
/// How many keys may wait for their turn.
const KEY_QUEUE: usize = 1_024;

/// Two lanes of hashing, so that a flood of sign-ins does not hold up the keys.
#[derive(Clone)]
pub(crate) struct Hasher {
    passwords: Lane,
    keys: Lane,
    /// A hash of nothing anyone knows, verified where there is no user, so that it takes as long.
    decoy: Arc<str>,
}

/// A place in a lane's queue, for as long as it or a copy of it is held.
#[derive(Clone)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is given back, never looked at")] Arc<Taken>);

/// What a place takes up.
struct Taken {
    _admitted: OwnedSemaphorePermit,
    _part: Option<Part>,
}

/// How many places each address holds. Only those that hold any are kept, so that there are no more than places.
type Held = Arc<Mutex<HashMap<String, usize>>>;

/// A place that counts for an address, until it is dropped.
struct Part {
    held: Held,
    address: String,
}

/// What a password came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) is_right: bool,
    /// It is right, and its hash costs less than one that is made today.
    pub(crate) is_cheap: bool,
}

#[derive(Clone)]
struct Lane {
    cost: Cost,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    held: Held,
    /// How many places one address may hold.
    most: usize,
    retry_after: Duration,
}

impl Hasher {
    /// Half of the cores hash passwords, and all of them keys.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let mut random = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut random).expect("the operating system gives random bytes");
        Self {
            passwords: Lane::new(PASSWORD, (cores / 2).max(1), PASSWORD_QUEUE, Duration::from_secs(2)),
            keys: Lane::new(KEY, cores, KEY_QUEUE, Duration::from_secs(1)),
            decoy: PASSWORD.hash(&random).expect("a hash of random bytes").into(),
        }
    }

    pub(crate) async fn hash_password(&self, password: SecretString) -> Result<String, Error> {
        self.passwords.hash(password).await
    }

    pub(crate) async fn hash_key(&self, key: SecretString) -> Result<String, Error> {
        self.keys.hash(key).await
    }

    /// Runs what judges a password where passwords are hashed, so that no more of it goes on at once.
    pub(crate) async fn judge_password<T: Send + 'static>(
        &self,
        judge: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.passwords.run(self.place()?, move || Ok(judge())).await
    }

    /// A place among those who wait to have a password verified: refused at once, before anything was done, when there is
    /// none.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        self.passwords.place()
    }

    /// The same for somebody at this address: refused, too, when it holds its part of them.
    pub(crate) fn place_of(&self, address: &str) -> Result<Place, Error> {
        self.passwords.place_of(address)
    }

    /// Verifies against the hash, or at the same cost against nothing.
    pub(crate) async fn verify_password(
        &self,
        place: Place,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.to_string());
        let work = move || {
            let is_right = verify(password.expose_secret().as_bytes(), &hash)? && known;
            Ok(Verdict { is_right, is_cheap: is_right && PASSWORD.is_above(&hash)? })
        };
        self.passwords.run(place, work).await
    }

    pub(crate) async fn verify_key(&self, key: SecretString, hash: String) -> Result<bool, Error> {
        self.keys.verify(key, hash).await
    }
}

impl Lane {
    fn new(cost: Cost, running: usize, queue: usize, retry_after: Duration) -> Self {
        Self {
            cost,
            running: Arc::new(Semaphore::new(running)),
            admitted: Arc::new(Semaphore::new(running + queue)),
            held: Held::default(),
            most: (queue / PART_OF_AN_ADDRESS).max(1),
            retry_after,
        }
    }

    async fn hash(&self, secret: SecretString) -> Result<String, Error> {
        let cost = self.cost;
        self.run(self.place()?, move || cost.hash(secret.expose_secret().as_bytes())).await
    }

    async fn verify(&self, secret: SecretString, hash: String) -> Result<bool, Error> {
        self.run(self.place()?, move || verify(secret.expose_secret().as_bytes(), &hash)).await
    }

    /// Refuses at once when the queue is full.
    fn place(&self) -> Result<Place, Error> {
        self.take(None)
    }

    /// Refuses at once, too, when the address holds as many places as it may.
    fn place_of(&self, address: &str) -> Result<Place, Error> {
        let part = Part::take(&self.held, address, self.most).ok_or_else(|| self.busy())?;
        self.take(Some(part))
    }

    fn take(&self, part: Option<Part>) -> Result<Place, Error> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| self.busy())?;
        Ok(Place(Arc::new(Taken { _admitted: admitted, _part: part })))
    }

    fn busy(&self) -> Error {
        Error::Busy { retry_after: self.retry_after }
    }

    /// Holds no database connection while it waits.
    async fn run<T: Send + 'static>(
        &self,
        place: Place,
        f: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.running.clone().acquire_owned().await.map_err(|_| Error::Stopping)?;
        tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: a client that leaves does not let more than the bound run.
            let _held = (place, running);
            f()
        })
        .await
        .map_err(|_| Error::Stopping)?
        .map_err(|error| Error::Corrupt(format!("hashing failed: {error}")))
    }
}

impl Part {
    fn take(held: &Held, address: &str, most: usize) -> Option<Self> {
        let mut counts = lock(held);
        let holds = counts.get(address).copied().unwrap_or_default();
        if holds >= most {
            return None;
        }
        counts.insert(address.to_owned(), holds + 1);
        Some(Self { held: Arc::clone(held), address: address.to_owned() })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut counts = lock(&self.held);
        match counts.get_mut(&self.address) {
            Some(holds) if *holds > 1 => *holds -= 1,
            _ => drop(counts.remove(&self.address)),
        }
    }
}

fn lock(held: &Held) -> MutexGuard<'_, HashMap<String, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
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
            hasher.verify_password(hasher.place().unwrap(), password.into(), hash.cloned()).await.unwrap()
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
        let lane = Lane::new(KEY, 1, 1, Duration::from_secs(7));
        let _first = lane.admitted.clone().try_acquire_many_owned(2).unwrap();
        let refused = lane.hash("secret".into()).await;
        assert!(matches!(refused, Err(Error::Busy { retry_after }) if retry_after == Duration::from_secs(7)));
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_others() {
        let lane = Lane::new(KEY, 1, 8, Duration::from_secs(7));
        let one: Vec<_> = (0..9).filter_map(|_| lane.place_of("192.0.2.1").ok()).collect();
        assert_eq!(one.len(), 2);
        let others: Vec<_> = (2..9).map(|n| lane.place_of(&format!("192.0.2.{n}")).unwrap()).collect();
        // Of the lane there is no more than there is of it.
        assert!(lane.place_of("192.0.2.9").is_err());
        drop(others);
        assert_eq!(*lock(&lane.held), HashMap::from([("192.0.2.1".to_owned(), 2)]), "who holds nothing is not kept");
        drop(one);
        // A place is held until the work is done, and no longer.
        lane.run(lane.place_of("192.0.2.1").unwrap(), || Ok(())).await.unwrap();
        assert!(lock(&lane.held).is_empty());
        // A part is one at the least.
        Lane::new(KEY, 1, 1, Duration::ZERO).place_of("192.0.2.1").unwrap();
    }
}
