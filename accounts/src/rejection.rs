//! Why a credential is rejected.

/// Why a credential is rejected. Clients get the same answer for each reason; logs and metrics tell
/// them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// Neither a well-formed API key nor an access token of ours.
    Malformed,
    /// The key does not exist.
    Unknown,
    /// The credential has expired.
    Expired,
    /// The credential was revoked or replaced by a rotation.
    Revoked,
    /// Its owner is disabled.
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
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::SessionEnded => "session_ended",
        }
    }
}
