//! The periodic work on the audit log while a process serves.

use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::log::AuditLog;

/// How often counts of repeated events are flushed.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often the head of the chain is logged.
const HEAD_LOG_INTERVAL: Duration = Duration::from_mins(1);
/// How often expired rows are looked for.
const TRIM_INTERVAL: Duration = Duration::from_mins(10);
/// The pause between two batches of removals, so that other transactions run in between.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// How long the last flush writes a row for each kind of event.
const DETAILED_FLUSH_TIMEOUT: Duration = Duration::from_millis(700);
/// How long the last flush may take in all.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);

impl AuditLog {
    /// Flushes aggregated events, logs the head each minute, and removes expired rows, until it is
    /// dropped. Every serving process runs it.
    pub async fn run_maintenance(self) {
        tokio::join!(self.flush_regularly(), self.log_heads(), self.trim_regularly());
    }

    /// Writes what is still in memory, at the end of the process.
    pub async fn finish(&self) {
        self.aggregator().set_coarse_after(Instant::now() + DETAILED_FLUSH_TIMEOUT);
        if timeout(LAST_FLUSH_TIMEOUT, self.flush(true)).await.is_err() {
            tracing::error!("the last aggregated audit events could not be written in time");
        }
        self.store().head_file().log_last_head().await;
    }

    async fn flush_regularly(&self) {
        let mut tick = interval(FLUSH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.flush(false).await;
        }
    }

    async fn log_heads(&self) {
        self.store().head_file().inspect(self.store().database()).await;
        let mut tick = interval(HEAD_LOG_INTERVAL);
        loop {
            tick.tick().await;
            self.store().head_file().log_head().await;
        }
    }

    async fn trim_regularly(&self) {
        if self.retention_days().is_none() {
            return;
        }
        loop {
            let pause = match self.trim().await {
                Ok(0) => TRIM_INTERVAL,
                Ok(rows) => {
                    counter!("paddock_audit_trimmed_rows_total").increment(rows.unsigned_abs());
                    tracing::info!(rows, "expired audit rows removed");
                    BATCH_PAUSE
                }
                Err(error) => {
                    tracing::error!(%error, "expired audit rows cannot be removed");
                    TRIM_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }
}
