//! Sessions: sign-in, refresh and sign-out.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use paddock_accounts::{Accounts, Error, access::AuthMethod, passwords::DEV_PASSWORD, sessions::Login};
use paddock_store::context::AuditContext;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{
        Anonymous, AuthError, Authenticator,
        failure_limiter::{AttemptKind, AuthFailureLimiter},
        refresh_cookie::RefreshCookie,
    },
    http::{
        deadline::{DbError, with_db_timeout},
        error::{ApiError, Kind},
        extract::{LazyBody, NoBody, NoQuery, Query, deserialize::parsed},
        openapi_problems::{
            BodyErrors, CommonErrors, ForeignOriginResponse, NoSessionResponse, OptionalBodyErrors,
            RefreshLimitedResponse, SignInsLockedResponse, WrongCookiesResponse, WrongPasswordResponse,
        },
        request_context::RequestContext,
        security_headers::no_store,
    },
    rate_limit::{Exceeded, RateLimiter},
};

/// The parts of the API that the handlers of sessions need.
#[derive(Clone)]
pub(crate) struct Sessions {
    accounts: Accounts,
    authenticator: Authenticator,
    failure_limiter: Arc<AuthFailureLimiter>,
    only_local_hosts: bool,
    rate_limiter: Arc<RateLimiter>,
    refresh_cookie: RefreshCookie,
}

impl FromRef<App> for Sessions {
    fn from_ref(app: &App) -> Self {
        Self {
            accounts: app.accounts.clone(),
            authenticator: app.authenticator.clone(),
            failure_limiter: Arc::clone(&app.failure_limiter),
            only_local_hosts: app.only_local_hosts,
            rate_limiter: Arc::clone(&app.rate_limiter),
            refresh_cookie: app.refresh_cookie.clone(),
        }
    }
}

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
    /// The token. Send it as `Authorization: Bearer ...`.
    access_token: String,
    /// Always `bearer`.
    #[schema(example = "bearer")]
    token_type: &'static str,
    /// The lifetime of the token, in seconds.
    #[schema(example = 900)]
    expires_in: u64,
}

/// Signs in with a password.
///
/// The answer sets the cookie `paddock_refresh`, which `POST /auth/refresh` needs. A page over plain
/// HTTP that could not keep this cookie gets the problem `insecure-page`.
#[utoipa::path(
    post, path = "/auth/login", operation_id = "login", tag = "auth", request_body = Credentials,
    responses(
        (status = 200, description = "The session has begun.", body = AccessToken,
         headers(("Set-Cookie" = String, description = "The refresh token: `paddock_refresh`, `HttpOnly`, `SameSite=Strict`, for `/auth` only."))),
        CommonErrors, BodyErrors, WrongPasswordResponse, SignInsLockedResponse
    )
)]
pub(crate) async fn login(
    State(sessions): State<Sessions>,
    mut caller: Anonymous,
    Extension(context): Extension<RequestContext>,
    _: NoQuery,
    headers: HeaderMap,
    body: LazyBody,
) -> Result<Response, ApiError> {
    sessions.refresh_cookie.check_page(&headers)?;
    let Credentials { username, password } = body.json(&mut caller).await?;
    let attempt = sessions.failure_limiter.begin_sign_in(context.ip)?;
    // Another process may have set the development password in this database. Unless only local
    // hosts are served, it is treated as a wrong password, which takes as long to verify.
    let password = if password == DEV_PASSWORD && !sessions.only_local_hosts { String::new() } else { password };
    let login = with_db_timeout(sessions.accounts.sessions().login(&caller.0, &username, password.into())).await;
    // A failed sign-in keeps its token. If the password was not verified, the token is refunded.
    if !matches!(login, Err(DbError::Failed(Error::WrongPassword | Error::LoginLocked { .. }))) {
        attempt.refund();
    }
    Ok(signed_in(&sessions, &login?, &headers))
}

/// Refreshes a session: exchanges the cookie for an access token and a new cookie.
///
/// A refresh token is valid once. Within 30 seconds it may be used once more, for a second tab or a
/// lost answer; any later use ends its session. The request counts against the limit of the user. A request over the limit is refused, and the refresh token stays valid.
#[utoipa::path(
    post, path = "/auth/refresh", operation_id = "refresh", tag = "auth",
    responses(
        (status = 200, description = "The session is refreshed.", body = AccessToken,
         headers(("Set-Cookie" = String, description = "The next refresh token."))),
        CommonErrors, OptionalBodyErrors, NoSessionResponse, ForeignOriginResponse, RefreshLimitedResponse
    ),
    security(("refresh_cookie" = []))
)]
pub(crate) async fn refresh(
    State(sessions): State<Sessions>,
    Anonymous(audit): Anonymous,
    Extension(context): Extension<RequestContext>,
    _: NoQuery,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let Some(token) = sessions.refresh_cookie.token(&headers)? else { return Ok(no_session(&sessions, &headers)) };
    let attempt = sessions.failure_limiter.begin(context.ip, AttemptKind::Cookie, || true)?;
    let login = with_db_timeout(refresh_session(&sessions, &audit, &context, &token)).await;
    if let Ok(Ok(None)) = login {
        attempt.consume()?;
        return Ok(no_session(&sessions, &headers));
    }
    attempt.refund();
    let login = login?.map_err(AuthError::Limited)?;
    Ok(login.map_or_else(|| no_session(&sessions, &headers), |login| signed_in(&sessions, &login, &headers)))
}

/// Refreshes the session of a token, if the token is valid and the user's limit allows the request.
/// `None`: there is no such session.
async fn refresh_session(
    sessions: &Sessions,
    audit: &AuditContext,
    context: &RequestContext,
    token: &SecretString,
) -> Result<Result<Option<Login>, Exceeded>, Error> {
    let Some(refreshing) = sessions.accounts.sessions().check_refresh_token(audit, token).await? else {
        return Ok(Ok(None));
    };
    let (limiter, status) = (&sessions.rate_limiter, &context.rate_limit_status);
    match limiter.admit_session(refreshing.user(), refreshing.limits(), status).await {
        Ok(()) => sessions.accounts.sessions().refresh(audit, &refreshing).await.map(Ok),
        Err(exceeded) => Ok(Err(exceeded)),
    }
}

fn no_session(sessions: &Sessions, request: &HeaderMap) -> Response {
    let problem = ApiError::new(Kind::Unauthenticated, "there is no session to go on with: sign in");
    ([(header::SET_COOKIE, sessions.refresh_cookie.clear(request))], problem).into_response()
}

fn signed_in(sessions: &Sessions, login: &Login, request: &HeaderMap) -> Response {
    let token = AccessToken {
        access_token: login.access_token.expose_secret().to_owned(),
        token_type: "bearer",
        expires_in: login.expires_in.as_secs(),
    };
    let cookie = sessions.refresh_cookie.set(&login.refresh_token, login.refresh_expires_in, request);
    no_store(([(header::SET_COOKIE, cookie)], Json(token)))
}

/// The result of a sign-out.
#[derive(Serialize, ToSchema)]
#[schema(as = Farewell)]
pub(crate) struct LogoutResponse {
    /// The result, as text.
    #[schema(example = "signed out")]
    message: &'static str,
}

/// The query of a sign-out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutOptions {
    /// Whether to end every session of the user.
    #[serde(default, deserialize_with = "parsed")]
    all: Option<bool>,
}

/// Signs out: ends the session of the access token or of the cookie, and removes the cookie.
#[utoipa::path(
    post, path = "/auth/logout", operation_id = "logout", tag = "auth",
    params(("all" = Option<bool>, Query, description = "Whether to end every session of the user.")),
    responses(
        (status = 200, description = "The session has ended, if there was any.", body = LogoutResponse,
         headers(("Set-Cookie" = String, description = "Removes the cookie `paddock_refresh`."))),
        CommonErrors, OptionalBodyErrors, ForeignOriginResponse, WrongCookiesResponse
    ),
    security((), ("bearer" = []), ("refresh_cookie" = []))
)]
pub(crate) async fn logout(
    State(sessions): State<Sessions>,
    Anonymous(audit): Anonymous,
    Extension(context): Extension<RequestContext>,
    query: Query,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    let LogoutOptions { all } = query.read()?;
    let all = all == Some(true);
    let cookie = sessions.refresh_cookie.token(&headers)?;
    let is_authenticated = end_by_token(&sessions, &audit, &headers, &context, all).await?;
    if let Some(token) = cookie {
        // The cookie of a session that has just ended is not a guess.
        let attempt = sessions.failure_limiter.begin(context.ip, AttemptKind::Cookie, || !is_authenticated)?;
        let ended = with_db_timeout(sessions.accounts.sessions().logout_by_refresh_token(&audit, &token, all)).await;
        if !is_authenticated && matches!(ended, Ok(false)) {
            // The client is signed out either way, so a throttled attempt is not an error.
            let _ = attempt.consume();
        } else {
            attempt.refund();
        }
        ended?;
    }
    let response = Json(LogoutResponse { message: "signed out" });
    Ok(([(header::SET_COOKIE, sessions.refresh_cookie.clear(&headers))], response).into_response())
}

/// Ends the session of an access token, or every session of its user. Returns whether the request
/// has a valid access token.
async fn end_by_token(
    sessions: &Sessions,
    audit: &AuditContext,
    headers: &HeaderMap,
    context: &RequestContext,
    all: bool,
) -> Result<bool, ApiError> {
    let caller = match sessions.authenticator.authenticate(headers, context).await {
        Ok(caller) => caller,
        Err(AuthError::Database(error)) => return Err(error.into()),
        Err(_) => return Ok(false),
    };
    let principal = caller.principal();
    let audit = audit.acting(principal.actor());
    match principal.via {
        AuthMethod::Session { .. } if all => {
            with_db_timeout(sessions.accounts.sessions().logout_everywhere(&audit, principal.user_id)).await?;
        }
        AuthMethod::Session { id } => with_db_timeout(sessions.accounts.sessions().logout(&audit, id)).await?,
        AuthMethod::Key { .. } => return Ok(false),
    }
    Ok(true)
}
