//! The times when keys were last used. Each request records its time in memory; batches are stored.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use paddock_store::{clock::Timestamp, ids::CredentialId, statements};
use parking_lot::RwLock;

/// A use within this interval after the recorded use is not recorded.
const NOTE_INTERVAL: Duration = Duration::from_secs(30);
/// A key that was not used for this time is removed from memory.
const IDLE_TTL: Duration = Duration::from_hours(1);

statements! {
    TOUCH = "UPDATE credentials SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
    TOUCH_SECRET = "UPDATE credential_secrets SET last_used_at = $2 \
                    WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
}

/// The recorded uses of the secrets of keys, by key id.
#[derive(Default)]
pub(crate) struct LastUsed(RwLock<HashMap<String, Note>>);

/// A use that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) credential: CredentialId,
    pub(super) key_id: String,
    /// The time of the use, in microseconds.
    pub(super) at: i64,
}

struct Note {
    credential: CredentialId,
    used: AtomicI64,
    stored: AtomicI64,
}

impl LastUsed {
    /// Records a use. For a key that is in constant use, this only reads the map.
    pub(crate) fn note(&self, credential: CredentialId, key_id: &str, at: Timestamp) {
        if let Some(note) = self.0.read().get(key_id) {
            let used = Timestamp::from_micros(note.used.load(Ordering::Relaxed));
            if at >= used + NOTE_INTERVAL {
                note.used.fetch_max(at.micros(), Ordering::Relaxed);
            }
            return;
        }
        let note = Note { credential, used: AtomicI64::new(at.micros()), stored: AtomicI64::new(i64::MIN) };
        self.0.write().entry(key_id.to_owned()).or_insert(note);
    }

    /// Returns the uses that are not stored yet, in order of ids, so that two writers cannot
    /// deadlock.
    pub(super) fn due(&self) -> Vec<Use> {
        let notes = self.0.read();
        let due = notes.iter().filter_map(|(key_id, note)| {
            let at = note.used.load(Ordering::Relaxed);
            let is_due = at > note.stored.load(Ordering::Relaxed);
            is_due.then(|| Use { credential: note.credential, key_id: key_id.clone(), at })
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        due
    }

    /// Marks uses as stored, and removes keys that have been idle for [`IDLE_TTL`].
    pub(super) fn set_stored(&self, stored: &[Use], now: Timestamp) {
        let mut notes = self.0.write();
        for stored in stored {
            if let Some(note) = notes.get(&stored.key_id) {
                note.stored.store(stored.at, Ordering::Relaxed);
            }
        }
        let idle_since = (now - IDLE_TTL).micros();
        notes.retain(|_, note| {
            let used = note.used.load(Ordering::Relaxed);
            used > idle_since || used > note.stored.load(Ordering::Relaxed)
        });
    }
}
