//! The password that everybody knows: `--env dev` gives it to the first admin, so that one can sign in at once. It stays in the
//! database, whoever serves that later.

use std::net::SocketAddr;

use paddock_accounts::{
    Accounts, Error,
    bootstrap::{ADMIN_EMAIL, Seed},
    passwords::DEV_PASSWORD,
    types::Email,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{failure::Failure, settings::Environment};

/// Whether it is to be set.
pub(crate) fn is_asked_for(seed: &Seed) -> bool {
    seed.password.as_ref().is_some_and(|password| password.expose_secret() == DEV_PASSWORD)
}

/// Whether only this machine may be answered, because the first admin has the password. Where others could come, nothing is
/// served: they would sign in with it.
pub(crate) async fn only_local_hosts(
    accounts: &Accounts,
    addr: SocketAddr,
    environment: Environment,
) -> Result<bool, Failure> {
    match is_set(accounts).await {
        // A server may begin before its database does.
        Ok(false) | Err(Error::Store(paddock_store::Error::Unavailable(_))) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(true) if environment == Environment::Local && addr.ip().is_loopback() => Ok(true),
        Ok(true) => Err(Failure::config(format!(
            "{ADMIN_EMAIL} has the password `{DEV_PASSWORD}` of `paddock run --env dev`, which everybody knows, and is to be served \
             to others than this machine: set another one with `paddock user set-password {ADMIN_EMAIL} --local`"
        ))),
    }
}

async fn is_set(accounts: &Accounts) -> Result<bool, Error> {
    let email = Email::parse(ADMIN_EMAIL).expect("the address is well formed");
    let Some(admin) = accounts.users().find_by_email(&email).await? else { return Ok(false) };
    accounts.passwords().matches(admin.id, &SecretString::from(DEV_PASSWORD)).await
}
