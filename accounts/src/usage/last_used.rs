//! When keys were last used: noted in memory with each request, and stored many at once.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use scoped_futures::ScopedFutureExt;

use crate::{
    Accounts,
    clock::Time,
    credentials::CredentialId,
    error::Error,
    store::{on, statements},
};

/// A key that was noted less long ago is not noted again.
const OFTEN: Duration = Duration::from_secs(30);
/// A key that has not been used for so long is forgotten here.
const FORGOTTEN: Duration = Duration::from_hours(1);

statements! {
    TOUCH = "UPDATE credentials SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
}

/// The uses that were noted.
#[derive(Default)]
pub(crate) struct LastUsed(RwLock<HashMap<CredentialId, Note>>);

struct Note {
    used: AtomicI64,
    stored: AtomicI64,
}

impl LastUsed {
    /// Takes note of a use. A key that is in use at the moment costs a look.
    pub(crate) fn note(&self, id: CredentialId, at: Time) {
        if let Some(note) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            let used = Time::from_micros(note.used.load(Ordering::Relaxed));
            if at >= used + OFTEN {
                note.used.fetch_max(at.micros(), Ordering::Relaxed);
            }
            return;
        }
        let note = Note { used: AtomicI64::new(at.micros()), stored: AtomicI64::new(i64::MIN) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(note);
    }

    /// What is not stored yet, in order of ids, so that two writers never wait for each other.
    fn due(&self) -> Vec<(CredentialId, i64)> {
        let notes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let due = notes.iter().filter_map(|(id, note)| {
            let used = note.used.load(Ordering::Relaxed);
            (used > note.stored.load(Ordering::Relaxed)).then_some((*id, used))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        due
    }

    fn stored(&self, stored: &[(CredentialId, i64)], now: Time) {
        let mut notes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (id, used) in stored {
            if let Some(note) = notes.get(id) {
                note.stored.store(*used, Ordering::Relaxed);
            }
        }
        let forgotten = (now - FORGOTTEN).micros();
        notes.retain(|_, note| {
            let used = note.used.load(Ordering::Relaxed);
            used > forgotten || used > note.stored.load(Ordering::Relaxed)
        });
    }
}

impl Accounts {
    /// Stores when keys were last used, as far as it was noted since the last time.
    pub async fn store_last_used(&self) -> Result<(), Error> {
        let due = self.last_used().due();
        if due.is_empty() {
            return Ok(());
        }
        self.store()
            .record(|tx| {
                let due = &due;
                async move {
                    for (id, used) in due {
                        let at = Time::from_micros(*used);
                        on!(tx.conn(), |c| sqlx::query(TOUCH).bind(*id).bind(at).execute(c).await.map(|_| ()))?;
                    }
                    Ok(())
                }
                .scope_boxed()
            })
            .await?;
        self.last_used().stored(&due, self.now());
        Ok(())
    }
}
