//! Revoking a key, and giving one that Kubernetes owns back to its object.

use axum::{extract::State, http::StatusCode};
use paddock_accounts::{CredentialId, access::Permission, types::Scope};

use crate::{
    app::{App, ask},
    authentication::Caller,
    extract::{Id, NoQuery},
    openapi::{CallerProblems, Missing, Problems},
    problem::Problem,
};

/// Ends a key for good. One that has ended already stays as it is. On a key that Kubernetes owns it is kept against the object,
/// which is given no other key until the override is cleared.
#[utoipa::path(
    post, path = "/credentials/{id}/revoke", operation_id = "revoke_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "The key is revoked."),
        Problems, CallerProblems, Missing
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, Problem> {
    caller.must(Permission::Manage(Scope::KeysWrite)).await?;
    ask(app.accounts.credentials().revoke(&caller.context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears the override of a key that an admin revoked against its Kubernetes object. The key stays revoked and is no longer
/// the object's, which is given another one. Without an override nothing changes.
#[utoipa::path(
    post, path = "/credentials/{id}/clear-override", operation_id = "clear_credential_override", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "There is no override."),
        Problems, CallerProblems, Missing
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn clear_override(
    State(app): State<App>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, Problem> {
    caller.must(Permission::Manage(Scope::KeysWrite)).await?;
    ask(app.accounts.credentials().clear_override(&caller.context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
