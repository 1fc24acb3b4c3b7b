//! Runs one reconcile of one object.

use std::{convert::Infallible, sync::Arc, time::Duration};

use kube::{Resource, ResourceExt, runtime::controller::Action};
use paddock_crds::annotation;
use paddock_store::error_chain;
use tokio::time::Instant;

use crate::{
    backoff::jitter,
    error::ReconcileError,
    object::{Guarded, Object, is_annotation_true},
    reconciler::{
        Reconciler, Requeue,
        finalizer::{handle_finalizer, has_finalizer, remove_finalizer, skips_cleanup},
    },
};

const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);
/// Interval between reconciles of a settled object, before jitter. These reconciles repair drift in
/// the database.
const RECHECK_INTERVAL: Duration = Duration::from_mins(10);
/// Delay after a conflict with another writer.
const CONFLICT_DELAY: Duration = Duration::from_millis(50);

/// Reconciles the object, records the metrics and returns when to reconcile it again. Never fails:
/// an error requeues the object with backoff.
pub(crate) async fn reconcile<R: Reconciler>(
    guarded: Arc<Guarded<R::Object>>,
    reconciler: Arc<R>,
) -> Result<Action, Infallible> {
    let context = reconciler.context();
    let uid = guarded.uid().unwrap_or_default();
    // A deletion ignores the pause, because the annotation could otherwise block the deletion of a
    // namespace.
    if guarded.meta().deletion_timestamp.is_none() && is_annotation_true(guarded.as_ref(), annotation::PAUSED) {
        return Ok(Action::await_change());
    }
    let Ok(_permit) = reconciler.permits().acquire().await else { return Ok(Action::await_change()) };
    let started = Instant::now();
    let result = tokio::time::timeout(RECONCILE_TIMEOUT, handle_decoded(guarded.as_ref(), &reconciler)).await;
    let result = result.unwrap_or(Err(ReconcileError::Timeout(RECONCILE_TIMEOUT)));
    record_metrics(R::Object::KIND, &result, started.elapsed());
    Ok(match result {
        Ok(Requeue::Settled) => {
            context.backoff.reset(&uid);
            Action::requeue(jitter(RECHECK_INTERVAL, &uid, 0))
        }
        Ok(Requeue::Within(delay)) => {
            context.backoff.reset(&uid);
            Action::requeue(delay.min(jitter(RECHECK_INTERVAL, &uid, 0)))
        }
        Ok(Requeue::Backoff) => Action::requeue(context.backoff.next_delay(&uid)),
        Ok(Requeue::Never) => {
            context.backoff.reset(&uid);
            reconciler.write_cache().remove(&uid);
            Action::await_change()
        }
        Err(ReconcileError::Conflict(with)) => {
            tracing::debug!(with, "reconcile conflicted with another writer; retrying");
            Action::requeue(CONFLICT_DELAY)
        }
        Err(error) => {
            let delay = context.backoff.next_delay(&uid);
            tracing::warn!(error = error_chain(&error), ?delay, "cannot reconcile the object; retrying");
            Action::requeue(delay)
        }
    })
}

/// Reconciles an object that was decoded. For an object that cannot be decoded, applies only the
/// annotation that skips the clean-up.
async fn handle_decoded<R: Reconciler>(
    guarded: &Guarded<R::Object>,
    reconciler: &Arc<R>,
) -> Result<Requeue, ReconcileError> {
    match &guarded.0 {
        Ok(watched) => handle_finalizer(reconciler.write_cache().latest(watched), reconciler).await,
        Err(invalid) => {
            tracing::warn!(error = %invalid.error, "cannot decode the object; a newer version may have written it");
            let is_deleted = guarded.meta().deletion_timestamp.is_some();
            if is_deleted && has_finalizer(guarded) && skips_cleanup(guarded) {
                remove_finalizer(&reconciler.context().client, guarded, R::Object::FIELD_MANAGER).await?;
            }
            Ok(Requeue::Settled)
        }
    }
}

fn record_metrics(kind: &'static str, result: &Result<Requeue, ReconcileError>, duration: Duration) {
    let result = match result {
        Ok(Requeue::Settled | Requeue::Within(_)) => "settled",
        Ok(Requeue::Backoff) => "waiting",
        Ok(Requeue::Never) => "gone",
        Err(ReconcileError::Conflict(_)) => "conflict",
        Err(ReconcileError::Timeout(_)) => "timeout",
        Err(_) => "failed",
    };
    metrics::counter!("paddock_reconcile_total", "kind" => kind, "result" => result).increment(1);
    metrics::histogram!("paddock_reconcile_duration_seconds", "kind" => kind).record(duration.as_secs_f64());
}
