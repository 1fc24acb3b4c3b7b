//! The Kubernetes Secret that delivers a key: reading it, and the desired content. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};
use paddock_accounts::{SecretId, types::ApiKeyToken};
use paddock_crds::{ApiKey, SECRET_TYPE, SecretTemplate, annotation, data, label};
use paddock_store::clock::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::{key::plan::SecretFacts, object::Object, time::to_k8s_time};

/// The relation of an object to the Secret of its name.
#[derive(Debug)]
pub(crate) enum SecretOwnership {
    /// There is no such Secret.
    Missing,
    /// The operator must not touch the Secret; the text says why.
    Foreign(&'static str),
    /// The operator wrote the Secret, but no existing object owns it: after `deletionPolicy:
    /// Retain`, or from a backup. The object may use it if it holds a version of the object's
    /// credential.
    Orphan(Box<ObservedSecret>),
    /// The object owns the Secret.
    Own(Box<ObservedSecret>),
}

/// A Secret that the operator wrote.
#[derive(Debug)]
pub(crate) struct ObservedSecret {
    /// The precondition of the next write.
    pub(crate) resource_version: String,
    /// The version that its annotation names.
    pub(crate) version: Option<SecretId>,
    /// The key that it holds, if the key is well formed.
    pub(crate) token: Option<ApiKeyToken>,
    /// The rotation request that its annotation names as handled.
    pub(crate) handled_request: Option<String>,
    secret: Secret,
}

/// Determines the relation of the object to the Secret found under its name.
pub(crate) fn observe(object: &ApiKey, found: Option<Secret>) -> SecretOwnership {
    let Some(secret) = found else { return SecretOwnership::Missing };
    let controller = secret.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned();
    let is_own = |owner: &OwnerReference| Some(&owner.uid) == object.meta().uid.as_ref();
    let is_same_name = |owner: &OwnerReference| owner.kind == ApiKey::KIND && owner.name == object.name_any();
    let is_managed = secret.labels().get(label::MANAGED).is_some_and(|value| value == "true");
    let has_type = secret.type_.as_deref() == Some(SECRET_TYPE);
    match controller {
        // Also without the label: the next write restores it.
        Some(owner) if has_type && is_own(&owner) => SecretOwnership::Own(Box::new(ObservedSecret::read(secret))),
        _ if !has_type || !is_managed => SecretOwnership::Foreign("it was not made by Paddock"),
        Some(owner) if !is_same_name(&owner) => SecretOwnership::Foreign("it belongs to another object"),
        _ => SecretOwnership::Orphan(Box::new(ObservedSecret::read(secret))),
    }
}

impl ObservedSecret {
    fn read(secret: Secret) -> Self {
        let annotation = |name: &str| secret.annotations().get(name).cloned();
        let text = secret.data.as_ref().and_then(|data| data.get(data::API_KEY));
        let text = text.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        Self {
            resource_version: secret.resource_version().unwrap_or_default(),
            version: annotation(annotation::VERSION_ID).and_then(|id| id.parse().ok()).map(SecretId),
            token: text.and_then(|text| ApiKeyToken::parse(text).ok()),
            handled_request: annotation(annotation::ROTATE_HANDLED),
            secret,
        }
    }

    /// Returns the parts that the plan depends on.
    pub(crate) fn facts(&self) -> SecretFacts<'_> {
        SecretFacts {
            version: self.version,
            key_id: self.token.as_ref().map(ApiKeyToken::key_id),
            handled_request: self.handled_request.as_deref(),
        }
    }

    /// Returns the Secret's UID.
    pub(crate) fn uid(&self) -> Option<String> {
        self.secret.uid()
    }
}

/// The desired content of a Secret.
pub(crate) struct SecretContent<'a> {
    pub(crate) token: &'a ApiKeyToken,
    pub(crate) version: SecretId,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) handled_request: Option<&'a str>,
    pub(crate) public_url: &'a str,
    pub(crate) template: &'a SecretTemplate,
}

/// Builds the desired Secret.
pub(crate) fn desired_secret(object: &ApiKey, name: &str, content: &SecretContent<'_>) -> Secret {
    let mut labels = content.template.labels.clone();
    labels.insert(label::MANAGED.to_owned(), "true".to_owned());
    let mut annotations = content.template.annotations.clone();
    annotations.insert(annotation::VERSION_ID.to_owned(), content.version.to_string());
    if let Some(handled_request) = content.handled_request {
        annotations.insert(annotation::ROTATE_HANDLED.to_owned(), handled_request.to_owned());
    }
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: object.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(object.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(data_entries(content)),
        ..Secret::default()
    }
}

fn data_entries(content: &SecretContent<'_>) -> BTreeMap<String, ByteString> {
    let key = content.token.plaintext().expose_secret();
    let url = content.public_url.trim_end_matches('/');
    let openai = format!("{url}/v1");
    let expires_at = content.expires_at.map(|at| to_k8s_time(at).0.to_string()).unwrap_or_default();
    [
        (data::API_KEY, key),
        (data::KEY_ID, content.token.key_id()),
        (data::BASE_URL, url),
        (data::EXPIRES_AT, &expires_at),
        (data::OLLAMA_HOST, url),
        (data::OLLAMA_API_KEY, key),
        (data::OPENAI_BASE_URL, &openai),
        (data::OPENAI_API_KEY, key),
        (data::ANTHROPIC_BASE_URL, url),
        (data::ANTHROPIC_API_KEY, key),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), ByteString(value.as_bytes().to_vec())))
    .collect()
}

/// Returns the merge patch from the observed to the desired Secret, or `None` if they are equal.
/// The patch keeps labels, annotations and entries of other field managers. It removes labels,
/// annotations and entries that the operator has set before and no longer wants. The precondition
/// of the patch is the observed resource version.
pub(crate) fn merge_patch(observed: &ObservedSecret, desired: &Secret) -> Option<Value> {
    let current = &observed.secret;
    let managed = |part: &str| managed_names(current.managed_fields(), part);
    let labels = map_patch(current.labels(), desired.labels(), &managed("f:labels"));
    let annotations = map_patch(current.annotations(), desired.annotations(), &managed("f:annotations"));
    let empty = BTreeMap::new();
    let (have, want) = (current.data.as_ref().unwrap_or(&empty), desired.data.as_ref().unwrap_or(&empty));
    let entries: Map<String, Value> = want
        .iter()
        .filter(|(name, value)| have.get(*name) != Some(value))
        .map(|(n, v)| (n.clone(), json!(v)))
        .collect();
    let owners_differ = current.owner_references() != desired.owner_references();
    if labels.is_empty() && annotations.is_empty() && entries.is_empty() && !owners_differ {
        return None;
    }
    let mut patch = json!({
        "metadata": {
            "resourceVersion": observed.resource_version,
            "uid": current.uid(),
            "labels": labels,
            "annotations": annotations,
        },
        "data": entries,
    });
    if owners_differ {
        patch["metadata"]["ownerReferences"] = json!(desired.owner_references());
    }
    Some(patch)
}

/// Returns the entries to set, and `null` for each managed entry to remove.
fn map_patch(
    have: &BTreeMap<String, String>,
    want: &BTreeMap<String, String>,
    managed: &[String],
) -> Map<String, Value> {
    let set = want.iter().filter(|(name, value)| have.get(*name) != Some(value)).map(|(n, v)| (n.clone(), json!(v)));
    let removed = managed.iter().filter(|name| have.contains_key(*name) && !want.contains_key(*name));
    set.chain(removed.map(|name| (name.clone(), Value::Null))).collect()
}

/// Returns the names below `metadata.<part>` that the operator manages, from the managed fields.
fn managed_names(fields: &[ManagedFieldsEntry], part: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(ApiKey::FIELD_MANAGER))
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:metadata")?.get(part)?.as_object())
        .flat_map(|names| names.keys().filter_map(|name| name.strip_prefix("f:").map(str::to_owned)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "pdk_0123456789_";

    fn object(uid: &str) -> ApiKey {
        serde_json::from_value(json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey",
            "metadata": {"name": "ci", "namespace": "team-a", "uid": uid}, "spec": {"userRef": {"name": "ada"}},
        }))
        .unwrap()
    }

    /// Returns a Secret as the API server would. Its key is not well formed.
    fn secret(owner: Option<(&str, &str)>) -> Secret {
        let owners = owner.map(|(name, uid)| {
            json!({"apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey", "name": name, "uid": uid, "controller": true})
        });
        serde_json::from_value(json!({
            "metadata": {"name": "ci-apikey", "namespace": "team-a", "resourceVersion": "7", "uid": "s",
                "labels": {"paddock.dev/managed": "true", "old": "ours", "foreign": "theirs"},
                "annotations": {"paddock.dev/version-id": "3"},
                "managedFields": [{"manager": "paddock-apikey", "operation": "Update", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:old": {}, "f:paddock.dev/managed": {}}}}}],
                "ownerReferences": owners.into_iter().collect::<Vec<_>>()},
            "type": "paddock.dev/api-key", "data": {"api-key": ByteString(KEY.into()), "note": ByteString(b"theirs".into())},
        }))
        .unwrap()
    }

    #[test]
    fn the_ownership_of_a_secret() {
        let key = object("u");
        let ownership = |found| observe(&key, found);
        assert!(matches!(ownership(None), SecretOwnership::Missing));
        let SecretOwnership::Own(observed) = ownership(Some(secret(Some(("ci", "u"))))) else { panic!("own") };
        assert_eq!(observed.version, Some(SecretId(3)));
        assert!(matches!(ownership(Some(secret(Some(("ci", "before"))))), SecretOwnership::Orphan(_)));
        assert!(matches!(ownership(Some(secret(None))), SecretOwnership::Orphan(_)));
        assert!(matches!(ownership(Some(secret(Some(("other", "o"))))), SecretOwnership::Foreign(_)));
        assert!(matches!(ownership(Some(Secret::default())), SecretOwnership::Foreign(_)));
    }

    #[test]
    fn a_patch_keeps_what_other_managers_set() {
        let key = object("u");
        let SecretOwnership::Own(observed) = observe(&key, Some(secret(Some(("ci", "u"))))) else { panic!("own") };
        let mut desired = observed.secret.clone();
        assert_eq!(merge_patch(&observed, &desired), None);
        desired.metadata.labels = Some(BTreeMap::from([("paddock.dev/managed".to_owned(), "true".to_owned())]));
        let patch = merge_patch(&observed, &desired).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"old": null}));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["data"], json!({}));
        assert_eq!(patch["metadata"].get("ownerReferences"), None);
    }
}
