//! Connections whose prepared statements are outdated by a change of the schema.
//!
//! PostgreSQL refuses a prepared statement whose result would have other columns than it had when it
//! was prepared: a migration ran, or the database was created again, while the process was connected.
//! The statement stays prepared, so its connection would fail until it is closed.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use sqlx::postgres::PgDatabaseError;

/// When a statement was last refused. Connections that were opened before are outdated.
static LAST_REFUSED: Mutex<Option<Instant>> = Mutex::new(None);

/// The function of PostgreSQL that refuses an outdated statement.
const ROUTINE: &str = "RevalidateCachedQuery";

/// Whether PostgreSQL refused an outdated statement. If so, remembers that all present connections
/// are outdated.
pub(crate) fn note(error: &sqlx::Error) -> bool {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    let is_outdated = database.is_some_and(|error| error.code() == "0A000" && error.routine() == Some(ROUTINE));
    if is_outdated {
        *LAST_REFUSED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
    is_outdated
}

/// Whether a connection that was opened then may have outdated statements.
pub(crate) fn affect(opened: Instant) -> bool {
    LAST_REFUSED.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|refused| opened <= refused)
}
