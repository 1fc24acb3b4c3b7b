//! The background work on the audit log in a serving process.

use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::handle::AuditLog;

/// How often the counts of repeated events are flushed.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often the chain head is logged.
const HEAD_LOG_INTERVAL: Duration = Duration::from_mins(1);
/// How often retention looks for expired rows.
const TRIM_INTERVAL: Duration = Duration::from_mins(10);
/// The pause between two batches of removals, in which other transactions can run.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// How long the final flush writes one row per kind. After that it writes one row per event type.
const DETAILED_FLUSH_TIMEOUT: Duration = Duration::from_millis(700);
/// The total time limit of the final flush.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);

impl AuditLog {
    /// Flushes aggregated events, logs the chain head, removes expired rows and verifies the chain.
    /// Never returns.
    /// Every serving process runs this.
    pub async fn run_maintenance(self) {
        tokio::join!(self.flush_regularly(), self.log_heads(), self.trim_regularly(), self.verify_continuously());
    }

    /// Flushes the counts in memory when the process stops.
    pub async fn finish(&self) {
        self.aggregator().set_coarse_after(Instant::now() + DETAILED_FLUSH_TIMEOUT);
        if timeout(LAST_FLUSH_TIMEOUT, self.flush(true)).await.is_err() {
            tracing::error!("cannot write all aggregated audit events before the process ends");
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
                    tracing::error!(%error, "cannot remove expired audit rows");
                    TRIM_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }
}
