//! The reasons why a credential is rejected.

/// The reason why a credential is rejected. Logs and metrics name it. A client learns it only for a
/// credential that has ended, after its secret was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// The credential is neither a well-formed API key nor a valid access token of Paddock.
    Malformed,
    /// No such key or session user exists.
    Unknown,
    /// The key id exists, and the secret is wrong.
    WrongSecret,
    /// The credential has expired.
    Expired,
    /// The credential was revoked or replaced by a rotation.
    Revoked,
    /// The owner of the credential is disabled.
    Disabled,
    /// The session has ended.
    SessionEnded,
}

impl AuthFailure {
    /// The value of metric labels and log fields.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::WrongSecret => "wrong_secret",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::SessionEnded => "session_ended",
        }
    }
}
