//! `ApiKey`: a credential of an `ApiUser`, delivered as a Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::duration::GoDuration;
use crate::shared::{Limits, StatusExt};

/// An API key of an `ApiUser`, delivered as a Secret.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "paddock.dev",
    version = "v1alpha1",
    kind = "ApiKey",
    plural = "apikeys",
    shortname = "ak",
    category = "paddock",
    namespaced,
    status = "ApiKeyStatus",
    derive = "PartialEq",
    doc = "An API key of an ApiUser, delivered as a Secret that configures unmodified SDKs by `envFrom`.",
    validation = Rule::new("size(self.metadata.name) <= 200").message("metadata.name may have at most 200 characters"),
    printcolumn(name = "User", type_ = "string", json_path = ".spec.userRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".status.prefix"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Next-Rotation", type_ = "string", json_path = ".status.nextRotationTime", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.expiresAt) && has(self.validFor))")
        .message("expiresAt and validFor exclude each other; set one of them"),
    validation = Rule::new("!oldSelf.revoked || self.revoked")
        .message("revoked cannot be taken back; create another ApiKey"),
    validation = Rule::new(
        "(has(self.secret) && has(self.secret.name) ? self.secret.name : '') == \
         (has(oldSelf.secret) && has(oldSelf.secret.name) ? oldSelf.secret.name : '')"
    )
    .message("secret.name cannot be changed, added or removed; create another ApiKey"),
    validation = Rule::new(
        "!(has(self.rotation) && has(self.validFor)) || \
         duration(self.rotation.interval) <= duration(self.validFor)"
    )
    .message("validFor must not be shorter than rotation.interval, or the key would end before the next one comes")
)]
pub struct ApiKeySpec {
    /// The `ApiUser` that the key belongs to. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("userRef cannot be changed; create another ApiKey"))]
    pub user_ref: UserRef,
    /// Name of the key for people to read. Absent: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub label: Option<String>,
    /// What the key may be used for, as far as its user's roles allow it at that moment. Absent: `chat`, `generate`,
    /// `embed` and `models:read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 11))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Option<Vec<Scope>>,
    /// Models the key may be used for, as far as its user may use them. `*` matches within a segment of a name, an
    /// absent tag every tag, `*` alone every model. Absent: as the user; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub models: Option<Vec<String>>,
    /// Limits on the use of this key; its user's limits hold as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// When the key and every version of it end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How long each version of the key is valid after it is issued, at least a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("validFor must be at least 1m"))]
    pub valid_for: Option<GoDuration>,
    /// Replace the key regularly. Absent: only when asked, or when the Secret is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// `true` ends the key at once and for good, and removes its Secret.
    #[serde(default)]
    pub revoked: bool,
    /// The Secret that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSpec>,
    /// What happens to the key when this object is deleted.
    #[serde(default)]
    pub deletion_policy: KeyDeletionPolicy,
}

/// Which `ApiUser`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRef {
    /// Name of the `ApiUser`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace, which has to be one that the `ApiUser` allows keys from. Absent: this object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// Chat endpoints.
    #[serde(rename = "chat")]
    Chat,
    /// Completion endpoints.
    #[serde(rename = "generate")]
    Generate,
    /// Embedding endpoints.
    #[serde(rename = "embed")]
    Embed,
    /// List models.
    #[serde(rename = "models:read")]
    ModelsRead,
    /// Pull and delete models.
    #[serde(rename = "models:write")]
    ModelsWrite,
    /// List users.
    #[serde(rename = "users:read")]
    UsersRead,
    /// Create and change users.
    #[serde(rename = "users:write")]
    UsersWrite,
    /// List API keys.
    #[serde(rename = "keys:read")]
    KeysRead,
    /// Issue, rotate and revoke API keys.
    #[serde(rename = "keys:write")]
    KeysWrite,
    /// Read the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Read usage totals.
    #[serde(rename = "usage:read")]
    UsageRead,
}

impl Scope {
    /// The scope as specs and the API write it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Generate => "generate",
            Self::Embed => "embed",
            Self::ModelsRead => "models:read",
            Self::ModelsWrite => "models:write",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::AuditRead => "audit:read",
            Self::UsageRead => "usage:read",
        }
    }
}

/// Regular replacement of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.interval) >= duration('1h')")
        .message("rotation.interval must be at least 1h"),
    validation = Rule::new("duration(self.gracePeriod) < duration(self.interval)")
        .message("rotation.gracePeriod (24h when absent) must be shorter than rotation.interval")
)]
pub struct Rotation {
    /// Time from one version to the next, at least an hour.
    pub interval: GoDuration,
    /// How long a replaced version stays valid, so that pods that still hold it keep working; shorter than the
    /// interval, `0s` for not at all.
    #[serde(default = "default_grace_period")]
    pub grace_period: GoDuration,
}

fn default_grace_period() -> GoDuration {
    GoDuration::from_hours(24)
}

/// Where the key is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSpec {
    /// Name of the Secret, in this object's namespace. Absent: this object's name and `-apikey`. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// What the Secret carries besides the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
}

/// Metadata for the Secret. Names below `paddock.dev/` are the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.labels) || self.labels.all(k, !k.startsWith('paddock.dev/'))")
        .message("secret.template.labels must not begin with paddock.dev/"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(k, !k.startsWith('paddock.dev/'))")
        .message("secret.template.annotations must not begin with paddock.dev/")
)]
pub struct SecretTemplate {
    /// Labels of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    pub annotations: BTreeMap<String, String>,
}

/// What becomes of the credential of a deleted `ApiKey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyDeletionPolicy {
    /// End the key at once and remove its Secret.
    #[default]
    Revoke,
    /// Keep the key valid and its Secret in place; an `ApiKey` of the same name takes both over again.
    Retain,
}

/// What the operator last saw and did. Never holds the key or its hash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ApiKeyStatus {
    /// The generation this status speaks of; -1 before the first.
    pub observed_generation: i64,
    /// The credential's id in API, audit and usage; the same through every rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<i64>,
    /// The public beginning of the key now in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The versions of the key that are still accepted, newest first, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub secret_versions: Vec<SecretVersion>,
    /// When the version in the Secret was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Time>,
    /// When the version in the Secret ends, if an end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the next version is due, if rotation is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,
    /// The value of the annotation `paddock.dev/rotate-requested-at` that was last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_at: Option<String>,
    /// State in the conventions of Kubernetes: `Ready` and `SecretSynced` always; `Reconciling`, `Stalled`,
    /// `Overridden` when they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersion {
    /// Its id in the database and in the Secret's annotation `paddock.dev/version-id`.
    pub id: i64,
    /// Its public beginning.
    pub prefix: String,
    /// Whether it is the one in the Secret or on its way out.
    pub state: VersionState,
    /// When it ends, if an end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// State of a version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersionState {
    /// Being delivered, accepted already.
    Staged,
    /// In the Secret.
    Active,
    /// Replaced, accepted until `notAfter`.
    Retiring,
}

impl StatusExt for ApiKeyStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}
