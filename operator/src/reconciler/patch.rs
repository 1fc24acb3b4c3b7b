//! The common parts of server-side apply patches.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    error::{is_conflict, is_not_found},
    object::{Object, namespace_of},
};

/// Returns the fields that an apply patch needs. The UID makes the API server refuse the patch if
/// the object was deleted or replaced; without it, the patch would create an object.
pub(super) fn identity<K: Object>(object: &K) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "namespace": namespace_of(object), "uid": object.uid()},
    })
}

/// Turns the error that the object is gone or has another UID into `None`.
pub(super) fn none_if_gone<K>(result: Result<K, kube::Error>) -> Result<Option<K>, kube::Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
