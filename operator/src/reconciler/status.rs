//! Writes the status of an object, and the event of a changed `Ready` condition.

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::object::HasStatus,
};
use paddock_crds::{HasConditions, annotation};

use crate::{
    error::ReconcileError,
    object::{Object, annotation_value, namespace_of},
    reconciler::{
        Reconciler,
        patch::{identity, none_if_gone},
    },
    status::conditions::{Blocked, DesiredCondition, condition_type, merge},
    time::to_k8s_time,
};

/// Writes the status if it differs from the present one, and publishes an event if `Ready` has
/// changed. Returns whether the status differed.
pub(crate) async fn report_status<R: Reconciler>(
    reconciler: &R,
    object: &R::Object,
    mut status: <R::Object as HasStatus>::Status,
) -> Result<bool, ReconcileError> {
    let context = reconciler.context();
    let before = HasStatus::status(object);
    let request = annotation_value(object, annotation::RECONCILE_REQUESTED_AT);
    let request = request.or(before.and_then(HasConditions::last_handled_reconcile_at));
    status.set_last_handled_reconcile_at(request.map(str::to_owned));
    if before == Some(&status) {
        return Ok(false);
    }
    if let Some(updated) = write_status(&context.client, object, &status).await? {
        reconciler.write_cache().insert(updated);
    }
    let ready_before = before.and_then(|before| before.condition(condition_type::READY));
    if let Some(ready) = status.condition(condition_type::READY)
        && ready_before.map(|before| (&before.status, &before.reason)) != Some((&ready.status, &ready.reason))
    {
        if ready.status == "True" {
            context.events.publish_normal(object, &ready.reason, &ready.message).await;
        } else {
            context.events.publish_warning(object, &ready.reason, &ready.message).await;
        }
    }
    Ok(true)
}

/// Reports that the spec is not applied and why, and keeps the other fields and conditions.
pub(super) async fn report_blocked<R: Reconciler>(
    reconciler: &R,
    object: &R::Object,
    blocked: &Blocked,
) -> Result<bool, ReconcileError> {
    let generation = object.meta().generation.unwrap_or(0);
    let replaced =
        [condition_type::READY, condition_type::RECONCILING, condition_type::STALLED, condition_type::PAUSED];
    let status = with_conditions(reconciler, object, generation, &DesiredCondition::blocked(blocked), &replaced);
    report_status(reconciler, object, status).await
}

/// Reports that the object is paused. The other conditions stay, and so does the observed
/// generation: a changed spec is not applied.
pub(super) async fn report_paused<R: Reconciler>(reconciler: &R, object: &R::Object) -> Result<bool, ReconcileError> {
    let generation = HasStatus::status(object).map_or(-1, HasConditions::observed_generation);
    let paused = [DesiredCondition::paused()];
    let status = with_conditions(reconciler, object, generation, &paused, &[condition_type::PAUSED]);
    report_status(reconciler, object, status).await
}

/// Returns the present status with the conditions of the replaced types exchanged for the desired
/// ones.
fn with_conditions<R: Reconciler>(
    reconciler: &R,
    object: &R::Object,
    generation: i64,
    desired: &[DesiredCondition],
    replaced: &[&str],
) -> <R::Object as HasStatus>::Status {
    let mut status = HasStatus::status(object).cloned().unwrap_or_default();
    let before = status.conditions().to_vec();
    let mut conditions = merge(&before, desired, generation, &to_k8s_time(reconciler.context().now()));
    conditions.extend(before.into_iter().filter(|condition| !replaced.contains(&condition.type_.as_str())));
    status.set_conditions(generation, conditions);
    status
}

/// Writes the status and returns the changed object, or `None` if the object is gone.
async fn write_status<K: Object>(client: &Client, object: &K, status: &K::Status) -> Result<Option<K>, kube::Error> {
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    let mut body = identity(object);
    body["status"] = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    let params = PatchParams::apply(K::FIELD_MANAGER).force();
    none_if_gone(api.patch_status(&object.name_any(), &params, &Patch::Apply(&body)).await)
}
