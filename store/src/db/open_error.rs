//! Why a database cannot be opened.

use std::path::PathBuf;

use super::diagnosis::ConnectDiagnosis;
use crate::error::Error;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no engine of ours, or is not well formed.
    #[error("DATABASE_URL {0}; use postgres://user:password@host:5432/name or sqlite:paddock.db")]
    Url(String),
    /// The schema is older than this executable.
    #[error("the database is {by} migration(s) behind this executable: run `paddock migrate` first")]
    Behind {
        /// By so many.
        by: usize,
    },
    /// Another process serves the file.
    #[error("another paddock serves {0}, and a SQLite file has one server at a time: stop that one first")]
    Locked(PathBuf),
    /// There is no such file.
    #[error("{0} does not exist: run `paddock migrate` to create it, or correct DATABASE_URL")]
    Missing(PathBuf),
    /// The file or its lock cannot be opened.
    #[error("cannot open {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The schema is not the one its migrations make.
    #[error("the database does not understand {name}: its schema was changed by hand, or by a newer paddock: {source}")]
    Unfit {
        /// The statement.
        name: &'static str,
        /// What the database says.
        source: sqlx::Error,
    },
    /// PostgreSQL cannot be used: where, why, and what to check.
    #[error(transparent)]
    Unusable(ConnectDiagnosis),
    /// The database does not answer.
    #[error(transparent)]
    Open(#[from] Error),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migrate(sqlx::migrate::MigrateError),
}

impl OpenError {
    /// Whether waiting may help: the database is unavailable, rather than misconfigured.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unusable(diagnosis) => diagnosis.is_unavailable(),
            error => matches!(error, Self::Open(Error::Unavailable(_))),
        }
    }
}
