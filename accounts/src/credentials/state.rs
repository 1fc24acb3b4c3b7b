//! The state of a key.

use paddock_store::stored_as_text;

use crate::types::{TextEnum, parse_variant};

/// The state of a key. The owner is not considered: a key of a disabled user is rejected in any
/// state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// Accepted.
    Active,
    /// Accepted, and an earlier secret is accepted too until its grace ends.
    Retiring,
    /// No secret is active yet: the operator is about to deliver the first one.
    Staged,
    /// Its time has passed.
    Expired,
    /// Revoked.
    Revoked,
}

impl TextEnum for KeyState {
    const ALL: &'static [Self] = &[Self::Active, Self::Retiring, Self::Staged, Self::Expired, Self::Revoked];

    fn text(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Staged => "staged",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

stored_as_text!([] KeyState, |state| state.text().to_owned(), |text| Ok(parse_variant(text)?));
