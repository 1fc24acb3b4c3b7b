//! Revocation of a key, and clearing the override of a key that Kubernetes owns.

use axum::{extract::State, http::StatusCode};
use paddock_accounts::{Accounts, CredentialId, access::Permission, types::Scope};

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Id, NoQuery},
        openapi_problems::{CallerErrors, CommonErrors, NotFoundResponse},
    },
};

/// Revokes a key permanently.
///
/// A key may revoke itself, with any scopes and any roles of its owner. Any other key needs an
/// admin with the scope `keys:write`.
///
/// A key that is revoked already stays the same. If Kubernetes owns the key, the revocation
/// overrides the object, which gets no other key until an admin clears the override.
#[utoipa::path(
    post, path = "/credentials/{id}/revoke", operation_id = "revoke_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "The key is revoked."),
        CommonErrors, CallerErrors, NotFoundResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn revoke(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    let id = CredentialId(id);
    caller.require(Permission::RevokeKey(id)).await?;
    with_db_timeout(accounts.credentials().revoke(&caller.audit_context, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears the override of a revoked key that Kubernetes owns.
///
/// The key stays revoked, and its object gets another key. Without an override nothing changes.
#[utoipa::path(
    post, path = "/credentials/{id}/clear-override", operation_id = "clear_credential_override", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "The key has no override."),
        CommonErrors, CallerErrors, NotFoundResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn clear_override(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    with_db_timeout(accounts.credentials().clear_override(&caller.audit_context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
