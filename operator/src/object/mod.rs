//! The three kinds as Kubernetes objects: their traits, annotations, UID, field managers and watch
//! caches.

pub(crate) mod field_manager;
pub(crate) mod store;
pub(crate) mod takeover;

use std::fmt::Debug;

use kube::core::{DeserializeGuard, NamespaceResourceScope, Resource, object::HasStatus};
use paddock_crds::HasConditions;
use serde::{Serialize, de::DeserializeOwned};

/// An object, or its metadata and the error if the rest cannot be decoded.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// One of the three kinds.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: HasConditions + Clone + Default + PartialEq + Serialize + Send + Sync>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The kind's name in the API, in metrics and in the audit log.
    const KIND: &'static str;
    /// The field manager of every write that the operator makes for an object of this kind.
    const FIELD_MANAGER: &'static str;
}

impl Object for paddock_crds::ApiUser {
    const KIND: &'static str = "ApiUser";
    const FIELD_MANAGER: &'static str = "paddock-apiuser";
}

impl Object for paddock_crds::ApiKey {
    const KIND: &'static str = "ApiKey";
    const FIELD_MANAGER: &'static str = "paddock-apikey";
}

impl Object for paddock_crds::OllamaModel {
    const KIND: &'static str = "OllamaModel";
    const FIELD_MANAGER: &'static str = "paddock-ollamamodel";
}

/// Whether the annotation is set to `true`.
pub(crate) fn is_annotation_true<K: Resource>(object: &K, name: &str) -> bool {
    annotation_value(object, name) == Some("true")
}

/// Returns the value of the annotation.
pub(crate) fn annotation_value<'a, K: Resource>(object: &'a K, name: &str) -> Option<&'a str> {
    object.meta().annotations.as_ref()?.get(name).map(String::as_str)
}

/// Returns the object's namespace. All three kinds are namespaced, so there is always one.
pub(crate) fn namespace_of<K: Resource>(object: &K) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}
