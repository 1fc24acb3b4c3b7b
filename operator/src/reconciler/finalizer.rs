//! The finalizer, which is added before the first reconcile and removed after the clean-up, and the
//! annotation that skips the clean-up.

use std::{fmt::Debug, sync::Arc};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use paddock_crds::{FINALIZER, annotation};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    error::{ReconcileError, is_not_found},
    object::{Object, is_annotation_true, namespace_of},
    reconciler::{
        Cleanup, Reconciler, Requeue,
        patch::{identity, none_if_gone},
    },
};

/// Adds the finalizer before the first reconcile, and removes it after the clean-up.
pub(super) async fn handle_finalizer<R: Reconciler>(
    object: Arc<R::Object>,
    reconciler: &Arc<R>,
) -> Result<Requeue, ReconcileError> {
    let client = &reconciler.context().client;
    let is_deleted = object.meta().deletion_timestamp.is_some();
    match (is_deleted, has_finalizer(object.as_ref())) {
        (true, false) => Ok(Requeue::Never),
        (true, true) => {
            if skips_cleanup(object.as_ref()) {
                tracing::warn!("removing the finalizer without clean-up, as the annotation requests");
            } else if let Cleanup::Waiting(blocked) = Arc::clone(reconciler).clean_up(Arc::clone(&object)).await? {
                return Ok(Requeue::Waiting(blocked));
            }
            remove_finalizer(client, object.as_ref(), R::Object::FIELD_MANAGER).await?;
            Ok(Requeue::Never)
        }
        (false, true) => Arc::clone(reconciler).reconcile(object).await,
        (false, false) => match add_finalizer(client, object.as_ref()).await? {
            Some(updated) => {
                reconciler.write_cache().insert(updated.clone());
                Arc::clone(reconciler).reconcile(Arc::new(updated)).await
            }
            None => Ok(Requeue::Never),
        },
    }
}

/// Whether the object has the operator's finalizer.
pub(crate) fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Whether an annotation skips the clean-up, so that the finalizer of a stuck object is removed
/// without it.
pub(crate) fn skips_cleanup<K: Resource>(object: &K) -> bool {
    is_annotation_true(object, annotation::SKIP_CLEANUP)
}

/// Adds the finalizer and returns the changed object, or `None` if the object is gone.
async fn add_finalizer<K: Object>(client: &Client, object: &K) -> Result<Option<K>, kube::Error> {
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    let mut body = identity(object);
    body["metadata"]["finalizers"] = json!([FINALIZER]);
    let params = PatchParams::apply(K::FIELD_MANAGER).force();
    none_if_gone(api.patch(&object.name_any(), &params, &Patch::Apply(&body)).await)
}

/// Removes the finalizer. Does nothing if the object is gone.
///
/// Replaces the whole list, with the resource version as precondition. Server-side apply would
/// leave the finalizer if another field manager owned it too.
pub(super) async fn remove_finalizer<K>(client: &Client, object: &K, field_manager: &str) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let others: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    let body = json!({"metadata": {"finalizers": others, "resourceVersion": object.resource_version()}});
    let params = PatchParams { field_manager: Some(field_manager.to_owned()), ..PatchParams::default() };
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    match api.patch(&object.name_any(), &params, &Patch::Merge(&body)).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
