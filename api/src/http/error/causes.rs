//! The map from a cause below the API to the error that the client gets. Logs each failure of
//! Paddock once, with its sources.

use paddock_accounts::Error;
use paddock_store::error_chain;

use super::{ApiError, Kind};
use crate::http::deadline::DbError;

impl From<DbError> for ApiError {
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

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Invalid(violations) => return Self::invalid(violations),
            Error::Busy { retry_after } => {
                return Self::new(Kind::Busy, "too many sign-ins at once; try again")
                    .with_gateway_detail("too many keys are being verified at once")
                    .with_retry_after(retry_after);
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
            Error::NoUser(_) | Error::NoCredential(_) | Error::NoPullJob(_) => Kind::NotFound,
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

/// Logs the error with its sources. The client gets one fixed sentence.
fn log(error: &Error) {
    tracing::error!(error = error_chain(error), "request failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_not_described_to_the_client() {
        let error =
            ApiError::from(Error::Store(paddock_store::Error::Corrupt("hash of credential 7 is $argon2id$...".into())));
        assert_eq!(error.kind(), Kind::Internal);
        assert!(!error.detail.contains("argon2"));
    }
}
