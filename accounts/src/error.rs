//! The errors of the rules, without a word of HTTP or Kubernetes.

use std::time::Duration;

use paddock_store::{
    LostRace,
    ids::{CredentialId, PullJobId, UserId},
};

use crate::types::{ManagedBy, Role, Scope, Scopes, TextEnum as _, Violation};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields break rules.
    #[error("{}", .0.iter().map(|v| format!("{} {}", v.pointer, v.detail)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// The user does not exist or is deleted.
    #[error("user {0} does not exist")]
    NoUser(UserId),
    /// The credential does not exist.
    #[error("credential {0} does not exist")]
    NoCredential(CredentialId),
    /// The pull does not exist, or was removed some time after its end.
    #[error("pull {0} does not exist")]
    NoPullJob(PullJobId),
    /// The e-mail address belongs to another user.
    #[error("User exists: the e-mail address belongs to user {0}")]
    EmailTaken(UserId),
    /// The external id belongs to a user with another e-mail address.
    #[error("external_id belongs to user {0}, whose e-mail address is another")]
    ExternalIdTaken(UserId),
    /// Without this user there would be no admin.
    #[error(
        "this is the last admin who can act, that is, is active and not limited to 0 requests: make another user an admin first"
    )]
    LastAdmin,
    /// A Kubernetes object owns the row.
    #[error("managed by {kind} {owner}: change the object instead")]
    Managed {
        /// The kind of the object.
        kind: &'static str,
        /// The object.
        owner: ManagedBy,
    },
    /// The row belongs to an object of the same name with another UID. Check that yours is current,
    /// then retry with
    /// [`OnUidMismatch::TakeOver`](crate::managed_resources::OnUidMismatch::TakeOver).
    #[error("{0} was applied by an object with another uid ({uid})", uid = .0.uid)]
    UidMismatch(ManagedBy),
    /// The credential is revoked.
    #[error("credential {0} is revoked: issue a new one")]
    Revoked(CredentialId),
    /// The secret is not staged, so it cannot be activated.
    #[error("the secret is not staged any more")]
    NotStaged,
    /// The calling API key has fewer rights than the key it would issue or rotate. Each line names
    /// a field and its bound.
    #[error("this API key cannot give more than it has: {}", .0.join("; "))]
    ExceedsGrant(Vec<String>),
    /// The caller lacks the permission for this operation.
    #[error(transparent)]
    AccessDenied(#[from] AccessDenied),
    /// The user is disabled, so a key of it would be rejected.
    #[error("user {0} is disabled: enable it before you issue a key for it")]
    Disabled(UserId),
    /// The credential has expired.
    #[error("credential {0} has expired; issue another one")]
    Expired(CredentialId),
    /// The sign-in failed. The client does not learn which part was wrong.
    #[error("wrong user name or password")]
    WrongPassword,
    /// Too many sign-ins to this account failed from this address, so this sign-in was not checked.
    #[error("too many sign-ins of this account failed from your address")]
    LoginLocked {
        /// When to retry.
        retry_after: Duration,
    },
    /// The queue of password hashing is full.
    #[error("too many sign-ins at once")]
    Busy {
        /// When to retry.
        retry_after: Duration,
    },
    /// An error of the database or of the audit log.
    #[error(transparent)]
    Store(#[from] paddock_store::Error),
}

/// Why a principal may not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessDenied {
    /// The key lacks the scope.
    #[error("this API key lacks the scope `{}`", .0.text())]
    Scope(Scope),
    /// The user lacks the role.
    #[error("this needs the role `{}`", .0.text())]
    Role(Role),
    /// The key lacks these of all scopes.
    #[error("only a session, or an API key with every scope, makes, changes or deletes an admin: this one lacks {0}")]
    Admins(Scopes),
}

impl Error {
    /// One field that breaks a rule.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(pointer, detail)])
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl LostRace for Error {
    fn is_lost_race(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_lost_race())
    }
}
