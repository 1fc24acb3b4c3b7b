//! The one task that stores what tickets say: in the database, or while that is away in the spool; and the one that brings
//! the spool to the database.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{counter, gauge};
use paddock_accounts::{
    Accounts, Error,
    usage::{Chunk, Damage, Orphan, Spool, UsageRecord},
};
use tokio::{
    sync::{Notify, mpsc},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Note;

/// How many records are stored in one transaction.
const BATCH: usize = 512;
/// How long the database has before records go to the spool. They may still reach it: storing twice stores once.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it has for a piece of the spool.
const REPLAY_PATIENCE: Duration = Duration::from_secs(10);
/// The pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a request is under way before it is written down.
const BEGUN: Duration = Duration::from_secs(1);
/// How often this process says that it lives.
const BEAT: Duration = Duration::from_secs(20);
/// How often the spools of processes that are gone are looked for.
const LOOK: Duration = Duration::from_secs(30);

/// Where records wait, and whether there is room.
pub(crate) struct Waiting {
    spool: Option<Spool>,
    /// A batch found a place nowhere, and is held until it does.
    is_stuck: AtomicBool,
    added: Notify,
}

impl Waiting {
    pub(crate) fn new(spool: Option<Spool>) -> Arc<Self> {
        Arc::new(Self { spool, is_stuck: AtomicBool::new(false), added: Notify::new() })
    }

    /// Whether nothing more should be admitted.
    pub(crate) fn is_full(&self) -> bool {
        self.is_stuck.load(Ordering::Acquire) || self.spool.as_ref().is_some_and(Spool::is_full)
    }

    fn backlog(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::backlog)
    }

    fn stuck(&self, is_stuck: bool) {
        self.is_stuck.store(is_stuck, Ordering::Release);
    }
}

/// Stores records until the last sender is gone; after `given_up` in the spool alone. `process` is who this one is.
pub(crate) async fn write(
    accounts: Accounts,
    waiting: Arc<Waiting>,
    mut notes: mpsc::Receiver<Note>,
    process: Uuid,
    given_up: CancellationToken,
) {
    let mut received = Vec::with_capacity(BATCH);
    let mut begun = Begun::default();
    let mut ticks = interval(BEGUN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = notes.recv_many(&mut received, BATCH) => if count == 0 { break },
            _ = ticks.tick() => {
                if waiting.backlog() == 0 {
                    given_up.run_until_cancelled(begun.write_down(&accounts, process)).await;
                }
                continue;
            }
        }
        let batch = begun.ended(&mut received);
        if !batch.is_empty()
            && given_up.run_until_cancelled(keep(&accounts, &waiting, &batch)).await.is_none()
            && let Err(why) = spool(&waiting, &batch).await
        {
            lose(&batch, &why);
        }
    }
    let left = given_up.run_until_cancelled(timeout(PATIENCE, accounts.usage().leave(process))).await;
    if !matches!(left, Some(Ok(Ok(())))) {
        tracing::debug!("another process will see that this one is gone");
    }
}

/// Requests under way that are not written down. Most end before they would be.
#[derive(Default)]
struct Begun(HashMap<Uuid, (Instant, UsageRecord)>);

impl Begun {
    /// The records of those that have ended.
    fn ended(&mut self, notes: &mut Vec<Note>) -> Vec<UsageRecord> {
        let mut records = Vec::with_capacity(notes.len());
        for note in notes.drain(..) {
            match note {
                Note::Began(record) => {
                    self.0.insert(record.usage_id, (Instant::now(), record));
                }
                Note::Ended(record) => {
                    self.0.remove(&record.usage_id);
                    records.push(record);
                }
            }
        }
        records
    }

    /// Writes down those that have been under way for a while.
    async fn write_down(&mut self, accounts: &Accounts, process: Uuid) {
        let long = |began: &Instant| began.elapsed() >= BEGUN;
        let due: Vec<_> =
            self.0.values().filter(|(began, _)| long(began)).map(|(_, record)| record.clone()).take(BATCH).collect();
        if due.is_empty() {
            return;
        }
        match timeout(PATIENCE, accounts.usage().record_in_flight(process, &due)).await {
            Ok(Ok(())) => {
                for record in due {
                    self.0.remove(&record.usage_id);
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "requests under way are not written down"),
            Err(_) => tracing::warn!("requests under way are not written down: the database does not answer"),
        }
    }
}

/// Keeps saying that this process lives, and settles what those that do not have left under way. Never ends by itself.
pub(crate) async fn attend(accounts: Accounts, process: Uuid) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(REPLAY_PATIENCE, accounts.usage().heartbeat(process)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(requests)) => {
                counter!("paddock_usage_settled_total").increment(requests as u64);
                tracing::warn!(requests, "settled as unknown what a process had under way that is gone");
            }
            Ok(Err(error)) => tracing::debug!(%error, "nobody is told that this process lives"),
            Err(_) => tracing::debug!("nobody is told that this process lives: the database does not answer"),
        }
    }
}

/// Brings a batch to safety. What waits in the spool goes first: while there is any, the database is not asked here.
async fn keep(accounts: &Accounts, waiting: &Arc<Waiting>, batch: &[UsageRecord]) {
    let mut pause = FIRST_PAUSE;
    loop {
        if waiting.backlog() == 0 && store(accounts, batch, PATIENCE).await.is_ok() {
            break;
        }
        match spool(waiting, batch).await {
            Ok(()) => break,
            Err(why) => tracing::error!(why, records = batch.len(), "usage can be stored nowhere at the moment"),
        }
        waiting.stuck(true);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    waiting.stuck(false);
}

async fn spool(waiting: &Arc<Waiting>, batch: &[UsageRecord]) -> Result<(), String> {
    let (waiting, records) = (Arc::clone(waiting), batch.to_vec());
    let appended = spawn_blocking(move || {
        let Some(spool) = &waiting.spool else { return Err("there is no spool".to_owned()) };
        spool.append(&records).map_err(|error| error.to_string())?;
        counter!("paddock_usage_spooled_total").increment(records.len() as u64);
        note(spool);
        waiting.added.notify_one();
        Ok(())
    });
    appended.await.unwrap_or_else(|error| Err(error.to_string()))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn note(spool: &Spool) {
    gauge!("paddock_usage_spool_bytes").set(spool.backlog() as f64);
}

/// The database is away.
struct Away;

/// Stores a batch in the database. What that has judged, and would judge the same again, is lost, and takes nothing along.
async fn store(accounts: &Accounts, batch: &[UsageRecord], patience: Duration) -> Result<(), Away> {
    match timeout(patience, accounts.usage().record(batch)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ Error::Store(paddock_store::Error::Unavailable(_)))) => {
            tracing::warn!(%error, waiting = batch.len(), "usage waits for the database");
            Err(Away)
        }
        Err(_) => {
            tracing::warn!(waiting = batch.len(), "usage waits for the database, which does not answer");
            Err(Away)
        }
        Ok(Err(error)) if batch.len() == 1 => {
            lose(batch, &error.to_string());
            Ok(())
        }
        Ok(Err(_)) => {
            for record in batch {
                Box::pin(store(accounts, std::slice::from_ref(record), patience)).await?;
            }
            Ok(())
        }
    }
}

/// The last resort: what could not be stored stands in the log.
fn lose(records: &[UsageRecord], why: &str) {
    counter!("paddock_usage_lost_total").increment(records.len() as u64);
    for record in records {
        tracing::error!(?record, why, "usage record lost");
    }
}

/// Keeps bringing what waits in the spool, and what processes that are gone have left, to the database. Never ends by itself.
pub(crate) async fn replay(accounts: Accounts, waiting: Arc<Waiting>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match replay_once(&accounts, &waiting).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                let added = timeout(LOOK, waiting.added.notified()).await;
                tracing::trace!(added = added.is_ok(), "looking for usage that waits");
            }
            Err(why) => {
                tracing::debug!(why, "usage still waits");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn replay_once(accounts: &Accounts, waiting: &Arc<Waiting>) -> Result<(), String> {
    while waiting.backlog() > 0 {
        let chunk = on_spool(waiting, Spool::next).await?;
        bring(accounts, &chunk).await?;
        let end = chunk.end;
        on_spool(waiting, move |spool| spool.stored(end)).await?;
        if let Some(damage) = chunk.damage {
            // Nothing but a disk that does not keep what it has synced comes to this.
            counter!("paddock_usage_lost_total").increment(1);
            tracing::error!(?damage, "the spool of usage cannot be read on; what is left of it is lost");
            on_spool(waiting, Spool::discard).await?;
        }
    }
    for orphan in on_spool(waiting, Spool::orphans).await? {
        adopt(accounts, orphan).await?;
    }
    Ok(())
}

/// Stores what a process that is gone has left.
async fn adopt(accounts: &Accounts, orphan: Orphan) -> Result<(), String> {
    let path: PathBuf = orphan.path().to_owned();
    let orphan = Arc::new(orphan);
    let (mut from, mut count) = (0, 0);
    let damage = loop {
        let reading = Arc::clone(&orphan);
        let chunk = blocking(move || reading.read(from)).await?;
        bring(accounts, &chunk).await?;
        count += chunk.records.len();
        if chunk.damage.is_some() || chunk.records.is_empty() {
            break chunk.damage;
        }
        from = chunk.end;
    };
    match damage {
        None => tracing::info!(path = %path.display(), records = count, "stored the usage that a process left"),
        Some(Damage::Torn) => {
            tracing::warn!(path = %path.display(), records = count, at = from, "stored the usage that a process left; its last write was torn off");
        }
        Some(Damage::Corrupt) => {
            counter!("paddock_usage_lost_total").increment(1);
            tracing::error!(path = %path.display(), records = count, at = from, "a spool of usage is damaged; it is kept as .damaged");
        }
    }
    let Some(orphan) = Arc::into_inner(orphan) else { return Err("the spool is still read".to_owned()) };
    blocking(move || orphan.finish(damage)).await
}

async fn bring(accounts: &Accounts, chunk: &Chunk) -> Result<(), String> {
    for batch in chunk.records.chunks(BATCH) {
        store(accounts, batch, REPLAY_PATIENCE).await.map_err(|Away| "the database is away".to_owned())?;
        counter!("paddock_usage_replayed_total").increment(batch.len() as u64);
    }
    Ok(())
}

async fn on_spool<T: Default + Send + 'static>(
    waiting: &Arc<Waiting>,
    f: impl FnOnce(&Spool) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let waiting = Arc::clone(waiting);
    blocking(move || {
        let Some(spool) = &waiting.spool else { return Ok(T::default()) };
        let done = f(spool);
        note(spool);
        done
    })
    .await
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    let done = spawn_blocking(f).await.map_err(|error| error.to_string())?;
    done.map_err(|error| {
        tracing::error!(%error, "the spool of usage");
        error.to_string()
    })
}
