//! The errors of the store.

use crate::outdated_statements;

/// An error of the database or of the audit log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store was opened read-only.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The process is stopping. Nothing changed.
    #[error("stopping")]
    Stopping,
    /// The audit row could not be written. Nothing changed.
    #[error("the audit log cannot be written")]
    Audit(#[source] sqlx::Error),
    /// The audit log is sealed with another key. Nothing was appended, and nothing changed.
    #[error(
        "AUDIT_SIGNING_KEY is not the key that the audit log of this database is sealed under, and a row under another one would \
         break it for good: bring back the key it was served with (in local on SQLite the file <database>.audit-key)"
    )]
    SigningKeyMismatch,
    /// The database is not available.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The connection broke during a commit. The change may or may not have been made.
    #[error("the database went away during a commit")]
    InDoubt(#[source] sqlx::Error),
    /// The database rejected a statement: a defect of Paddock.
    #[error("database error")]
    Database(#[source] sqlx::Error),
    /// A stored value is invalid: a defect of Paddock, or a manual edit of the database.
    #[error("{0}")]
    Corrupt(String),
}

impl Error {
    /// Whether another transaction interfered, so that a retry may succeed.
    #[must_use]
    pub fn is_race(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(database)) => {
                database.is_unique_violation()
                    // Serialization failure, deadlock detected.
                    || database.code().is_some_and(|code| code == "40001" || code == "40P01")
            }
            _ => false,
        }
    }

    /// Maps the error of a failed commit.
    pub(crate) fn commit(error: sqlx::Error) -> Self {
        if may_have_committed(&error) { Self::InDoubt(error) } else { Self::audit(error) }
    }

    /// Maps the error of an audit row that could not be written. Nothing changed.
    pub(crate) fn audit(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::Unavailable(error) } else { Self::Audit(error) }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// Prefixes of the SQLSTATEs of a database that is unavailable: connection exception, read-only
/// transaction (a standby), invalid authorization and unknown database (while passwords or servers
/// are rotated), insufficient resources, object not in prerequisite state, operator intervention,
/// and system error.
const POSTGRES_UNAVAILABLE: [&str; 8] = ["08", "25006", "28", "3D000", "53", "55000", "57", "58"];
/// Primary SQLite result codes of an unavailable database: busy, read-only, I/O error, full disk,
/// and cannot open.
const SQLITE_UNAVAILABLE: [u16; 5] = [5, 8, 10, 13, 14];

/// Whether a failed commit may have taken effect: its reply was lost, or the disk failed. A commit
/// that the database refused, for lack of space or a lock, has no effect.
fn may_have_committed(error: &sqlx::Error) -> bool {
    const POSTGRES_REFUSED: &str = "53";
    const SQLITE_REFUSED: [u16; 3] = [5, 8, 13];
    let refused = match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| match code.len() {
            5 => code.starts_with(POSTGRES_REFUSED),
            _ => code.parse::<u16>().is_ok_and(|code| SQLITE_REFUSED.contains(&(code & 0xff))),
        }),
        _ => false,
    };
    is_unavailable(error) && !refused
}

/// Whether a later attempt may succeed: the database is unavailable, or the schema has changed under
/// an open connection, which is not used again.
fn is_passing(error: &sqlx::Error) -> bool {
    outdated_statements::note(error) || is_unavailable(error)
}

/// Whether the error means that the database is unavailable, rather than that the statement is
/// wrong.
fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| match code.len() {
            5 => POSTGRES_UNAVAILABLE.iter().any(|prefix| code.starts_with(prefix)),
            _ => code.parse::<u16>().is_ok_and(|code| SQLITE_UNAVAILABLE.contains(&(code & 0xff))),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_whose_reply_is_lost_is_in_doubt_and_a_refused_one_is_not() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(Error::commit(lost), Error::InDoubt(_)));
        assert!(matches!(Error::commit(sqlx::Error::WorkerCrashed), Error::InDoubt(_)));
        assert!(matches!(Error::commit(sqlx::Error::RowNotFound), Error::Audit(_)));
        // The same failure before the commit changes nothing.
        assert!(matches!(Error::audit(sqlx::Error::WorkerCrashed), Error::Unavailable(_)));
    }
}
