//! The early end of the grace of earlier secrets.

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

/// Ends the grace of the earlier secrets of a key now. The current secret stays accepted.
///
/// Without such a secret nothing changes. A key that Kubernetes owns allows this too.
#[utoipa::path(
    post, path = "/credentials/{id}/end-grace", operation_id = "end_credential_grace", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "No earlier secret of the key is accepted."),
        CommonErrors, CallerErrors, NotFoundResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn end_grace(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    with_db_timeout(accounts.credentials().end_grace(&caller.audit_context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
