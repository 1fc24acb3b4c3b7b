//! The task that stores usage records in the database or, while the database is unavailable, in the
//! spool.

use std::{sync::Arc, time::Duration};

use metrics::counter;
use paddock_accounts::{Accounts, Error, usage::UsageRecord};
use paddock_store::error_chain;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    backlog::UsageBacklog,
    in_flight_table::{Ended, InFlightTable, STORE_INTERVAL},
    recorder::UsageEvents,
};

/// How many records one transaction stores, and how many events are received before. On PostgreSQL one
/// statement must be able to store them: several could deadlock.
pub(super) const MAX_BATCH: usize = 2048;
/// How long a record waits for other records, so that a transaction stores many. A record of a request
/// with a reservation does not wait.
const BATCH_DELAY: Duration = Duration::from_millis(20);
/// How long the database may take to store a batch. After this time the batch goes to the spool.
/// The database may still store the batch too. A record that is stored twice counts once.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// The first pause between two attempts. It doubles after each failure.
pub(super) const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// The time between two heartbeats of this process.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(20);
/// How long a heartbeat may take.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Stores records until the last sender is dropped. After `flush_deadline` is cancelled, stores
/// records only in the spool. `process` identifies this process.
pub(crate) async fn write(
    accounts: Accounts,
    backlog: Arc<UsageBacklog>,
    UsageEvents { mut events, urgent }: UsageEvents,
    process: Uuid,
    flush_deadline: CancellationToken,
) {
    let mut received = Vec::new();
    let mut in_flight = InFlightTable::default();
    let mut ticks = interval(STORE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = events.recv_many(&mut received, MAX_BATCH) => if count == 0 { break },
            _ = ticks.tick() => {
                flush_deadline.run_until_cancelled(in_flight.release(&accounts)).await;
                if backlog.spooled_bytes() == 0 {
                    flush_deadline.run_until_cancelled(in_flight.store(&accounts, process)).await;
                }
                continue;
            }
        }
        // The channel is not polled meanwhile, so that requests need not wake this task.
        let _ = flush_deadline.run_until_cancelled(timeout(BATCH_DELAY, urgent.notified())).await;
        while received.len() < MAX_BATCH
            && let Ok(event) = events.try_recv()
        {
            received.push(event);
        }
        let ended = in_flight.apply(&mut received);
        if !ended.records.is_empty()
            && flush_deadline.run_until_cancelled(persist(&accounts, &backlog, &ended)).await.is_none()
            && let Err(reason) = backlog.append(&ended.records).await
        {
            drop_records(&ended.records, &reason);
        }
        flush_deadline.run_until_cancelled(in_flight.release(&accounts)).await;
    }
    let left = flush_deadline.run_until_cancelled(timeout(STORE_TIMEOUT, accounts.usage().leave(process))).await;
    if !matches!(left, Some(Ok(Ok(())))) {
        tracing::debug!("cannot record the end of this process; another process settles its requests later");
    }
}

/// Sends heartbeats of this process, and settles the in-flight requests of processes without a
/// heartbeat. Never returns.
pub(crate) async fn heartbeat(accounts: Accounts, process: Uuid) {
    let mut ticks = interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(HEARTBEAT_TIMEOUT, accounts.usage().heartbeat(process)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(requests)) => {
                counter!("paddock_usage_settled_total").increment(requests as u64);
                tracing::warn!(requests, "settled requests of dead processes");
            }
            Ok(Err(error)) => tracing::debug!(error = error_chain(&error), "cannot send a heartbeat"),
            Err(_) => tracing::debug!(error = "timeout", "cannot send a heartbeat"),
        }
    }
}

/// Stores a batch in the database or in the spool, and retries until either accepts the batch.
/// While the spool has records, the batch goes to the spool without an attempt to use the database.
async fn persist(accounts: &Accounts, backlog: &Arc<UsageBacklog>, Ended { records: batch, open }: &Ended) {
    let mut backoff = MIN_BACKOFF;
    loop {
        if backlog.spooled_bytes() == 0 && store(accounts, batch, open, STORE_TIMEOUT).await.is_ok() {
            break;
        }
        match backlog.append(batch).await {
            Ok(()) => break,
            Err(reason) => tracing::error!(reason, records = batch.len(), "cannot store usage records; retrying"),
        }
        backlog.set_stuck(true);
        sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    backlog.set_stuck(false);
}

/// The database is unavailable.
pub(super) struct DbUnavailable;

/// Stores a batch in the database. `open` are the usage ids that it may have in flight. Drops a record
/// that the database rejects, and stores the other records of the batch. Fails if the database is
/// unavailable.
pub(super) async fn store(
    accounts: &Accounts,
    batch: &[UsageRecord],
    open: &[Uuid],
    store_timeout: Duration,
) -> Result<(), DbUnavailable> {
    match timeout(store_timeout, accounts.usage().record_and_close(batch, open)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ Error::Store(paddock_store::Error::Unavailable(_)))) => {
            tracing::warn!(
                error = error_chain(&error),
                records = batch.len(),
                "cannot store usage records: the database is unavailable"
            );
            Err(DbUnavailable)
        }
        Err(_) => {
            tracing::warn!(
                error = "timeout",
                records = batch.len(),
                "cannot store usage records: the database is unavailable"
            );
            Err(DbUnavailable)
        }
        Ok(Err(error)) if batch.len() == 1 => {
            drop_records(batch, &error.to_string());
            Ok(())
        }
        Ok(Err(_)) => {
            for record in batch {
                Box::pin(store(accounts, std::slice::from_ref(record), &[record.usage_id], store_timeout)).await?;
            }
            Ok(())
        }
    }
}

/// Drops records that cannot be stored. The log keeps their content.
fn drop_records(records: &[UsageRecord], reason: &str) {
    counter!("paddock_usage_lost_total").increment(records.len() as u64);
    for record in records {
        tracing::error!(?record, reason, "usage record lost");
    }
}
