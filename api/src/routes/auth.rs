//! Signing in and out.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use paddock_accounts::{Error, access::AuthMethod, passwords::DEV_PASSWORD, sessions::Login};
use paddock_store::context::AuditContext;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::{App, Unanswered, ask},
    authentication::{Anyone, Stranger, authenticate},
    extract::{NoBody, NoQuery, Query, Unread},
    limits::{Exceeded, guesses::Sort},
    openapi::{
        BodyProblems, ForeignOrigin, NeedlessBody, NoRefresh, Problems, RefreshLimited, SignInsLocked, WrongCookies,
        WrongPassword,
    },
    origin::Origin,
    problem::{Kind, Problem},
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

/// Signs in with a password. The cookie `paddock_refresh` that comes with the answer is for `POST /auth/refresh`.
#[utoipa::path(
    post, path = "/auth/login", operation_id = "login", tag = "auth", request_body = Credentials,
    responses(
        (status = 200, description = "A session has begun.", body = AccessToken,
         headers(("Set-Cookie" = String, description = "The token to go on with: `paddock_refresh`, `HttpOnly`, `SameSite=Strict`, for `/auth` alone."))),
        Problems, BodyProblems, WrongPassword, SignInsLocked
    )
)]
pub(crate) async fn login(
    State(app): State<App>,
    mut caller: Anyone,
    Extension(origin): Extension<Origin>,
    _: NoQuery,
    body: Unread,
) -> Result<Response, Problem> {
    let Credentials { username, password } = body.json(&mut caller).await?;
    let attempt = app.guesses.sign_in(origin.ip)?;
    // Another process may have set it in the same database. To others than this machine it is as wrong as any, and takes as long.
    let password = if password == DEV_PASSWORD && !app.only_local_hosts { String::new() } else { password };
    let login = ask(app.accounts.sessions().login(&caller.0, &username, password.into())).await;
    // What failed keeps what it took. What could not be judged is nobody's guess.
    if !matches!(login, Err(Unanswered::Error(Error::WrongPassword | Error::LoginLocked { .. }))) {
        attempt.spare();
    }
    Ok(signed_in(&app, &login?))
}

/// Goes on with a session: takes the cookie's token, which counts once, for an access token and another cookie. A token
/// that comes a second time ends its session.
///
/// It counts towards the limit of the user. One that is over it is refused, and the token counts still.
#[utoipa::path(
    post, path = "/auth/refresh", operation_id = "refresh", tag = "auth",
    responses(
        (status = 200, description = "The session goes on.", body = AccessToken,
         headers(("Set-Cookie" = String, description = "The token to go on with next time."))),
        Problems, NeedlessBody, NoRefresh, ForeignOrigin, RefreshLimited
    ),
    security(("refresh_cookie" = []))
)]
pub(crate) async fn refresh(
    State(app): State<App>,
    Anyone(context): Anyone,
    Extension(origin): Extension<Origin>,
    _: NoQuery,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, Problem> {
    let Some(token) = app.cookies.presented(&headers)? else { return Ok(no_session(&app)) };
    let attempt = app.guesses.begin(origin.ip, Sort::Cookie, || true)?;
    let login = ask(go_on(&app, &context, &origin, &token)).await;
    if let Ok(Ok(None)) = login {
        attempt.wrong()?;
        return Ok(no_session(&app));
    }
    attempt.spare();
    let login = login?.map_err(Stranger::Limited)?;
    Ok(login.map_or_else(|| no_session(&app), |login| signed_in(&app, &login)))
}

/// Goes on with the session of a token, if that counts and its user's limit allows the request.
async fn go_on(
    app: &App,
    context: &AuditContext,
    origin: &Origin,
    token: &SecretString,
) -> Result<Result<Option<Login>, Exceeded>, Error> {
    let Some(refreshing) = app.accounts.sessions().check_refresh_token(context, token).await? else {
        return Ok(Ok(None));
    };
    match app.limits.admit_session(refreshing.user(), refreshing.limits(), &origin.told).await {
        Ok(()) => app.accounts.sessions().refresh(context, &refreshing).await.map(Ok),
        Err(exceeded) => Ok(Err(exceeded)),
    }
}

fn no_session(app: &App) -> Response {
    let problem = Problem::new(Kind::Unauthenticated, "there is no session to go on with: sign in");
    ([(header::SET_COOKIE, app.cookies.take_away())], problem).into_response()
}

fn signed_in(app: &App, login: &Login) -> Response {
    let token = AccessToken {
        access_token: login.access_token.expose_secret().to_owned(),
        token_type: "bearer",
        expires_in: login.expires_in.as_secs(),
    };
    let cookie = app.cookies.give(&login.refresh_token, login.refresh_expires_in);
    not_stored(([(header::SET_COOKIE, cookie)], Json(token)))
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

/// Signs out: ends the session whose access token or cookie is sent, and takes the cookie away.
#[utoipa::path(
    post, path = "/auth/logout", operation_id = "logout", tag = "auth",
    params(("all" = Option<bool>, Query, description = "End every session of the user, not only this one.")),
    responses(
        (status = 200, description = "The session, if there was one, has ended.", body = Farewell,
         headers(("Set-Cookie" = String, description = "Takes the cookie `paddock_refresh` away."))),
        Problems, NeedlessBody, ForeignOrigin, WrongCookies
    ),
    security((), ("bearer" = []), ("refresh_cookie" = []))
)]
pub(crate) async fn logout(
    State(app): State<App>,
    Anyone(context): Anyone,
    Extension(origin): Extension<Origin>,
    query: Query,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, Problem> {
    let LogoutOptions { all } = query.read()?;
    let all = all == Some(true);
    let cookie = app.cookies.presented(&headers)?;
    let is_known = end_by_token(&app, &context, &headers, &origin, all).await?;
    if let Some(token) = cookie {
        // The cookie of a session that has just ended is no guess.
        let attempt = app.guesses.begin(origin.ip, Sort::Cookie, || !is_known)?;
        let ended = ask(app.accounts.sessions().logout_by_refresh_token(&context, &token, all)).await;
        if !is_known && matches!(ended, Ok(false)) {
            // Nothing is told of it: whoever was signed out before is so now.
            let _ = attempt.wrong();
        } else {
            attempt.spare();
        }
        ended?;
    }
    let farewell = Json(Farewell { message: "signed out" });
    Ok(([(header::SET_COOKIE, app.cookies.take_away())], farewell).into_response())
}

/// Ends the session of an access token, if one is sent, or every one of its user; whether there was one.
async fn end_by_token(
    app: &App,
    context: &AuditContext,
    headers: &HeaderMap,
    origin: &Origin,
    all: bool,
) -> Result<bool, Problem> {
    let principal = match authenticate(app, headers, origin).await {
        Ok(principal) => principal,
        Err(Stranger::Unanswered(unanswered)) => return Err(unanswered.into()),
        Err(_) => return Ok(false),
    };
    let context = context.acting(principal.actor());
    match principal.via {
        AuthMethod::Session { .. } if all => {
            ask(app.accounts.sessions().logout_everywhere(&context, principal.user_id)).await?;
        }
        AuthMethod::Session { id } => ask(app.accounts.sessions().logout(&context, id)).await?,
        AuthMethod::Key { .. } => return Ok(false),
    }
    Ok(true)
}

/// An answer with a secret in it, which no cache may keep.
pub(super) fn not_stored(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
