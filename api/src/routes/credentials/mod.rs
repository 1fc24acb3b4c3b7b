//! API keys: the list, and one file for each other operation.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

pub(super) mod issue;
pub(super) mod revoke;
pub(super) mod revoke_many;
pub(super) mod rotate;

use axum::extract::State;
use paddock_accounts::{
    Accounts, UserId,
    access::Permission,
    credentials::Credential,
    types::{Scope, Scopes, prefix_of},
};
use paddock_store::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::schemas::{LimitsView, Listed, OwnerView, ScopeName, listed, page, texts};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Query, deserialize::number},
        openapi_problems::{CallerErrors, CommonErrors},
    },
};

/// The longest page, and the default, because existing clients expect all keys.
const MAX_PAGE: u16 = 1_000;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Credential)]
pub(crate) struct CredentialView {
    /// The id. A rotation keeps it.
    id: i64,
    /// The user that owns the key.
    user_id: i64,
    /// The label. Labels are not unique.
    label: String,
    /// The hash algorithm of the secret: always `argon2id`.
    #[schema(example = "argon2id")]
    alg: &'static str,
    /// The public beginning of the current secret. Null: the key has no secret.
    #[schema(required, example = "pdk_4fQ2mZ81xT")]
    prefix: Option<String>,
    /// The scopes. The roles of the owner must allow them too.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Scopes,
    /// The patterns of the models that the key may use, in addition to those of the owner. Null:
    /// not restricted.
    #[schema(required)]
    models: Option<Vec<String>>,
    /// The limits, in addition to those of the owner.
    limits: LimitsView,
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
}

impl From<Credential> for CredentialView {
    fn from(credential: Credential) -> Self {
        Self {
            id: credential.id.0,
            user_id: credential.user_id.0,
            label: credential.label,
            alg: "argon2id",
            prefix: credential.key_id.as_deref().map(prefix_of),
            scopes: credential.scopes,
            models: texts(credential.models.as_ref()),
            limits: credential.limits.into(),
            revoked: credential.revoked_at.is_some(),
            revoked_at: credential.revoked_at,
            created_at: credential.created_at,
            expires_at: credential.expires_at,
            last_used_at: credential.last_used_at,
            managed_by: credential.managed_by.map(OwnerView::from),
            overridden_at: credential.overridden_at,
        }
    }
}

/// The filter of a list of keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCredentials {
    /// Only keys of this user. Absent: all keys for an admin, the caller's keys for others.
    #[serde(default, deserialize_with = "number")]
    user_id: Option<i64>,
    /// The maximum number of keys.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<i64>,
    /// The number of keys to skip.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    offset: Option<i64>,
}

/// Lists API keys, newest first. The list includes revoked keys.
#[utoipa::path(
    get, path = "/credentials", operation_id = "list_credentials", tag = "credentials", params(ListCredentials),
    responses(
        (status = 200, description = "The keys.", body = Vec<CredentialView>,
         headers(("X-Total-Count" = i64, description = "The number of keys on all pages."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Listed<CredentialView>, ApiError> {
    // Without any right to keys, the parameters do not matter.
    caller.require(Permission::See(Scope::KeysRead, caller.principal().user_id)).await?;
    let asked: ListCredentials = query.read()?;
    let user = caller.scope_to_user(Scope::KeysRead, asked.user_id.map(UserId)).await?;
    let (limit, offset) = page(asked.limit, MAX_PAGE, MAX_PAGE, asked.offset)?;
    Ok(listed(with_db_timeout(accounts.credentials().list_page(user, limit, offset)).await?))
}
