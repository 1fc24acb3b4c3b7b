//! Passwords. Only a session can set a password; an API key cannot.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use paddock_accounts::{
    Accounts, UserId,
    access::{AuthMethod, Permission},
    types::Scope,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    auth::{Caller, refresh_cookie::RefreshCookie},
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Id, LazyBody, NoQuery},
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, LoginLockedResponse, NotFoundResponse},
    },
};

/// A password for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPassword {
    /// The password: at least `PASSWORD_MIN_LENGTH` characters (15 by default), at most 512 bytes,
    /// and hard to guess.
    #[schema(format = Password, example = "violet harbour tangle 93")]
    password: String,
}

/// Sets the password of a user.
///
/// This ends every session of the user. The caller must use a session, not an API key.
#[utoipa::path(
    post, path = "/users/{id}/password", operation_id = "set_password", tag = "users",
    params(("id" = i64, Path, description = "The user's id.")), request_body = SetPassword,
    responses(
        (status = 204, description = "The password is set."),
        CommonErrors, CallerErrors, BodyErrors, NotFoundResponse
    ),
    security(("bearer" = []))
)]
pub(crate) async fn set(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
    body: LazyBody,
) -> Result<StatusCode, ApiError> {
    caller.require(Permission::Manage(Scope::UsersWrite)).await?;
    require_session(&caller).await?;
    let SetPassword { password } = body.json(&mut caller).await?;
    with_db_timeout(accounts.passwords().set(&caller.audit_context, UserId(id), password.into())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The current and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The current password.
    #[schema(format = Password)]
    current_password: String,
    /// The new password. The rules are those of `POST /users/{id}/password`.
    #[schema(format = Password, example = "violet harbour tangle 93")]
    new_password: String,
}

/// Changes the password of the caller.
///
/// This ends every session of the caller, including the current one. The caller must use a session,
/// not an API key.
#[utoipa::path(
    post, path = "/me/password", operation_id = "change_password", tag = "me", request_body = ChangePassword,
    responses(
        (status = 204, description = "The password is changed. Sign in again.",
         headers(("Set-Cookie" = String, description = "Removes the cookie `paddock_refresh`."))),
        CommonErrors, CallerErrors, BodyErrors, LoginLockedResponse
    ),
    security(("bearer" = []))
)]
pub(crate) async fn change(
    State(accounts): State<Accounts>,
    State(refresh_cookie): State<RefreshCookie>,
    mut caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: LazyBody,
) -> Result<Response, ApiError> {
    caller.require(Permission::Profile).await?;
    require_session(&caller).await?;
    let ChangePassword { current_password, new_password } = body.json(&mut caller).await?;
    let user = caller.principal().user_id;
    with_db_timeout(accounts.passwords().change(
        &caller.audit_context,
        user,
        current_password.into(),
        new_password.into(),
    ))
    .await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, refresh_cookie.clear(&headers))]).into_response())
}

/// Denies API keys.
async fn require_session(caller: &Caller) -> Result<(), ApiError> {
    match caller.principal().via {
        AuthMethod::Session { .. } => Ok(()),
        AuthMethod::Key { .. } => Err(caller.deny("no API key can set a password: sign in for it".to_owned()).await),
    }
}
