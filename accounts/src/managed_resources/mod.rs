//! Users, keys and models that Kubernetes objects own: the operations of the operator.
//!
//! Every operation names the calling object. Every operation except
//! [`ManagedResources::stage_secret`] is idempotent. The row may belong to an object of the same
//! name with another UID:
//!
//! - [`ManagedResources::apply_user`], [`ManagedResources::apply_key`] and
//!   [`ManagedResources::revoke_key`] then fail with
//!   [`Error::UidMismatch`](crate::Error::UidMismatch). The caller asks the API server whether its
//!   object is current, and retries with [`OnUidMismatch::TakeOver`].
//! - [`ManagedResources::stage_secret`] and [`ManagedResources::activate_secret`] fail with the
//!   same error, and cannot take the row over.
//! - [`ManagedResources::discard_undelivered`] fails with the same error, too.
//! - [`ManagedResources::end_key`], [`ManagedResources::release_user`], [`ManagedResources::plan_model_removal`] and
//!   [`ManagedResources::forget_model`] leave the row unchanged.
//! - [`ManagedResources::record_model`] makes the calling object the owner of the row. It needs no
//!   check, because a recorded model grants no rights.

mod keys;
mod models;
mod secrets;
mod uid_check;
mod users;

pub use keys::DesiredKey;
pub use models::{Model, ModelSource, Removal};
pub use secrets::{Activation, MAX_RETIRING, STAGED_LIFETIME, Staged};
pub use uid_check::OnUidMismatch;
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
