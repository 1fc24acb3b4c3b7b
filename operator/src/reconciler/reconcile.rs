//! Runs one reconcile of one object.

use std::{convert::Infallible, sync::Arc, time::Duration};

use kube::{Resource, ResourceExt, runtime::controller::Action};
use paddock_crds::annotation;
use paddock_store::error_chain;
use tokio::time::Instant;

use crate::{
    backoff::{Cause, Failed, ObjectName, jitter},
    error::ReconcileError,
    object::{Guarded, Object, is_annotation_true, namespace_of},
    reconciler::{
        Reconciler, Requeue, failure,
        finalizer::{handle_finalizer, has_finalizer, remove_finalizer, skips_cleanup},
        status::{report_blocked, report_paused},
    },
    status::conditions::Blocked,
};

const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);
/// Interval between reconciles of a settled object, before jitter. These reconciles repair drift in
/// the database.
const RECHECK_INTERVAL: Duration = Duration::from_mins(10);
/// Delay after a conflict with another writer.
const CONFLICT_DELAY: Duration = Duration::from_millis(50);
/// Conflicts in a row that are retried after [`CONFLICT_DELAY`].
const MAX_QUICK_RETRIES: u32 = 5;
/// A failure that will last longer than this is reported in the status.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// How long a probe of the database may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time that a report may take.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Reconciles the object, records the metrics and returns when to reconcile it again. Never fails:
/// an error requeues the object with backoff.
pub(crate) async fn reconcile<R: Reconciler>(
    guarded: Arc<Guarded<R::Object>>,
    reconciler: Arc<R>,
) -> Result<Action, Infallible> {
    let context = reconciler.context();
    // A deletion ignores the pause, because the annotation could otherwise block the deletion of a
    // namespace.
    if guarded.meta().deletion_timestamp.is_none() && is_annotation_true(guarded.as_ref(), annotation::PAUSED) {
        return Ok(pause(guarded.as_ref(), reconciler.as_ref()).await);
    }
    context.wait_until_synced().await;
    let Ok(_permit) = reconciler.permits().acquire().await else { return Ok(Action::await_change()) };
    let started = Instant::now();
    let result = run_reported(guarded.as_ref(), &reconciler).await;
    record_metrics(R::Object::KIND, &result, started.elapsed());
    Ok(requeue(guarded.as_ref(), reconciler.as_ref(), result).await)
}

/// Shows the pause in the status.
async fn pause<R: Reconciler>(guarded: &Guarded<R::Object>, reconciler: &R) -> Action {
    let Ok(watched) = &guarded.0 else { return Action::await_change() };
    let object = reconciler.write_cache().latest(watched);
    match report_paused(reconciler, object.as_ref()).await {
        Ok(_) => Action::await_change(),
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "cannot report that the object is paused; retrying");
            fail(guarded, reconciler, None).into_action()
        }
    }
}

/// Runs the reconcile. If it does not end in [`REPORT_AFTER`], the status says so.
async fn run_reported<R: Reconciler>(
    guarded: &Guarded<R::Object>,
    reconciler: &Arc<R>,
) -> Result<Requeue, ReconcileError> {
    let mut run = Box::pin(tokio::time::timeout(RECONCILE_TIMEOUT, handle_decoded(guarded, reconciler)));
    let result = tokio::select! {
        result = &mut run => result,
        () = tokio::time::sleep(REPORT_AFTER) => {
            tokio::join!(report_slow(guarded, reconciler.as_ref()), run).1
        }
    };
    result.unwrap_or(Err(ReconcileError::Timeout(RECONCILE_TIMEOUT)))
}

/// Reports that the reconcile waits for an answer, and whether the database owes it.
async fn report_slow<R: Reconciler>(guarded: &Guarded<R::Object>, reconciler: &R) {
    let probe = tokio::time::timeout(PROBE_TIMEOUT, reconciler.context().accounts.ready()).await;
    report(guarded, reconciler, &failure::describe_slow(matches!(probe, Ok(Ok(()))))).await;
}

/// Decides when the object is reconciled again, and reports a failure that will last.
async fn requeue<R: Reconciler>(
    guarded: &Guarded<R::Object>,
    reconciler: &R,
    result: Result<Requeue, ReconcileError>,
) -> Action {
    let uid = guarded.uid().unwrap_or_default();
    let namespace = namespace_of(guarded);
    match result {
        Ok(Requeue::Settled) => {
            reconciler.context().wake_cured(&uid);
            Action::requeue(jitter(RECHECK_INTERVAL, &uid, 0))
        }
        Ok(Requeue::Within(delay)) => {
            reconciler.context().wake_cured(&uid);
            Action::requeue(delay.min(jitter(RECHECK_INTERVAL, &uid, 0)))
        }
        Ok(Requeue::Never) => {
            reconciler.context().wake_cured(&uid);
            reconciler.write_cache().remove(&uid);
            Action::await_change()
        }
        Ok(Requeue::Backoff) => fail(guarded, reconciler, None).into_action(),
        Ok(Requeue::Waiting(blocked)) => {
            let failed = fail(guarded, reconciler, None);
            report_if_lasting(guarded, reconciler, failed, &blocked).await;
            failed.into_action()
        }
        Err(error) => {
            let failed = fail(guarded, reconciler, failure::cause(&error, &namespace));
            if let ReconcileError::Conflict(with) = &error
                && failed.failures <= MAX_QUICK_RETRIES
            {
                tracing::debug!(with, "reconcile conflicted with another writer; retrying");
                return Action::requeue(CONFLICT_DELAY);
            }
            tracing::warn!(error = error_chain(&error), delay = ?failed.delay, "cannot reconcile the object; retrying");
            if let ReconcileError::Timeout(_) = error {
                report_slow(guarded, reconciler).await;
            } else {
                report_if_lasting(guarded, reconciler, failed, &failure::describe(&error, &namespace)).await;
            }
            failed.into_action()
        }
    }
}

impl Failed {
    fn into_action(self) -> Action {
        Action::requeue(self.delay)
    }
}

fn fail<R: Reconciler>(guarded: &Guarded<R::Object>, reconciler: &R, cause: Option<Cause>) -> Failed {
    let object = ObjectName { kind: R::Object::KIND, namespace: namespace_of(guarded), name: guarded.name_any() };
    reconciler.context().backoff.fail(&guarded.uid().unwrap_or_default(), object, cause)
}

/// Reports the failure if it will have lasted for [`REPORT_AFTER`] at the next attempt.
async fn report_if_lasting<R: Reconciler>(
    guarded: &Guarded<R::Object>,
    reconciler: &R,
    failed: Failed,
    blocked: &Blocked,
) {
    if failed.lasted + failed.delay > REPORT_AFTER {
        report(guarded, reconciler, blocked).await;
    }
}

/// Writes the failure to the status, if the API server accepts that.
async fn report<R: Reconciler>(guarded: &Guarded<R::Object>, reconciler: &R, blocked: &Blocked) {
    let Ok(watched) = &guarded.0 else { return };
    let object = reconciler.write_cache().latest(watched);
    match tokio::time::timeout(REPORT_TIMEOUT, report_blocked(reconciler, object.as_ref(), blocked)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(error = error_chain(&error), "cannot report a failure in the status"),
        Err(_) => tracing::debug!("the API server does not answer the report of a failure"),
    }
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
        Ok(Requeue::Backoff | Requeue::Waiting(_)) => "waiting",
        Ok(Requeue::Never) => "gone",
        Err(ReconcileError::Conflict(_)) => "conflict",
        Err(ReconcileError::Timeout(_)) => "timeout",
        Err(_) => "failed",
    };
    metrics::counter!("paddock_reconcile_total", "kind" => kind, "result" => result).increment(1);
    metrics::histogram!("paddock_reconcile_duration_seconds", "kind" => kind).record(duration.as_secs_f64());
}
