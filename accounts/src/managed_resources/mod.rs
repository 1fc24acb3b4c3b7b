//! Users, keys and models that Kubernetes objects own: the operations of the operator.
//!
//! Every operation is idempotent and names the calling object. If the row belongs to an object of the
//! same name with another UID, it fails with [`Error::UidMismatch`](crate::Error::UidMismatch): the
//! caller checks at the API server that its object is the current one, and retries with
//! [`OnUidMismatch::TakeOver`].

mod keys;
mod models;
mod owner;
mod secrets;
mod users;

pub use keys::DesiredKey;
pub use models::{Model, ModelSource, Removal};
pub use owner::OnUidMismatch;
pub use secrets::Staged;
pub use users::{Adoption, DeletionAction, DesiredUser};

use crate::accounts::Accounts;

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    models::STATEMENTS.iter()
}

/// The operations on rows that Kubernetes objects own.
#[derive(Clone, Copy)]
pub struct ManagedResources<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on rows that Kubernetes objects own.
    #[must_use]
    pub fn managed(&self) -> ManagedResources<'_> {
        ManagedResources { accounts: self }
    }
}
