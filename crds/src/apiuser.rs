//! `ApiUser`: a user that may hold keys, a person or a workload.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{conditions::has_conditions, limits::Limits};

/// A user of Ollama through Paddock's gateway.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "paddock.dev",
    version = "v1alpha1",
    kind = "ApiUser",
    plural = "apiusers",
    shortname = "au",
    category = "paddock",
    namespaced,
    status = "ApiUserStatus",
    derive = "PartialEq",
    doc = "A user of Ollama through Paddock's gateway.",
    validation = Rule::new("size(self.metadata.name) <= 200").message("metadata.name may have at most 200 characters"),
    printcolumn(name = "Email", type_ = "string", json_path = ".spec.email"),
    printcolumn(name = "Roles", type_ = "string", json_path = ".status.effectiveRoles"),
    printcolumn(name = "Active", type_ = "boolean", json_path = ".spec.active"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.keyCount"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.passwordSecretRef) && has(self.generatePassword))")
        .message("passwordSecretRef and generatePassword exclude each other; set one of them"),
    validation = Rule::new(
        "self.passwordPolicy != 'Enforced' || has(self.passwordSecretRef) || has(self.generatePassword)"
    )
    .message("passwordPolicy: Enforced needs passwordSecretRef or generatePassword, which says the password to enforce")
)]
pub struct ApiUserSpec {
    /// The user's e-mail address, ASCII before the `@`. Unique in the whole installation. Cannot be
    /// changed.
    #[schemars(length(min = 3, max = 254))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("email cannot be changed; create another ApiUser"),
        validation = Rule::new(r"self.matches(r'^[!-?A-~]+@[^@\s]+$')")
            .message("email must be an address such as ada@example.com, with ASCII before the @ and no blanks")
    )]
    pub email: String,
    /// Display name.
    #[schemars(length(min = 1, max = 200))]
    pub display_name: Option<String>,
    /// Roles of the user. `admin` is accepted only in namespaces that the operator's
    /// `ADMIN_NAMESPACES` lists. Without a role, the user can only manage its own profile.
    #[serde(default = "default_roles")]
    #[schemars(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<Role>,
    /// `false` disables the user: its sessions and keys stop working until it is `true` again.
    #[serde(default = "default_active")]
    pub active: bool,
    /// The password for the web UI, from a Secret in this object's namespace. Absent, and without
    /// `generatePassword`: this object sets no password.
    pub password_secret_ref: Option<PasswordSecretRef>,
    /// Generates the password for the web UI, into a Secret in this object's namespace.
    pub generate_password: Option<GeneratePassword>,
    /// Whether the password of the Secret is set only at first, or always.
    #[serde(default)]
    pub password_policy: PasswordPolicy,
    /// Patterns of models the user may use. `*` matches within a segment of a name, `*` alone
    /// matches every model; a pattern without a tag matches every tag. A pattern after `!` denies,
    /// and takes precedence: `["*", "!team/*"]`. Absent: every model; empty: none.
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() == 0 || self.exists(pattern, !pattern.startsWith('!'))")
            .message("has only patterns that deny, so it allows no model; add \"*\" to allow all others")
    )]
    pub models: Option<Vec<String>>,
    /// Limits of all the user's keys together.
    pub limits: Option<Limits>,
    /// Other namespaces whose `ApiKey` objects may refer to this user. Absent: only this object's
    /// namespace. The keys of a namespace that is removed end a minute later.
    pub allow_keys_from: Option<AllowKeysFrom>,
    /// What happens if a user with this e-mail address was already created through the API.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// What happens to the user when this object is deleted.
    #[serde(default)]
    pub deletion_policy: UserDeletionPolicy,
}

fn default_roles() -> Vec<Role> {
    vec![Role::User]
}

fn default_active() -> bool {
    true
}

/// A role of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything, for every user.
    Admin,
    /// May use models, read its own profile, keys and usage, and change its own password.
    User,
}

/// Other namespaces whose `ApiKey` objects may refer to an `ApiUser`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowKeysFrom {
    /// Names of namespaces. The `ApiUser`'s own namespace is always allowed.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Vec<String>,
}

/// The entry of a Secret that holds a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Name of the Secret. Label it `paddock.dev/password: "true"`, and the operator notices its
    /// changes at once; otherwise within ten minutes.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the entry in the Secret's `data`.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_password_key() -> String {
    crate::names::password_data::PASSWORD.to_owned()
}

/// The Secret for a generated password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratePassword {
    /// Name of the Secret, which the operator creates with the entries `username` and `password`.
    /// Cannot be changed.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("generatePassword.secretName cannot be changed"))]
    pub secret_name: String,
}

/// When an `ApiUser` sets the password of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PasswordPolicy {
    /// Only if the user has no password. Later the user may change it.
    #[default]
    InitialOnly,
    /// Always: a password that differs from the Secret is replaced, which ends the user's sessions.
    Enforced,
}

/// What an `ApiUser` does if its user already exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Leave the user as it is and report a conflict.
    #[default]
    Never,
    /// Take the user over if no other object manages it, it is active, and it is no admin. Only in
    /// the namespaces of the operator's `ADOPTION_NAMESPACES`, which are those of `ADMIN_NAMESPACES`
    /// by default. In the namespaces of `ADMIN_NAMESPACES`, take over any user that no other object
    /// manages.
    IfUnmanaged,
}

/// What happens to the user of a deleted `ApiUser`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserDeletionPolicy {
    /// Revoke the user's keys, and erase its e-mail address, name and sessions. The audit log and
    /// usage keep its id.
    #[default]
    Delete,
    /// Keep the user, disabled. An `ApiUser` of the same name takes it over again.
    Disable,
    /// Keep the user as it is. An `ApiUser` of the same name takes it over again.
    Retain,
}

/// The state that the operator observed last.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ApiUserStatus {
    /// The generation that this status describes; -1 before the first.
    pub observed_generation: i64,
    /// The last value of the annotation `paddock.dev/reconcile-requested-at` that was handled.
    pub last_handled_reconcile_at: Option<String>,
    /// Id of the user in the API, the audit log and usage.
    pub user_id: Option<i64>,
    /// Roles that are in effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effective_roles: Vec<String>,
    /// Number of keys that are not revoked.
    pub key_count: Option<i64>,
    /// Conditions: always `Ready`; `PasswordSynced` if the object sets a password; `Reconciling`,
    /// `Stalled` and `Overridden` when they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

has_conditions!(ApiUserStatus);
