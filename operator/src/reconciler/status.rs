//! Writes the status of an object, and the event of a changed `Ready` condition.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::object::HasStatus,
};
use paddock_crds::HasConditions;

use crate::{
    error::ReconcileError,
    object::{Object, namespace_of},
    reconciler::{
        Reconciler,
        patch::{identity, none_if_gone},
    },
    status::conditions::condition_type,
};

/// Writes the status if it differs from the present one, and publishes an event if `Ready` has
/// changed. Returns whether the status differed.
pub(crate) async fn report_status<R: Reconciler>(
    reconciler: &R,
    object: &R::Object,
    status: <R::Object as HasStatus>::Status,
) -> Result<bool, ReconcileError> {
    let context = reconciler.context();
    let before = HasStatus::status(object);
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

/// Writes the status and returns the changed object, or `None` if the object is gone.
async fn write_status<K: Object>(client: &Client, object: &K, status: &K::Status) -> Result<Option<K>, kube::Error> {
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    let mut body = identity(object);
    body["status"] = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    let params = PatchParams::apply(K::FIELD_MANAGER).force();
    none_if_gone(api.patch_status(&object.name_any(), &params, &Patch::Apply(&body)).await)
}
