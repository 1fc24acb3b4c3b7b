//! Errors of the management API: RFC 9457 problem details, from one closed list of kinds.

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use paddock_accounts::{Error, Violation};
use serde::Serialize;
use utoipa::ToSchema;

use super::{deadline::DbError, error_chain::causes, request_context::RequestContext};
use crate::rate_limit::headers::whole_seconds;

/// The `Retry-After` of an unavailable database.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many violations one response names. A request can have a hundred thousand.
pub(crate) const MAX_VIOLATIONS: usize = 20;

macro_rules! kinds {
    ($(#[doc = $meaning:literal] $name:ident = $status:ident, $slug:literal, $title:literal, $remedy:literal;)+) => {
        /// The kinds of problem. `type` is `/problems/<slug>`, which leads to a page that tells of the kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $(#[doc = $meaning] $name,)+ }

        impl Kind {
            /// Every kind.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),+];

            const fn parts(self) -> (StatusCode, &'static str, &'static str) {
                match self { $(Self::$name => (StatusCode::$status, $slug, $title),)+ }
            }

            /// The meaning, in one sentence.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What the client can do about it.
            pub(crate) const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

kinds! {
    /// The request cannot be read.
    Malformed = BAD_REQUEST, "malformed", "Malformed request",
        "Mend what `detail` names: mostly, send valid JSON.";
    /// Two credentials that are not the same.
    ConflictingCredentials = BAD_REQUEST, "conflicting-credentials", "Conflicting credentials",
        "Send one credential.";
    /// No credential, or one that does not count.
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "Authentication required",
        "Send a valid credential, or sign in again.";
    /// The sign-in was refused.
    WrongPassword = UNAUTHORIZED, "wrong-password", "Wrong user name or password",
        "Try again. The answer is the same for users that are unknown, disabled or without a password.";
    /// Known, and not allowed.
    Forbidden = FORBIDDEN, "forbidden", "Not allowed",
        "Ask for the role or scopes that `detail` names. The refusal is in the audit log.";
    /// There is no such thing.
    NotFound = NOT_FOUND, "not-found", "Not found",
        "Look at the path and the id.";
    /// The path takes other methods.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed",
        "Use a method that the header `Allow` lists.";
    /// The body did not come.
    BodyTimeout = REQUEST_TIMEOUT, "body-timeout", "The body took too long",
        "Send the body faster: a piece every 10 seconds at least.";
    /// The address or external id is another user's.
    UserExists = CONFLICT, "user-exists", "User exists",
        "Use another address, or the `external_id` that belongs to this one.";
    /// The user may not act, so that it can be given no key.
    UserDisabled = CONFLICT, "user-disabled", "User disabled",
        "Enable the user first.";
    /// Nobody could administer any more.
    LastAdmin = CONFLICT, "last-admin", "Last admin",
        "Make another user an admin first.";
    /// A Kubernetes object owns it.
    Managed = CONFLICT, "managed", "Managed by Kubernetes",
        "Change the Kubernetes object that `detail` names.";
    /// The key is revoked.
    Revoked = CONFLICT, "revoked", "Credential revoked",
        "Issue a new key.";
    /// The key has expired.
    Expired = CONFLICT, "expired", "Credential expired",
        "Issue a new key.";
    /// More bytes than are taken.
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "Body too large",
        "Send less: at most 1 MiB, and 16 KiB where no credential is needed.";
    /// Not JSON by its own word.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type",
        "Say `Content-Type: application/json`.";
    /// Fields or parameters break rules.
    Invalid = UNPROCESSABLE_ENTITY, "invalid", "Invalid value",
        "Mend what `errors` names.";
    /// Too many sign-ins failed before it.
    LoginLocked = TOO_MANY_REQUESTS, "login-locked", "Too many failed sign-ins",
        "Come back after `Retry-After` seconds. Sign-ins from other addresses are not held up.";
    /// More requests than a limit allows.
    RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests",
        "Come back after `Retry-After` seconds; `X-RateLimit-Remaining` tells how many requests are left.";
    /// A defect.
    Internal = INTERNAL_SERVER_ERROR, "internal", "Internal error",
        "Report it with its `request_id`, which the log of the server has too.";
    /// The database, or something else without which nothing goes, is away.
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "Not available",
        "Come back after `Retry-After` seconds. `detail` says whether anything can have been changed.";
    /// Too much at once.
    Busy = SERVICE_UNAVAILABLE, "busy", "Busy",
        "Come back after `Retry-After` seconds.";
    /// `/readyz` says no.
    NotReady = SERVICE_UNAVAILABLE, "not-ready", "Not ready",
        "Mend what `detail` names.";
}

impl Kind {
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }

    pub(crate) const fn title(self) -> &'static str {
        self.parts().2
    }

    /// The last segment of `type`.
    pub(crate) const fn slug(self) -> &'static str {
        self.parts().1
    }
}

/// An error response of the management API.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<Violation>,
    retry_after: Option<Duration>,
}

/// The answer to a request that failed, as RFC 9457 defines it. Its content type is `application/problem+json`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// What kind of problem it is: the path of a page that tells of it, whose last word stays the same over versions.
    #[schema(format = "uri-reference", pattern = "^/problems/[a-z-]+$", example = "/problems/invalid")]
    r#type: String,
    /// The kind, for people.
    #[schema(example = "Invalid value")]
    title: &'a str,
    /// The HTTP status again.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// What is wrong with this request, for people.
    detail: &'a str,
    /// The id of the request, as in the header `X-Request-Id`.
    request_id: &'a str,
    /// With status 422: each value that breaks a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError<'a>>,
}

/// A value that breaks a rule.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldError<'a> {
    /// Where it is: a JSON pointer into the body (`/email`), `?` and the name of a query parameter (`?limit`), or the
    /// name of a path parameter in braces (`{id}`).
    #[schema(example = "/email")]
    pointer: &'a str,
    /// The rule.
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// Values that break rules, at most [`MAX_VIOLATIONS`] of them.
    pub(crate) fn invalid(mut errors: Vec<Violation>) -> Self {
        errors.truncate(MAX_VIOLATIONS);
        let detail = errors.iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect::<Vec<_>>();
        Self { errors, ..Self::new(Kind::Invalid, detail.join("; ")) }
    }

    /// The database is unavailable, and nothing was changed.
    pub(crate) fn database_unavailable() -> Self {
        let detail = "the database is not available; nothing was changed";
        Self::new(Kind::Unavailable, detail).with_retry_after(RETRY_AFTER)
    }

    /// The database did not answer in time. A change may have been made or not.
    fn database_timeout() -> Self {
        let detail = "the database did not answer in time; whether a change was made is not known, so look before you \
                      try again";
        Self::new(Kind::Unavailable, detail).with_retry_after(RETRY_AFTER)
    }

    /// A defect. The response tells the client nothing about it.
    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "the server failed; the log has the request id")
    }

    /// Replaces the detail.
    pub(crate) fn with_detail(self, detail: String) -> Self {
        Self { detail: detail.into(), ..self }
    }

    pub(crate) fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Renders the response, which contains the request id.
    pub(crate) fn render(&self, context: &RequestContext) -> Response {
        let (status, slug, title) = self.kind.parts();
        let errors = self.errors.iter().map(|e| FieldError { pointer: &e.pointer, detail: &e.detail }).collect();
        let body = Body {
            r#type: format!("/problems/{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            request_id: context.id_text(),
            errors,
        };
        let text = serde_json::to_vec(&body).expect("a struct of strings is always JSON");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(after));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Puts the problem into the response's extensions. The dispatcher, which knows the request id, renders it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Failed(error) => error.into(),
            DbError::Timeout => {
                tracing::error!("the database did not answer in time");
                Self::database_timeout()
            }
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Invalid(errors) => return Self::invalid(errors),
            Error::Busy { retry_after } => {
                return Self::new(Kind::Busy, "too many sign-ins at once; try again").with_retry_after(retry_after);
            }
            Error::LoginLocked { retry_after } => {
                let detail = "too many sign-ins of this account failed from your address; this one was not judged";
                return Self::new(Kind::LoginLocked, detail).with_retry_after(retry_after);
            }
            Error::Store(
                paddock_store::Error::Unavailable(_)
                | paddock_store::Error::Audit(_)
                | paddock_store::Error::SigningKeyMismatch
                | paddock_store::Error::Stopping,
            ) => {
                log(&error);
                return Self::database_unavailable();
            }
            Error::Store(paddock_store::Error::InDoubt(_)) => {
                log(&error);
                return Self::database_timeout();
            }
            Error::NoUser(_) | Error::NoCredential(_) => Kind::NotFound,
            Error::EmailTaken(_) | Error::ExternalIdTaken(_) => Kind::UserExists,
            Error::LastAdmin => Kind::LastAdmin,
            Error::Managed { .. } => Kind::Managed,
            Error::Revoked(_) => Kind::Revoked,
            Error::Expired(_) => Kind::Expired,
            Error::ExceedsGrant(_) | Error::AccessDenied(_) => Kind::Forbidden,
            Error::Disabled(_) => Kind::UserDisabled,
            Error::WrongPassword => Kind::WrongPassword,
            Error::UidMismatch(_)
            | Error::NotStaged
            | Error::Store(
                paddock_store::Error::ReadOnly | paddock_store::Error::Database(_) | paddock_store::Error::Corrupt(_),
            ) => {
                log(&error);
                return Self::internal();
            }
        };
        Self::new(kind, error.to_string())
    }
}

/// Logs the error and its sources. The client gets one fixed sentence.
fn log(error: &Error) {
    tracing::error!(%error, cause = causes(error), "request failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_slug() {
        let mut slugs: Vec<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), Kind::ALL.len());
    }

    #[test]
    fn a_defect_is_not_described_to_the_client() {
        let problem =
            Problem::from(Error::Store(paddock_store::Error::Corrupt("hash of credential 7 is $argon2id$...".into())));
        assert_eq!(problem.kind, Kind::Internal);
        assert!(!problem.detail.contains("argon2"));
    }
}
