//! Revocation of a key, and clearing the override of a key that Kubernetes owns.

use axum::{extract::State, http::StatusCode};
use paddock_accounts::{Accounts, CredentialId, access::Permission, types::Scope};

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Id, NoQuery},
        problem_responses::{CallerErrors, CommonErrors, NotFoundResponse},
    },
};

/// Ends a key for good. One that has ended already stays as it is. On a key that Kubernetes owns it is kept against the object,
/// which is given no other key until the override is cleared.
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
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    with_db_timeout(accounts.credentials().revoke(&caller.audit_context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears the override of a key that an admin revoked against its Kubernetes object. The key stays revoked and is no longer
/// the object's, which is given another one. Without an override nothing changes.
#[utoipa::path(
    post, path = "/credentials/{id}/clear-override", operation_id = "clear_credential_override", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "There is no override."),
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
