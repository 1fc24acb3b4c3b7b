//! One key.

use axum::{Json, extract::State};
use paddock_accounts::{Accounts, CredentialId, access::Permission, types::Scope};

use super::view::CredentialView;
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::{ApiError, Kind},
        extract::{Id, NoQuery},
        openapi_problems::{CallerErrors, CommonErrors, NotFoundResponse},
    },
};

/// Shows an API key, to admins and to its owner.
#[utoipa::path(
    get, path = "/credentials/{id}", operation_id = "show_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses((status = 200, description = "The key.", body = CredentialView), CommonErrors, CallerErrors, NotFoundResponse),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn show(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<Json<CredentialView>, ApiError> {
    caller.require(Permission::See(Scope::KeysRead, caller.principal().user_id)).await?;
    let key = with_db_timeout(accounts.credentials().show(CredentialId(id))).await?;
    let owner = key.as_ref().map(|key| key.credential.user_id);
    let may_see_all = caller.principal().may(Permission::Manage(Scope::KeysRead)).is_ok();
    if !may_see_all && owner != Some(caller.principal().user_id) {
        // In the same words, whether the key exists or not.
        return Err(caller.deny("this key is not yours".to_owned()).await);
    }
    let key = key.ok_or_else(|| ApiError::new(Kind::NotFound, format!("credential {id} does not exist")))?;
    Ok(Json(key.into()))
}
