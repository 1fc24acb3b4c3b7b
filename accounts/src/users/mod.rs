//! Users: one file for each operation.

pub(crate) mod create;
pub(crate) mod last_admin;
mod list;
pub(crate) mod update;
pub(crate) mod user;

pub use create::{Created, NewUser};
pub use last_admin::AdminBlocker;
pub use list::{RoleFilter, UserColumn, UserSearch};
use paddock_store::ids::UserId;
pub use update::UserPatch;
pub use user::User;

use crate::{accounts::Accounts, error::Error, types::Email};

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [last_admin::STATEMENTS, create::STATEMENTS, list::STATEMENTS, update::STATEMENTS, user::STATEMENTS]
        .into_iter()
        .flatten()
}

/// The operations on users.
#[derive(Clone, Copy)]
pub struct Users<'a> {
    pub(crate) accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on users.
    #[must_use]
    pub fn users(&self) -> Users<'_> {
        Users { accounts: self }
    }
}

impl Users<'_> {
    /// Finds the user with this id, unless it is deleted.
    pub async fn find(self, id: UserId) -> Result<Option<User>, Error> {
        user::by_id(self.accounts.reader().await?.conn(), id).await
    }

    /// Finds the user with this e-mail address.
    pub async fn find_by_email(self, email: &Email) -> Result<Option<User>, Error> {
        user::by_email(self.accounts.reader().await?.conn(), email).await
    }
}
