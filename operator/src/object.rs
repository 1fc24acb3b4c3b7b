//! Writes to the objects themselves: finalizer and status.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::core::{NamespaceResourceScope, Resource};
use kube::{Api, Client, ResourceExt};
use paddock_crds::{FINALIZER, HasConditions, annotation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{is_conflict, is_not_found};

/// One of our kinds.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: HasConditions + PartialEq + Serialize>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its kind, which is also how metrics and audit name it.
    const KIND: &'static str;
    /// The field manager of all that the operator writes to it.
    const MANAGER: &'static str;
}

impl Object for paddock_crds::ApiUser {
    const KIND: &'static str = "ApiUser";
    const MANAGER: &'static str = "paddock-apiuser";
}

impl Object for paddock_crds::ApiKey {
    const KIND: &'static str = "ApiKey";
    const MANAGER: &'static str = "paddock-apikey";
}

impl Object for paddock_crds::OllamaModel {
    const KIND: &'static str = "OllamaModel";
    const MANAGER: &'static str = "paddock-ollamamodel";
}

/// Whether the annotation is there and says `true`.
pub(crate) fn says_true<K: Resource>(object: &K, name: &str) -> bool {
    annotation_of(object, name) == Some("true")
}

/// The annotation's value.
pub(crate) fn annotation_of<'a, K: Resource>(object: &'a K, name: &str) -> Option<&'a str> {
    object.annotations().get(name).map(String::as_str)
}

/// Whether the operator has to be done with the object before it may go.
pub(crate) fn is_held<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Whether a stuck object is to be let go without a clean-up.
pub(crate) fn skips_cleanup<K: Resource>(object: &K) -> bool {
    says_true(object, annotation::SKIP_CLEANUP)
}

/// The object's namespace; ours all have one.
pub(crate) fn namespace_of<K: Resource>(object: &K) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}

/// Holds the object. `None`: it is gone.
pub(crate) async fn hold<K: Object>(client: &Client, object: &K) -> Result<Option<K>, kube::Error> {
    let mut body = identity(object);
    body["metadata"]["finalizers"] = json!([FINALIZER]);
    let apply = PatchParams::apply(K::MANAGER).force();
    gone_is_none(of_namespace(client, object).patch(&object.name_any(), &apply, &Patch::Apply(&body)).await)
}

/// Lets the object go. The finalizers are replaced as a whole, against the version they were read at: whoever added ours
/// may have owned the field, and an apply by us would then not remove it.
pub(crate) async fn release<K>(client: &Client, object: &K, manager: &str) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let others: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    let body = json!({"metadata": {"finalizers": others, "resourceVersion": object.resource_version()}});
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    match api.patch(&object.name_any(), &params, &Patch::Merge(&body)).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Writes the status. `None`: the object is gone.
pub(crate) async fn write_status<K: Object>(
    client: &Client,
    object: &K,
    status: &K::Status,
) -> Result<Option<K>, kube::Error> {
    let mut body = identity(object);
    body["status"] = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    let apply = PatchParams::apply(K::MANAGER).force();
    gone_is_none(of_namespace(client, object).patch_status(&object.name_any(), &apply, &Patch::Apply(&body)).await)
}

/// What an apply has to name. The uid makes sure that it is this object, and that none is created.
fn identity<K: Object>(object: &K) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "namespace": namespace_of(object), "uid": object.uid()},
    })
}

fn of_namespace<K: Object>(client: &Client, object: &K) -> Api<K> {
    Api::namespaced(client.clone(), &namespace_of(object))
}

fn gone_is_none<K>(answer: Result<K, kube::Error>) -> Result<Option<K>, kube::Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the operator wrote to objects and the watch has not shown yet: without it, a second look right after the first
/// would repeat the first one's writes and events.
pub(crate) struct Written<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource + Clone> Written<K> {
    /// The younger of what was watched and what was written.
    pub(crate) fn freshest(&self, watched: &K) -> Arc<K> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = watched.uid().unwrap_or_default();
        match written.get(&uid) {
            Some(ours) if version(ours.as_ref()) > version(watched) => Arc::clone(ours),
            Some(_) => {
                written.remove(&uid);
                Arc::new(watched.clone())
            }
            None => Arc::new(watched.clone()),
        }
    }

    pub(crate) fn keep(&self, object: K) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(object.uid().unwrap_or_default(), Arc::new(object));
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Resource versions of one kind are numbers that grow.
fn version<K: Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}
