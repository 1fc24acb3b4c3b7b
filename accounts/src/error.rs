//! What can go wrong, without a word of HTTP or Kubernetes.

use std::time::Duration;

use crate::{access::Denied, credentials::CredentialId, managed::ManagedBy, users::UserId};

/// One field of a request that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a JSON pointer into what was asked: `/email`.
    pub pointer: String,
    /// The rule, and where it helps a right value.
    pub detail: String,
}

impl Violation {
    /// A field and its rule.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields break rules.
    #[error("{}", .0.iter().map(|v| format!("{} {}", v.pointer, v.detail)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// No such user, or it is deleted.
    #[error("user {0} does not exist")]
    NoUser(UserId),
    /// No such credential.
    #[error("credential {0} does not exist")]
    NoCredential(CredentialId),
    /// The address belongs to another user.
    #[error("User exists: the e-mail address belongs to user {0}")]
    EmailTaken(UserId),
    /// The external id belongs to a user with another address.
    #[error("external_id belongs to user {0}, whose e-mail address is another")]
    ExternalIdTaken(UserId),
    /// Without this user nobody could administer.
    #[error(
        "this is the last admin who can act, that is, is active and not limited to 0 requests: make another user an admin first"
    )]
    LastAdmin,
    /// A Kubernetes object owns what was to be edited.
    #[error("managed by {kind} {owner}: change the object instead")]
    Managed {
        /// The object's kind.
        kind: &'static str,
        /// The object.
        owner: ManagedBy,
    },
    /// A row of that owner's name belongs to another life of the object: the caller must make sure that its own is the
    /// present one.
    #[error("{0} was applied by an object with another uid ({uid})", uid = .0.uid)]
    Fenced(ManagedBy),
    /// The credential is revoked.
    #[error("credential {0} is revoked: issue a new one")]
    Revoked(CredentialId),
    /// The secret is not staged, so it cannot be made active.
    #[error("the secret is not staged any more")]
    NotStaged,
    /// The key that asks may not give so much: it, or its owner, has less. Each line names a field and its bound.
    #[error("this API key cannot give more than it has: {}", .0.join("; "))]
    Beyond(Vec<String>),
    /// The one who asks may not do it to such a user.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The user may not act, so that a key of it would count for nothing.
    #[error("user {0} is disabled: enable it before you issue a key for it")]
    Disabled(UserId),
    /// The credential's time is over.
    #[error("credential {0} has expired; issue another one")]
    Expired(CredentialId),
    /// Wrong user name or password, or no such user, or one that may not sign in: which one is nobody's business.
    #[error("wrong user name or password")]
    WrongPassword,
    /// Too many sign-ins of this account failed from this address: this one was not judged.
    #[error("too many sign-ins of this account failed from your address")]
    LoginLocked {
        /// When to come back.
        retry_after: Duration,
    },
    /// Too much hashing at once.
    #[error("too many sign-ins at once")]
    Busy {
        /// When to come back.
        retry_after: Duration,
    },
    /// The store was opened only to read.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The process is stopping; nothing was changed.
    #[error("stopping")]
    Stopping,
    /// The audit row could not be written, so nothing was changed.
    #[error("the audit log cannot be written")]
    Audit(#[source] sqlx::Error),
    /// The log is sealed under another key, so it was not written on, and nothing was changed.
    #[error(
        "AUDIT_SIGNING_KEY is not the key that the audit log of this database is sealed under, and a row under another one would \
         break it for good: bring back the key it was served with (in local on SQLite the file <database>.audit-key)"
    )]
    OtherKey,
    /// The database is away.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The database went away while it committed: nobody knows whether the change was made.
    #[error("the database went away during a commit")]
    InDoubt(#[source] sqlx::Error),
    /// The database refused a statement: a defect.
    #[error("database error")]
    Database(#[source] sqlx::Error),
    /// A stored hash or a signing operation made no sense: a defect, or someone edited the database.
    #[error("{0}")]
    Corrupt(String),
}

impl Error {
    /// One field that breaks a rule.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(pointer, detail)])
    }

    /// Whether another transaction came first, so that running again may end otherwise.
    pub(crate) fn is_race(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(database)) => {
                database.is_unique_violation()
                    // Serialization failure, deadlock detected.
                    || database.code().is_some_and(|code| code == "40001" || code == "40P01")
            }
            _ => false,
        }
    }

    /// A failure of the commit itself.
    pub(crate) fn commit(error: sqlx::Error) -> Self {
        if may_have_committed(&error) { Self::InDoubt(error) } else { Self::audit(error) }
    }

    /// A failure while the audit event was written: whatever it was, nothing changed.
    pub(crate) fn audit(error: sqlx::Error) -> Self {
        if is_away(&error) { Self::Unavailable(error) } else { Self::Audit(error) }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// The SQLSTATEs, by how they begin, of a database that cannot serve at the moment: connection exception, read-only
/// transaction (a standby), invalid authorization and no such database (while passwords and servers change places),
/// insufficient resources, no connections allowed, operator intervention, system error.
const POSTGRES_AWAY: [&str; 8] = ["08", "25006", "28", "3D000", "53", "55000", "57", "58"];
/// Primary result codes: busy, read-only, input/output error, full disk, cannot open.
const SQLITE_AWAY: [u16; 5] = [5, 8, 10, 13, 14];

/// Whether a commit that ended so may have happened: its answer was lost, or the disk failed under it. One for which there
/// was no room, or no lock, has not.
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
    is_away(error) && !refused
}

/// Whether the database, rather than the statement, is to blame.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| match code.len() {
            5 => POSTGRES_AWAY.iter().any(|away| code.starts_with(away)),
            _ => code.parse::<u16>().is_ok_and(|code| SQLITE_AWAY.contains(&(code & 0xff))),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_whose_answer_is_lost_is_in_doubt_and_one_that_is_refused_is_not() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(Error::commit(lost), Error::InDoubt(_)));
        assert!(matches!(Error::commit(sqlx::Error::WorkerCrashed), Error::InDoubt(_)));
        assert!(matches!(Error::commit(sqlx::Error::RowNotFound), Error::Audit(_)));
        // The same failure before the commit has changed nothing.
        assert!(matches!(Error::audit(sqlx::Error::WorkerCrashed), Error::Unavailable(_)));
    }
}
