//! The error of opening a database.

use std::{io, path::PathBuf, time::Duration};

use super::{diagnosis::ConnectDiagnosis, file_access};
use crate::error::Error;

/// The reason why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no supported engine, or is malformed.
    #[error("DATABASE_URL {0}; use postgres://user:password@host:5432/name or sqlite:paddock.db")]
    Url(String),
    /// The schema is older than this executable.
    #[error("the database is {by} migration(s) behind this executable: run `paddock migrate` first")]
    Behind {
        /// The number of missing migrations.
        by: usize,
    },
    /// Another process serves the file.
    #[error("another paddock serves {0}, and a SQLite file has one server at a time: stop that one first")]
    Locked(PathBuf),
    /// Another migration did not end in time.
    #[error(
        "another migration of this database did not end within {limit:?}: the lock is held by {holder}; wait for that migration, or \
         end it if it hangs (on PostgreSQL: SELECT pg_terminate_backend(pid))"
    )]
    MigrationLocked {
        /// The session or the process that holds the lock.
        holder: String,
        /// How long this migration has waited.
        limit: Duration,
    },
    /// PostgreSQL is behind a pooler that gives each transaction another session.
    #[error(
        "PostgreSQL at {place} is behind a pooler that gives each transaction another session, such as PgBouncer with \
         pool_mode = transaction; prepared statements, notifications and locks get lost there: set pool_mode = session, or name \
         the server itself in DATABASE_URL (or DB_HOST and DB_PORT)"
    )]
    Pooler {
        /// The address, the database and the user.
        place: String,
    },
    /// The SQLite file does not exist.
    #[error("{0} does not exist: run `paddock migrate` to create it, or correct DATABASE_URL")]
    Missing(PathBuf),
    /// The SQLite file or its lock file cannot be opened.
    #[error("cannot open {path}: {source}{remedy}", remedy = file_access::remedy(path, source))]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The schema differs from the one that the migrations create.
    #[error("the database does not understand {name}: its schema was changed by hand, or by a newer paddock: {source}")]
    Unfit {
        /// The name of the statement that failed.
        name: &'static str,
        /// The error of the database.
        source: sqlx::Error,
    },
    /// PostgreSQL cannot be used. The diagnosis names the cause and the setting to check.
    #[error(transparent)]
    Unusable(ConnectDiagnosis),
    /// Any other error, such as a database that does not answer.
    #[error(transparent)]
    Open(#[from] Error),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migrate(sqlx::migrate::MigrateError),
}

impl OpenError {
    /// Whether the database may become available later; false if it is misconfigured.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unusable(diagnosis) => diagnosis.is_unavailable(),
            error => matches!(error, Self::Open(Error::Unavailable(_))),
        }
    }
}
