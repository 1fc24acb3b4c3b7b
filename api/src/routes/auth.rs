//! Signing in and out.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use paddock_accounts::access::Via;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::{App, ask},
    authentication::{Anyone, Stranger, authenticate},
    extract::{NoQuery, Query, Unread},
    openapi::{BodyProblems, Problems, WrongPassword},
    problem::Problem,
    shape::parsed,
};

/// A user's name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// The e-mail address.
    #[schema(example = "admin@example.com")]
    username: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// A session's access token.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are OAuth's")]
pub(crate) struct AccessToken {
    /// To be sent as `Authorization: Bearer ...`.
    access_token: String,
    /// Always `bearer`.
    #[schema(example = "bearer")]
    token_type: &'static str,
    /// For how many seconds it is good.
    #[schema(example = 900)]
    expires_in: u64,
}

/// Signs in with a password.
#[utoipa::path(
    post, path = "/auth/login", operation_id = "login", tag = "auth", request_body = Credentials,
    responses((status = 200, description = "A session has begun.", body = AccessToken), Problems, BodyProblems, WrongPassword)
)]
pub(crate) async fn login(
    State(app): State<App>,
    Anyone(context): Anyone,
    _: NoQuery,
    body: Unread,
) -> Result<Response, Problem> {
    let Credentials { username, password } = body.json().await?;
    let login = ask(app.accounts.login(&context, &username, password.into())).await?;
    let token = AccessToken {
        access_token: login.access_token.expose_secret().to_owned(),
        token_type: "bearer",
        expires_in: login.expires_in.as_secs(),
    };
    Ok(not_stored(Json(token)))
}

/// What is said after signing out.
#[derive(Serialize, ToSchema)]
pub(crate) struct Farewell {
    /// For people.
    #[schema(example = "signed out")]
    message: &'static str,
}

/// What to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutOptions {
    /// Every session of the user, not only this one.
    #[serde(default, deserialize_with = "parsed")]
    all: Option<bool>,
}

/// Signs out: ends the session whose access token is sent, if one is.
#[utoipa::path(
    post, path = "/auth/logout", operation_id = "logout", tag = "auth",
    params(("all" = Option<bool>, Query, description = "End every session of the user, not only this one.")),
    responses((status = 200, description = "The session, if there was one, has ended.", body = Farewell), Problems),
    security((), ("bearer" = []))
)]
pub(crate) async fn logout(
    State(app): State<App>,
    Anyone(context): Anyone,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Farewell>, Problem> {
    let LogoutOptions { all } = query.read()?;
    let farewell = Json(Farewell { message: "signed out" });
    let principal = match authenticate(&app, &headers).await {
        Ok(principal) => principal,
        Err(Stranger::Unanswered(unanswered)) => return Err(unanswered.into()),
        Err(_) => return Ok(farewell),
    };
    let context = context.acting(principal.actor());
    match principal.via {
        Via::Session { .. } if all == Some(true) => {
            ask(app.accounts.logout_everywhere(&context, principal.user_id)).await?;
        }
        Via::Session { id } => ask(app.accounts.logout(&context, id)).await?,
        Via::Key { .. } => {}
    }
    Ok(farewell)
}

/// An answer with a secret in it, which no cache may keep.
pub(super) fn not_stored(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
