//! The memory that request bodies may take, in this process and for each user. Without a bound, a few
//! clients that send large bodies slowly take all memory.
//!
//! A body counts while it is read, and until Ollama has received it. The first [`UNCOUNTED`] bytes of
//! each body are free, so that ordinary requests take no lock; `MAX_CONNECTIONS` bounds those.

use std::{collections::HashMap, sync::Arc};

use paddock_accounts::UserId;
use parking_lot::Mutex;

/// The bytes of each body that do not count.
const UNCOUNTED: usize = 64 << 10;
/// Bodies are counted in steps of this many bytes.
const STEP: usize = 1 << 20;
/// How many of the largest bodies the process holds.
const LARGEST_BODIES: usize = 8;
/// How many of the largest bodies one user has there.
const LARGEST_BODIES_OF_USER: usize = 2;

/// The memory of the bodies of this process.
#[derive(Debug)]
pub(super) struct BodyMemory {
    total: usize,
    share: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    users: HashMap<UserId, usize>,
}

/// Other bodies take all the memory that this one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// The memory of one body. It is free again when this value is dropped.
#[derive(Debug)]
pub(super) struct BodyReservation {
    memory: Arc<BodyMemory>,
    user: UserId,
    bytes: usize,
}

impl BodyMemory {
    /// `body_limit` is the size of the largest body.
    pub(super) fn new(body_limit: usize) -> Arc<Self> {
        let total = LARGEST_BODIES * body_limit;
        Arc::new(Self { total, share: LARGEST_BODIES_OF_USER * body_limit, used: Mutex::default() })
    }

    /// Begins a body of the user, which takes no memory yet.
    pub(super) fn begin(self: &Arc<Self>, user: UserId) -> BodyReservation {
        BodyReservation { memory: Arc::clone(self), user, bytes: 0 }
    }
}

impl BodyReservation {
    /// Takes the memory of a body that has grown to `size` bytes. Fails without an effect if there is
    /// none.
    pub(super) fn grow(&mut self, size: usize) -> Result<(), OutOfMemory> {
        if size <= self.bytes.max(UNCOUNTED) {
            return Ok(());
        }
        let wanted = size.next_multiple_of(STEP);
        let more = wanted - self.bytes;
        let mut used = self.memory.used.lock();
        let of_user = used.users.get(&self.user).copied().unwrap_or(0);
        if used.bytes + more > self.memory.total || of_user + more > self.memory.share {
            return Err(OutOfMemory);
        }
        used.bytes += more;
        used.users.insert(self.user, of_user + more);
        self.bytes = wanted;
        Ok(())
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut used = self.memory.used.lock();
        used.bytes -= self.bytes;
        if let Some(of_user) = used.users.get_mut(&self.user) {
            *of_user -= self.bytes;
            if *of_user == 0 {
                used.users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4 << 20;

    #[test]
    fn small_bodies_take_nothing() {
        let memory = BodyMemory::new(LIMIT);
        let mut bodies: Vec<_> = (0..10_000).map(|_| memory.begin(UserId(1))).collect();
        assert!(bodies.iter_mut().all(|body| body.grow(UNCOUNTED).is_ok()));
        assert_eq!(memory.used.lock().bytes, 0);
    }

    #[test]
    fn one_user_cannot_take_the_memory_of_the_others() {
        let memory = BodyMemory::new(LIMIT);
        let mut bodies: Vec<_> = (0..3).map(|_| memory.begin(UserId(1))).collect();
        let results: Vec<_> = bodies.iter_mut().map(|body| body.grow(LIMIT)).collect();
        assert_eq!(results, [Ok(()), Ok(()), Err(OutOfMemory)]);
        assert_eq!(memory.begin(UserId(2)).grow(LIMIT), Ok(()));
    }

    #[test]
    fn the_process_has_a_bound() {
        let memory = BodyMemory::new(LIMIT);
        let mut bodies: Vec<_> = (1..=9).map(|user| memory.begin(UserId(user))).collect();
        let refused = bodies.iter_mut().filter_map(|body| body.grow(LIMIT).err()).count();
        assert_eq!(refused, 1);
    }

    #[test]
    fn a_body_that_ends_frees_its_memory() {
        let memory = BodyMemory::new(LIMIT);
        let mut body = memory.begin(UserId(1));
        assert_eq!(body.grow(UNCOUNTED + 1), Ok(()));
        assert_eq!(memory.used.lock().bytes, STEP);
        assert_eq!(body.grow(LIMIT), Ok(()));
        drop(body);
        let used = memory.used.lock();
        assert_eq!((used.bytes, used.users.len()), (0, 0));
    }
}
