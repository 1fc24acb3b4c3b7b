//! Passwords. Only who is signed in with one can set one: no key does.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use paddock_accounts::{
    UserId,
    access::{AuthMethod, Permission},
    types::Scope,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::{App, ask},
    authentication::Caller,
    extract::{Id, NoQuery, Unread},
    openapi::{BodyProblems, CallerProblems, LoginLocked, Missing, Problems},
    problem::Problem,
};

/// A password for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPassword {
    /// The password: at least `PASSWORD_MIN_LENGTH` characters (15 by default), at most 512 bytes, and hard to guess.
    #[schema(format = Password, example = "violet harbour tangle 93")]
    password: String,
}

/// Sets a user's password, which ends every session of the user. No API key may.
#[utoipa::path(
    post, path = "/users/{id}/password", operation_id = "set_password", tag = "users",
    params(("id" = i64, Path, description = "The user's id.")), request_body = SetPassword,
    responses(
        (status = 204, description = "The password is set."),
        Problems, CallerProblems, BodyProblems, Missing
    ),
    security(("bearer" = []))
)]
pub(crate) async fn set(
    State(app): State<App>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
    body: Unread,
) -> Result<StatusCode, Problem> {
    caller.must(Permission::Manage(Scope::UsersWrite)).await?;
    by_session(&caller).await?;
    let SetPassword { password } = body.json(&mut caller).await?;
    ask(app.accounts.passwords().set(&caller.context, UserId(id), password.into())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The present password and the one to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The present password.
    #[schema(format = Password)]
    current_password: String,
    /// The password to be, by the same rules as for `POST /users/{id}/password`.
    #[schema(format = Password, example = "violet harbour tangle 93")]
    new_password: String,
}

/// Changes the caller's own password, which ends every session of the caller, this one too. No API key may.
#[utoipa::path(
    post, path = "/me/password", operation_id = "change_password", tag = "me", request_body = ChangePassword,
    responses(
        (status = 204, description = "The password is changed: sign in with it.",
         headers(("Set-Cookie" = String, description = "Takes the cookie `paddock_refresh` away."))),
        Problems, CallerProblems, BodyProblems, LoginLocked
    ),
    security(("bearer" = []))
)]
pub(crate) async fn change(
    State(app): State<App>,
    mut caller: Caller,
    _: NoQuery,
    body: Unread,
) -> Result<Response, Problem> {
    caller.must(Permission::Profile).await?;
    by_session(&caller).await?;
    let ChangePassword { current_password, new_password } = body.json(&mut caller).await?;
    let user = caller.principal.user_id;
    ask(app.accounts.passwords().change(&caller.context, user, current_password.into(), new_password.into())).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, app.cookies.take_away())]).into_response())
}

async fn by_session(caller: &Caller) -> Result<(), Problem> {
    match caller.principal.via {
        AuthMethod::Session { .. } => Ok(()),
        AuthMethod::Key { .. } => Err(caller.refuse("no API key can set a password: sign in for it".to_owned()).await),
    }
}
