//! The check of the UID in a row against the UID of the calling object.

use crate::{error::Error, types::ManagedBy};

/// What to do if the row belongs to an object of the same name with another UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUidMismatch {
    /// Fail with [`Error::UidMismatch`].
    Reject,
    /// Take the row over. The caller has checked that its object is the current one.
    TakeOver,
}

/// Fails if the row belongs to an object with another UID that may not be replaced.
pub(super) fn check_uid(
    current: Option<&ManagedBy>,
    owner: &ManagedBy,
    on_mismatch: OnUidMismatch,
) -> Result<(), Error> {
    match current {
        Some(other) if other.uid != owner.uid && on_mismatch == OnUidMismatch::Reject => {
            Err(Error::UidMismatch(other.clone()))
        }
        _ => Ok(()),
    }
}
