//! The task that uploads spooled usage records to the database, from the spool of this process and
//! from the spools of dead processes.

use std::{sync::Arc, time::Duration};

use metrics::counter;
use paddock_accounts::{
    Accounts,
    usage::{Chunk, Damage, Orphan, Spool},
};
use tokio::time::{sleep, timeout};

use super::{
    backlog::{UsageBacklog, blocking},
    writer::{DbUnavailable, MAX_BACKOFF, MAX_BATCH, MIN_BACKOFF, store},
};

/// How long the database may take to store a batch from a spool.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two searches for spools of dead processes.
const ORPHAN_INTERVAL: Duration = Duration::from_secs(30);

/// Uploads spooled records. Never returns.
pub(crate) async fn replay(accounts: Accounts, backlog: Arc<UsageBacklog>) {
    let mut backoff = MIN_BACKOFF;
    loop {
        match replay_once(&accounts, &backlog).await {
            Ok(()) => {
                backoff = MIN_BACKOFF;
                let appended = timeout(ORPHAN_INTERVAL, backlog.appended.notified()).await;
                tracing::trace!(appended = appended.is_ok(), "looking for spooled usage");
            }
            Err(reason) => {
                tracing::debug!(reason, "cannot upload spooled usage; retrying");
                sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

async fn replay_once(accounts: &Accounts, backlog: &Arc<UsageBacklog>) -> Result<(), String> {
    while backlog.spooled_bytes() > 0 {
        let chunk = backlog.with_spool(Spool::next).await?;
        upload(accounts, &chunk).await?;
        let end = chunk.end;
        backlog.with_spool(move |spool| spool.stored(end)).await?;
        if let Some(damage) = chunk.damage {
            // Only a disk that loses synced data causes this.
            counter!("paddock_usage_lost_total").increment(1);
            tracing::error!(?damage, "usage spool is damaged; its remaining records are lost");
            backlog.with_spool(Spool::discard).await?;
        }
    }
    for orphan in backlog.with_spool(Spool::orphans).await? {
        recover_orphan(accounts, orphan).await?;
    }
    Ok(())
}

/// Uploads the spool of a dead process.
async fn recover_orphan(accounts: &Accounts, orphan: Orphan) -> Result<(), String> {
    let file = orphan.path().display().to_string();
    let orphan = Arc::new(orphan);
    let (mut offset, mut records) = (0, 0);
    let damage = loop {
        let reading = Arc::clone(&orphan);
        let chunk = blocking(move || reading.read(offset)).await?;
        upload(accounts, &chunk).await?;
        records += chunk.records.len();
        if chunk.damage.is_some() || chunk.records.is_empty() {
            break chunk.damage;
        }
        offset = chunk.end;
    };
    match damage {
        None => tracing::info!(file, records, "orphaned usage spool stored"),
        Some(Damage::Torn) => {
            tracing::warn!(file, records, offset, "orphaned usage spool stored, without its incomplete last record");
        }
        Some(Damage::Corrupt) => {
            counter!("paddock_usage_lost_total").increment(1);
            tracing::error!(
                file,
                records,
                offset,
                "orphaned usage spool is damaged; the file is kept with the extension .damaged"
            );
        }
    }
    let Some(orphan) = Arc::into_inner(orphan) else { return Err("another task still reads the spool".to_owned()) };
    blocking(move || orphan.finish(damage)).await
}

/// Stores a chunk of a spool in the database.
async fn upload(accounts: &Accounts, chunk: &Chunk) -> Result<(), String> {
    for batch in chunk.records.chunks(MAX_BATCH) {
        let open: Vec<_> = batch.iter().map(|record| record.usage_id).collect();
        let stored = store(accounts, batch, &open, UPLOAD_TIMEOUT).await;
        stored.map_err(|DbUnavailable| "the database is not available".to_owned())?;
        counter!("paddock_usage_replayed_total").increment(batch.len() as u64);
    }
    Ok(())
}
