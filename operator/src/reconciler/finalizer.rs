//! The finalizer and the annotation that skips the clean-up.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use paddock_crds::{FINALIZER, annotation};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    error::is_not_found,
    object::{Object, is_annotation_true, namespace_of},
    reconciler::patch::{identity, none_if_gone},
};

/// Whether the object has the operator's finalizer.
pub(crate) fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Whether the annotation asks to remove the finalizer of a stuck object without a clean-up.
pub(crate) fn skips_cleanup<K: Resource>(object: &K) -> bool {
    is_annotation_true(object, annotation::SKIP_CLEANUP)
}

/// Adds the finalizer and returns the changed object, or `None` if the object is gone.
pub(super) async fn add_finalizer<K: Object>(client: &Client, object: &K) -> Result<Option<K>, kube::Error> {
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
