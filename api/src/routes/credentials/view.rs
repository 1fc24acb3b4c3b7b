//! An API key as the API shows it.

use paddock_accounts::{
    credentials::{KeyState, ListedKey, SecretState, SecretVersion},
    types::{Priority, Scopes, TextEnum as _, prefix_of},
};
use paddock_store::clock::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::routes::{
    hints::{HintView, key_hints},
    schemas::{LimitsView, OwnerView, PriorityName, ScopeName, texts, words},
};

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Credential)]
pub(crate) struct CredentialView {
    /// The id. A rotation keeps it.
    id: i64,
    /// The user that owns the key.
    user_id: i64,
    /// The address of that user. Null: the user is deleted.
    #[schema(required, format = Email)]
    user_email: Option<String>,
    /// The label. Labels are not unique.
    label: String,
    /// The hash algorithm of the secret: always `argon2id`.
    #[schema(example = "argon2id")]
    alg: &'static str,
    /// The public beginning of the current secret. Null: the key has no secret.
    #[schema(required, example = "pdk_4fQ2mZ81xT")]
    prefix: Option<String>,
    /// The state of the key. The owner is not considered: a key of a disabled user is refused in any
    /// state.
    #[schema(schema_with = key_states)]
    state: &'static str,
    /// The accepted secrets, oldest first: after a rotation the earlier one too, until its grace
    /// ends.
    versions: Vec<VersionView>,
    /// The scopes. The roles of the owner must allow them too.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Scopes,
    /// The patterns of the models that the key may use, in addition to those of the owner. Null:
    /// not restricted.
    #[schema(required)]
    models: Option<Vec<String>>,
    /// The limits, in addition to those of the owner.
    limits: LimitsView,
    /// The band in the queue.
    #[schema(value_type = PriorityName)]
    priority: Priority,
    /// Whether the key is revoked.
    revoked: bool,
    /// When the key was revoked.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When the key was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the key expires. Null: never.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When the key was last used, accurate to about a minute.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The Kubernetes object that owns the key. Null: the key was issued over the API.
    #[schema(required)]
    managed_by: Option<OwnerView>,
    /// When an admin overrode the Kubernetes object and revoked the key.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    overridden_at: Option<Timestamp>,
    /// Why the key can do less than it seems. Empty for a key that is revoked or expired.
    hints: Vec<HintView>,
}

/// A secret of a key, without the secret itself.
#[derive(Serialize, ToSchema)]
#[schema(as = SecretVersion)]
struct VersionView {
    /// The public beginning of the secret.
    #[schema(example = "pdk_4fQ2mZ81xT")]
    prefix: String,
    /// `active`, `retiring` until its grace ends, or `staged` until the operator has delivered it.
    #[schema(value_type = String, example = "active")]
    state: SecretState,
    /// When the secret was issued.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    /// When the secret ends: with the key, or earlier with its grace. Null: never.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
}

/// Documents the states of a key.
pub(super) fn key_states() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    words::<KeyState>(
        "`active`; `retiring`: an earlier secret is still accepted too; `staged`: the operator is about to deliver the \
         first secret; `expired`; `revoked`.",
    )
}

impl From<SecretVersion> for VersionView {
    fn from(version: SecretVersion) -> Self {
        Self {
            prefix: version.prefix(),
            state: version.state,
            issued_at: version.issued_at,
            ends_at: version.not_after(),
        }
    }
}

impl From<ListedKey> for CredentialView {
    fn from(key: ListedKey) -> Self {
        let hints = key_hints(&key);
        let ListedKey { credential, state, owner, versions } = key;
        Self {
            id: credential.id.0,
            user_id: credential.user_id.0,
            user_email: owner.email,
            label: credential.label,
            alg: "argon2id",
            prefix: credential.key_id.as_deref().map(prefix_of),
            state: state.text(),
            versions: versions.into_iter().map(VersionView::from).collect(),
            scopes: credential.scopes,
            models: texts(credential.models.as_ref()),
            limits: credential.limits.into(),
            priority: credential.priority,
            revoked: credential.revoked_at.is_some(),
            revoked_at: credential.revoked_at,
            created_at: credential.created_at,
            expires_at: credential.expires_at,
            last_used_at: credential.last_used_at,
            managed_by: credential.managed_by.map(OwnerView::from),
            overridden_at: credential.overridden_at,
            hints,
        }
    }
}
