//! The deadline of database calls within a request.

use std::time::Duration;

use paddock_accounts::Error;
use tokio::time::timeout;

/// How long a request waits for the database in one call. After that the database counts as
/// unavailable.
const DB_TIMEOUT: Duration = Duration::from_millis(4_500);

/// Why a database call returned no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// The call took longer than the deadline. A change may have been made or not.
    #[error("the database did not answer in time")]
    Timeout,
    /// The call failed, in the database or by a rule above it.
    #[error(transparent)]
    Failed(Error),
}

/// Awaits a call of `accounts`, at most until the deadline.
pub(crate) async fn with_db_timeout<T, E: Into<Error>>(call: impl Future<Output = Result<T, E>>) -> Result<T, DbError> {
    match timeout(DB_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(DbError::Failed(error.into())),
        Err(_) => Err(DbError::Timeout),
    }
}
