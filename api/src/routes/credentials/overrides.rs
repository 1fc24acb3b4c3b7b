//! Giving a key back to its object.

use axum::{extract::State, http::StatusCode};
use paddock_accounts::{access::Need, credentials::CredentialId, sets::Scope};

use crate::{
    app::{App, ask},
    authentication::Caller,
    extract::{Id, NoQuery},
    openapi::{CallerProblems, Missing, Problems},
    problem::Problem,
};

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
    caller.must(Need::Manage(Scope::KeysWrite)).await?;
    ask(app.accounts.clear_key_override(&caller.context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
