//! Usage records that the database has not accepted yet, and whether more requests may be admitted.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::{counter, gauge};
use paddock_accounts::usage::{Spool, UsageRecord};
use tokio::{sync::Notify, task::spawn_blocking};

/// The spool, if there is one, and the state of the batch that the writer holds.
pub(crate) struct UsageBacklog {
    spool: Option<Spool>,
    /// Whether the writer holds a batch that neither the database nor the spool has accepted.
    is_stuck: AtomicBool,
    /// Notified after each append to the spool.
    pub(super) appended: Notify,
}

impl UsageBacklog {
    pub(crate) fn new(spool: Option<Spool>) -> Arc<Self> {
        Arc::new(Self { spool, is_stuck: AtomicBool::new(false), appended: Notify::new() })
    }

    /// Whether no further request may be admitted.
    pub(super) fn is_full(&self) -> bool {
        self.is_stuck.load(Ordering::Acquire) || self.spool.as_ref().is_some_and(Spool::is_full)
    }

    /// Returns the number of bytes in the spool.
    pub(super) fn spooled_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::backlog)
    }

    pub(super) fn set_stuck(&self, is_stuck: bool) {
        self.is_stuck.store(is_stuck, Ordering::Release);
    }

    /// Appends a batch to the spool, and syncs it. Fails with the reason, also if there is no
    /// spool.
    pub(super) async fn append(self: &Arc<Self>, batch: &[UsageRecord]) -> Result<(), String> {
        let (backlog, records) = (Arc::clone(self), batch.to_vec());
        let appended = spawn_blocking(move || {
            let Some(spool) = &backlog.spool else { return Err("there is no spool".to_owned()) };
            spool.append(&records).map_err(|error| error.to_string())?;
            counter!("paddock_usage_spooled_total").increment(records.len() as u64);
            record_size(spool);
            backlog.appended.notify_one();
            Ok(())
        });
        appended.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Calls `f` with the spool on a blocking thread. Without a spool it returns the default.
    pub(super) async fn with_spool<T: Default + Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&Spool) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let backlog = Arc::clone(self);
        blocking(move || {
            let Some(spool) = &backlog.spool else { return Ok(T::default()) };
            let done = f(spool);
            record_size(spool);
            done
        })
        .await
    }
}

/// Calls `f` on a blocking thread, and logs its error.
pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = spawn_blocking(f).await.map_err(|error| error.to_string())?;
    done.map_err(|error| {
        tracing::error!(%error, "cannot access the usage spool");
        error.to_string()
    })
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn record_size(spool: &Spool) {
    gauge!("paddock_usage_spool_bytes").set(spool.backlog() as f64);
}
