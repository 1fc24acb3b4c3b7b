//! The Kubernetes Secret that delivers a key: how it is seen, and how it should be. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use paddock_accounts::{SecretId, types::ApiKeyToken};
use paddock_crds::{ApiKey, SECRET_TYPE, SecretTemplate, annotation, data, label};
use paddock_store::clock::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::key::plan::Bearing;
use crate::object::Object;
use crate::shared::stamp;

/// What the API server has under the Secret's name.
#[derive(Debug)]
pub(crate) enum Observed {
    /// Nothing.
    Missing,
    /// Something that is not ours to touch; the sentence says what.
    Foreign(&'static str),
    /// One of ours that no object of today owns: after a `Retain`, or out of a backup. It is ours if it proves to hold a
    /// version of this very credential.
    Orphan(Box<Held>),
    /// The object's own.
    Own(Box<Held>),
}

/// A Secret of ours.
#[derive(Debug)]
pub(crate) struct Held {
    /// Of which a change of ours makes sure that nobody was faster.
    pub(crate) resource_version: String,
    /// The version whose plaintext it should hold.
    pub(crate) version: Option<SecretId>,
    /// The key that it does hold, if that is well formed.
    pub(crate) token: Option<ApiKeyToken>,
    /// The request for rotation that its version has answered.
    pub(crate) answered: Option<String>,
    secret: Secret,
}

/// Looks at what is under the Secret's name.
pub(crate) fn observe(object: &ApiKey, found: Option<Secret>) -> Observed {
    let Some(secret) = found else { return Observed::Missing };
    let controller = secret.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned();
    let own = |owner: &OwnerReference| Some(&owner.uid) == object.meta().uid.as_ref();
    let earlier_life = |owner: &OwnerReference| owner.kind == ApiKey::KIND && owner.name == object.name_any();
    let managed = secret.labels().get(label::MANAGED).is_some_and(|value| value == "true");
    let typed = secret.type_.as_deref() == Some(SECRET_TYPE);
    match controller {
        // Also without our label: whoever took that off has it put back.
        Some(owner) if typed && own(&owner) => Observed::Own(Box::new(Held::read(secret))),
        _ if !typed || !managed => Observed::Foreign("it was not made by Paddock"),
        Some(owner) if !earlier_life(&owner) => Observed::Foreign("it belongs to another object"),
        _ => Observed::Orphan(Box::new(Held::read(secret))),
    }
}

impl Held {
    fn read(secret: Secret) -> Self {
        let annotation = |name: &str| secret.annotations().get(name).cloned();
        let text = secret.data.as_ref().and_then(|data| data.get(data::API_KEY));
        let text = text.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        Self {
            resource_version: secret.resource_version().unwrap_or_default(),
            version: annotation(annotation::VERSION_ID).and_then(|id| id.parse().ok()).map(SecretId),
            token: text.and_then(|text| ApiKeyToken::parse(text).ok()),
            answered: annotation(annotation::ROTATE_HANDLED),
            secret,
        }
    }

    /// What it says of itself.
    pub(crate) fn bearing(&self) -> Bearing<'_> {
        Bearing {
            version: self.version,
            key_id: self.token.as_ref().map(ApiKeyToken::key_id),
            answered: self.answered.as_deref(),
        }
    }

    /// The Secret's own uid.
    pub(crate) fn uid(&self) -> Option<String> {
        self.secret.uid()
    }
}

/// What a Secret should hold.
pub(crate) struct Content<'a> {
    pub(crate) token: &'a ApiKeyToken,
    pub(crate) version: SecretId,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) answered: Option<&'a str>,
    pub(crate) public_url: &'a str,
    pub(crate) template: &'a SecretTemplate,
}

/// The Secret as it should be.
pub(crate) fn desired(object: &ApiKey, name: &str, content: &Content<'_>) -> Secret {
    let mut labels = content.template.labels.clone();
    labels.insert(label::MANAGED.to_owned(), "true".to_owned());
    let mut annotations = content.template.annotations.clone();
    annotations.insert(annotation::VERSION_ID.to_owned(), content.version.to_string());
    if let Some(answered) = content.answered {
        annotations.insert(annotation::ROTATE_HANDLED.to_owned(), answered.to_owned());
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
        data: Some(entries(content)),
        ..Secret::default()
    }
}

fn entries(content: &Content<'_>) -> BTreeMap<String, ByteString> {
    let key = content.token.plaintext().expose_secret();
    let url = content.public_url.trim_end_matches('/');
    let openai = format!("{url}/v1");
    let expires_at = content.expires_at.map(|at| stamp(at).0.to_string()).unwrap_or_default();
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

/// The merge patch that makes what is there what should be; `None` when it is. What others added stays; what we added
/// once and no longer want goes. It carries the version it was made against.
pub(crate) fn difference(held: &Held, desired: &Secret) -> Option<Value> {
    let there = &held.secret;
    let ours = |part: &str| owned(there.managed_fields(), part);
    let labels = changes(there.labels(), desired.labels(), &ours("f:labels"));
    let annotations = changes(there.annotations(), desired.annotations(), &ours("f:annotations"));
    let empty = BTreeMap::new();
    let (have, want) = (there.data.as_ref().unwrap_or(&empty), desired.data.as_ref().unwrap_or(&empty));
    let entries: Map<String, Value> = want
        .iter()
        .filter(|(name, value)| have.get(*name) != Some(value))
        .map(|(n, v)| (n.clone(), json!(v)))
        .collect();
    let owners_differ = there.owner_references() != desired.owner_references();
    if labels.is_empty() && annotations.is_empty() && entries.is_empty() && !owners_differ {
        return None;
    }
    let mut patch = json!({
        "metadata": {"resourceVersion": held.resource_version, "uid": there.uid(), "labels": labels, "annotations": annotations},
        "data": entries,
    });
    if owners_differ {
        patch["metadata"]["ownerReferences"] = json!(desired.owner_references());
    }
    Some(patch)
}

/// What to set, and as null what to remove.
fn changes(have: &BTreeMap<String, String>, want: &BTreeMap<String, String>, ours: &[String]) -> Map<String, Value> {
    let set = want.iter().filter(|(name, value)| have.get(*name) != Some(value)).map(|(n, v)| (n.clone(), json!(v)));
    let gone = ours.iter().filter(|name| have.contains_key(*name) && !want.contains_key(*name));
    set.chain(gone.map(|name| (name.clone(), Value::Null))).collect()
}

/// Names below `metadata.<part>` that the operator has set, by the API server's own account.
fn owned(fields: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry], part: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(ApiKey::MANAGER))
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

    /// A Secret that the API server could have; its key is of no form.
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
    fn whose_it_is() {
        let us = object("u");
        let seen = |found| observe(&us, found);
        assert!(matches!(seen(None), Observed::Missing));
        assert!(
            matches!(seen(Some(secret(Some(("ci", "u"))))), Observed::Own(held) if held.version == Some(SecretId(3)))
        );
        assert!(matches!(seen(Some(secret(Some(("ci", "before"))))), Observed::Orphan(_)));
        assert!(matches!(seen(Some(secret(None))), Observed::Orphan(_)));
        assert!(matches!(seen(Some(secret(Some(("other", "o"))))), Observed::Foreign(_)));
        assert!(matches!(seen(Some(Secret::default())), Observed::Foreign(_)));
    }

    #[test]
    fn a_patch_leaves_to_others_what_is_theirs() {
        let us = object("u");
        let Observed::Own(held) = observe(&us, Some(secret(Some(("ci", "u"))))) else { panic!("ours") };
        let mut desired = held.secret.clone();
        assert_eq!(difference(&held, &desired), None);
        desired.metadata.labels = Some(BTreeMap::from([("paddock.dev/managed".to_owned(), "true".to_owned())]));
        let patch = difference(&held, &desired).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"old": null}));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["data"], json!({}));
        assert_eq!(patch["metadata"].get("ownerReferences"), None);
    }
}
