//! Why a request has no principal.

use paddock_accounts::AuthFailure;

use super::failure_limiter::Throttled;
use crate::{
    http::{
        deadline::DbError,
        error::{ApiError, Kind},
    },
    rate_limit::Exceeded,
};

/// Why a request was not authenticated or not admitted.
#[derive(Debug)]
pub(crate) enum AuthError {
    /// The request has no credential.
    Absent,
    /// The request has two different credentials.
    Conflicting,
    /// The credential is not valid. Log and metrics name the reason; the client learns it only if
    /// the credential was valid once.
    Refused(AuthFailure),
    /// The principal exceeds a rate limit.
    Limited(Exceeded),
    /// The address has sent too many wrong credentials.
    Throttled(Throttled),
    /// The database returned no answer.
    Database(DbError),
}

/// The message for [`AuthError::Absent`].
const ABSENT: &str =
    "send an API key or a session's access token as `Authorization: Bearer ...`, or an API key as `X-API-Key: ...`";
/// The message for [`AuthError::Conflicting`].
const CONFLICTING: &str =
    "the headers Authorization and X-API-Key hold two different credentials: send one of them, in one of the headers";
/// The message for [`AuthError::Refused`]: one text for every reason but the end of the credential,
/// so that no client learns which keys exist.
pub(crate) const REFUSED: &str = "the credential is not valid";
/// The message for an expired credential. Only a client that holds the secret gets it.
const EXPIRED: &str = "the credential has expired: use a new one";
/// The message for a revoked or replaced key. Only a client that holds the secret gets it.
const REVOKED: &str = "the key was revoked, or replaced by a rotation whose grace period has ended: use the new key";

/// Returns the message for a refused credential. The failures of an ended credential occur only after
/// its secret or signature was verified.
const fn refusal_message(failure: AuthFailure) -> &'static str {
    match failure {
        AuthFailure::Expired => EXPIRED,
        AuthFailure::Revoked => REVOKED,
        AuthFailure::Malformed
        | AuthFailure::Unknown
        | AuthFailure::WrongSecret
        | AuthFailure::Disabled
        | AuthFailure::SessionEnded => REFUSED,
    }
}

impl AuthError {
    /// The reason in metric labels and log fields.
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Conflicting => "conflicting",
            Self::Refused(reason) => reason.text(),
            Self::Limited(_) => "limited",
            Self::Throttled(_) => "throttled",
            Self::Database(_) => "unanswered",
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Absent => Self::new(Kind::Unauthenticated, ABSENT).with_code("absent"),
            AuthError::Conflicting => Self::new(Kind::ConflictingCredentials, CONFLICTING).with_code("conflicting"),
            AuthError::Refused(failure) => {
                Self::new(Kind::Unauthenticated, refusal_message(failure)).with_code("invalid_api_key")
            }
            AuthError::Limited(exceeded) => Self::new(Kind::RateLimited, exceeded.message())
                .with_code("rate_limit_exceeded")
                .with_retry_after(exceeded.wait),
            AuthError::Throttled(throttled) => throttled.into(),
            AuthError::Database(error) => error.into(),
        }
    }
}
