//! What the log needs while a process serves.

use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::Accounts;

/// How often counts of repeats are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the log is told where the chain ends.
const TELL: Duration = Duration::from_mins(1);
/// How often it is looked for rows whose time is over.
const TRIM: Duration = Duration::from_mins(10);
/// Between two batches of them, so that others come to their turn.
const BREATH: Duration = Duration::from_millis(50);
/// How long the last counts are written kind by kind,
const LAST_KINDS: Duration = Duration::from_millis(700);
/// and how long they have in all.
const LAST_COUNTS: Duration = Duration::from_millis(1_500);

impl Accounts {
    /// Tends the audit log for as long as it is awaited: writes the counts of folded events, tells the log the chain's
    /// head each minute, and removes rows whose time is over. Every serving process does; any number may.
    pub async fn tend_audit(self) {
        tokio::join!(self.sweep_folds(), self.tell_heads(), self.trim_outlived());
    }

    /// At the end of the process: what is still in memory is told.
    pub(crate) async fn settle_audit(&self) {
        self.folding().hurry_from(Instant::now() + LAST_KINDS);
        if timeout(LAST_COUNTS, self.unfold(true)).await.is_err() {
            tracing::error!("the last folded audit events could not be written in time");
        }
        self.chain().heads().tell_last().await;
    }

    async fn sweep_folds(&self) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.unfold(false).await;
        }
    }

    async fn tell_heads(&self) {
        self.chain().heads().look(self.store()).await;
        let mut tick = interval(TELL);
        loop {
            tick.tick().await;
            self.chain().heads().tell().await;
        }
    }

    async fn trim_outlived(&self) {
        if self.audit_retention_days().is_none() {
            return;
        }
        loop {
            let pause = match self.trim_audit().await {
                Ok(0) => TRIM,
                Ok(rows) => {
                    counter!("paddock_audit_trimmed_rows_total").increment(rows.unsigned_abs());
                    tracing::info!(rows, "audit rows were removed, because their time was over");
                    BREATH
                }
                Err(error) => {
                    tracing::error!(%error, "audit rows whose time is over cannot be removed");
                    TRIM
                }
            };
            sleep(pause).await;
        }
    }
}
