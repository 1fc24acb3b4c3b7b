//! API keys: one file for each operation.
//!
//! A credential is the lasting key, with its label, scopes and limits. It has secret versions, and
//! each rotation adds one.

mod bulk;
mod change;
pub(crate) mod credential;
mod end_grace;
pub(crate) mod issue;
mod list;
mod overrides;
mod record_expiry;
pub(crate) mod revoke;
mod rotate;
mod search;
pub(crate) mod secrets;
mod state;
pub(crate) mod update;

pub use bulk::KeyFilter;
pub use change::KeyPatch;
pub use credential::Credential;
pub use issue::{Issued, NewKey};
pub use list::{KeyOwner, ListedKey};
use paddock_store::{ids::CredentialId, with_conn};
pub use rotate::DEFAULT_GRACE;
pub use search::{KeyColumn, KeySearch};
pub use secrets::{SecretState, SecretVersion};
pub use state::KeyState;

use crate::{accounts::Accounts, error::Error};

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [
        credential::STATEMENTS,
        record_expiry::STATEMENTS,
        issue::STATEMENTS,
        list::STATEMENTS,
        overrides::STATEMENTS,
        revoke::STATEMENTS,
        secrets::STATEMENTS,
        update::STATEMENTS,
    ]
    .into_iter()
    .flatten()
}

/// The operations on API keys.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on API keys.
    #[must_use]
    pub fn credentials(&self) -> Credentials<'_> {
        Credentials { accounts: self }
    }
}

impl Credentials<'_> {
    /// Finds the credential with this id.
    pub async fn find(self, id: CredentialId) -> Result<Option<Credential>, Error> {
        credential::by_id(self.accounts.reader().await?.conn(), id).await
    }

    /// Lists the secrets of a credential that are not revoked, oldest first.
    pub async fn secrets(self, id: CredentialId) -> Result<Vec<SecretVersion>, Error> {
        let mut reader = self.accounts.reader().await?;
        Ok(with_conn!(reader.conn(), |c| sqlx::query_as(secrets::OF_CREDENTIAL).bind(id).fetch_all(c).await?))
    }
}
