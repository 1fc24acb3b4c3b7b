//! Records events that a client can cause in large numbers, through the
//! [`Aggregator`](super::aggregator::Aggregator).

use metrics::counter;

use super::{
    aggregator::{AggregateKey, Window, aggregated, by_type},
    event::Event,
    handle::AuditLog,
};
use crate::{context::AuditContext, error::Error, retry::retry_lost_race};

/// How many counts one transaction writes. With one transaction per count, a thousand counts would
/// take a second.
const AGGREGATE_BATCH: usize = 500;

impl AuditLog {
    /// Records an event that may be repeated often: writes it at once, or counts it.
    ///
    /// The write continues if the caller is dropped. If the write fails, the event is counted and
    /// the error is returned.
    pub async fn record_aggregated(
        &self,
        context: &AuditContext,
        key: AggregateKey,
        event: Event,
    ) -> Result<(), Error> {
        let now = self.store().now();
        let Some((before, since)) = self.aggregator().count(&key, context, &event, now) else {
            counter!("paddock_audit_aggregated_total", "event_type" => event.event_type.text()).increment(1);
            return Ok(());
        };
        let (log, context) = (self.clone(), context.clone());
        let written = tokio::spawn(async move {
            let row = if before == 0 { event.clone() } else { aggregated(event.clone(), before + 1, since) };
            let written = log.write_event(&context, &row).await;
            if written.is_err() {
                log.aggregator().requeue(key, Window { since, count: before + 1, event, context });
            }
            written
        });
        written.await.map_err(|_| Error::Stopping)?
    }

    /// Writes the counts of the windows that have ended; with `all`, every count.
    pub(super) async fn flush(&self, all: bool) {
        let flushing = self.flushing().clone().lock_owned().await;
        let log = self.clone();
        let flushed = tokio::spawn(async move {
            let _flushing = flushing;
            let mut left = log.aggregator().take(log.store().now(), all);
            while !left.is_empty() {
                if log.aggregator().is_coarse() {
                    left = by_type(left);
                }
                let next = left.split_off(left.len().min(AGGREGATE_BATCH));
                let events = left.iter().map(|(_, window)| window.event()).collect();
                if let Err(error) = log.store().write_events(events).await {
                    let pending = left.len() + next.len();
                    tracing::error!(%error, pending, "cannot write aggregated audit events");
                    left.into_iter().chain(next).for_each(|(key, window)| log.aggregator().requeue(key, window));
                    return;
                }
                left = next;
            }
        });
        // The only error is a panic of the task. The panic hook has logged it.
        let _ = flushed.await;
    }

    async fn write_event(&self, context: &AuditContext, event: &Event) -> Result<(), Error> {
        retry_lost_race(|| async {
            let tx = self.store().begin(context).await?;
            tx.commit(event.clone()).await
        })
        .await
    }
}
