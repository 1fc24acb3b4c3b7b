//! `ApiKey`: an API key of an `ApiUser`, delivered as a Secret.

use std::collections::BTreeMap;

use crate::{conditions::has_conditions, duration::GoDuration, limits::Limits};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// An API key of an `ApiUser`, delivered as a Secret.
#[skip_serializing_none]
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
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Next-Rotation", type_ = "string", json_path = ".status.nextRotationTime", priority = 1)
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
    /// The `ApiUser` that owns the key. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("userRef cannot be changed; create another ApiKey"))]
    pub user_ref: UserRef,
    /// Display name of the key. Absent: the name of this object.
    #[schemars(length(min = 1, max = 100))]
    pub label: Option<String>,
    /// What the key may be used for, within the roles of its user. Absent: `chat`, `generate`,
    /// `embed` and `models:read`.
    #[schemars(length(min = 1, max = 11))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Option<Vec<Scope>>,
    /// Patterns of models the key may use, within the models of its user. `*` matches within a
    /// segment of a name, `*` alone matches every model; a pattern without a tag matches every tag.
    /// A pattern after `!` denies, and takes precedence. Absent: as the user; empty: none.
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() == 0 || self.exists(pattern, !pattern.startsWith('!'))")
            .message("has only patterns that deny, so it allows no model; add \"*\" to allow all others")
    )]
    pub models: Option<Vec<String>>,
    /// Limits of this key. The limits of its user apply as well.
    pub limits: Option<Limits>,
    /// The band of its requests in the queue in front of a model: requests of `interactive` begin
    /// before those of `batch`. Absent: `interactive`.
    pub priority: Option<KeyPriority>,
    /// When all versions of the key expire.
    pub expires_at: Option<Time>,
    /// How long each version of the key is valid after it is issued, at least a minute.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("validFor must be at least 1m"))]
    pub valid_for: Option<GoDuration>,
    /// Rotation at an interval. Absent: the key is only replaced on request, or when its Secret is
    /// lost.
    pub rotation: Option<Rotation>,
    /// `true` revokes the key at once and for good, and deletes its Secret.
    #[serde(default)]
    pub revoked: bool,
    /// The Secret that holds the key.
    pub secret: Option<SecretSpec>,
    /// What happens to the key when this object is deleted.
    #[serde(default)]
    pub deletion_policy: KeyDeletionPolicy,
}

/// The band of a key in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyPriority {
    /// A person waits for the responses.
    Interactive,
    /// No person waits for the response. Requests of `interactive` begin first.
    Batch,
}

/// A reference to an `ApiUser`.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRef {
    /// Name of the `ApiUser`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the `ApiUser`, which must allow keys from this object's namespace. Absent: this
    /// object's namespace.
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
    /// The scope as the API and the specs write it.
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

/// Rotation of a key at an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.interval) >= duration('1h')")
        .message("rotation.interval must be at least 1h"),
    validation = Rule::new("duration(self.gracePeriod) < duration(self.interval)")
        .message("rotation.gracePeriod (24h when absent) must be shorter than rotation.interval")
)]
pub struct Rotation {
    /// Longest time between two versions, at least an hour. The operator rotates up to 5 % earlier,
    /// so that keys that were applied together do not rotate together.
    pub interval: GoDuration,
    /// How long a replaced version stays valid, so that running pods keep working. Must be shorter
    /// than the interval; `0s` ends it at once. At most two replaced versions are valid: a third one
    /// ends the oldest at once.
    #[serde(default = "default_grace_period")]
    pub grace_period: GoDuration,
}

fn default_grace_period() -> GoDuration {
    GoDuration::from_hours(24)
}

/// The Secret that the key is delivered in.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSpec {
    /// Name of the Secret, in this object's namespace. Absent: the name of this object with
    /// `-apikey` appended. Cannot be changed.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')")
            .message("secret.name must be the name of a Secret: a-z, 0-9, - and . only, such as ada-apikey")
    )]
    pub name: Option<String>,
    /// Labels and annotations to add to the Secret.
    pub template: Option<SecretTemplate>,
}

/// Labels and annotations of the Secret. Names below `paddock.dev/` are reserved for the operator.
/// Names by which GitOps tools track objects are refused, because such a tool would prune the Secret:
/// `app.kubernetes.io/instance`, `app.kubernetes.io/managed-by`, and names below `argocd.argoproj.io/`,
/// `kustomize.toolkit.fluxcd.io/`, `helm.toolkit.fluxcd.io/`, `meta.helm.sh/`, `config.k8s.io/`,
/// `objectset.rio.cattle.io/` and `kubectl.kubernetes.io/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.labels) || self.labels.all(k, !k.startsWith('paddock.dev/'))")
        .message("secret.template.labels must not begin with paddock.dev/"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(k, !k.startsWith('paddock.dev/'))")
        .message("secret.template.annotations must not begin with paddock.dev/"),
    validation = Rule::new(
        "!has(self.labels) || self.labels.all(k, self.labels[k].matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$'))"
    )
    .message(
        "secret.template.labels has a value that Kubernetes refuses: use letters, digits, '-', '_' and '.', with a letter \
         or digit at both ends"
    ),
    validation = Rule::new(
        "!has(self.labels) || self.labels.all(k, k != 'app.kubernetes.io/instance' && k != 'app.kubernetes.io/managed-by' \
         && !k.startsWith('argocd.argoproj.io/') && !k.startsWith('kustomize.toolkit.fluxcd.io/') \
         && !k.startsWith('helm.toolkit.fluxcd.io/') && !k.startsWith('config.k8s.io/') \
         && !k.startsWith('objectset.rio.cattle.io/') && !k.startsWith('kubectl.kubernetes.io/'))"
    )
    .message("secret.template.labels has a name by which a GitOps tool tracks objects, and it would prune the Secret; remove it"),
    validation = Rule::new(
        "!has(self.annotations) || self.annotations.all(k, !k.startsWith('argocd.argoproj.io/') \
         && !k.startsWith('kustomize.toolkit.fluxcd.io/') && !k.startsWith('helm.toolkit.fluxcd.io/') \
         && !k.startsWith('meta.helm.sh/') && !k.startsWith('config.k8s.io/') \
         && !k.startsWith('objectset.rio.cattle.io/') && !k.startsWith('kubectl.kubernetes.io/'))"
    )
    .message(
        "secret.template.annotations has a name by which a GitOps tool tracks objects, and it would prune the Secret; remove it"
    )
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

/// What happens to the key of a deleted `ApiKey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyDeletionPolicy {
    /// Revoke the key and delete its Secret.
    #[default]
    Revoke,
    /// Keep the key valid and keep its Secret. An `ApiKey` of the same name takes both over again.
    Retain,
}

/// The state that the operator observed last. Contains neither the key nor its hash.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ApiKeyStatus {
    /// The generation that this status describes; -1 before the first.
    pub observed_generation: i64,
    /// The last value of the annotation `paddock.dev/reconcile-requested-at` that was handled.
    pub last_handled_reconcile_at: Option<String>,
    /// Id of the key in the API, the audit log and usage. Rotation keeps it.
    pub credential_id: Option<i64>,
    /// Public prefix of the key in the Secret.
    pub prefix: Option<String>,
    /// Name of the Secret.
    pub secret_name: Option<String>,
    /// Versions of the key that are still accepted, newest first, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub secret_versions: Vec<SecretVersion>,
    /// When the version in the Secret was issued.
    pub issued_at: Option<Time>,
    /// When the version in the Secret expires. Absent: never.
    pub expires_at: Option<Time>,
    /// When the next rotation is due. Absent: the key does not rotate.
    pub next_rotation_time: Option<Time>,
    /// The last handled value of the annotation `paddock.dev/rotate-requested-at`.
    pub last_handled_rotate_at: Option<String>,
    /// Conditions: always `Ready` (the gateway accepts the key in the Secret) and `SecretSynced` (the
    /// Secret holds the active version); `Reconciling`, `Stalled`, `Overridden` and `Expiring` when
    /// they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A version of a key.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersion {
    /// Id of the version, also in the Secret's annotation `paddock.dev/version-id`.
    pub id: i64,
    /// Public prefix of the version.
    pub prefix: String,
    /// Where the version is in its rotation.
    pub state: VersionState,
    /// When the version expires. Absent: never.
    pub not_after: Option<Time>,
}

/// State of a version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersionState {
    /// Accepted for minutes, and about to be written to the Secret.
    Staged,
    /// Accepted, and in the Secret.
    Active,
    /// Replaced, and accepted until `notAfter`.
    Retiring,
}

has_conditions!(ApiKeyStatus);
