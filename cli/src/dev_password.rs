//! The first admin's password with `--env dev`, which is public. It stays in the database, so every
//! server checks for it: it may only be used on this machine.

use std::net::SocketAddr;

use paddock_accounts::{
    Accounts,
    bootstrap::{ADMIN_EMAIL, Seed},
    passwords::DEV_PASSWORD,
    types::Email,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{error::Error, settings::Environment};

/// Whether the seed would set it.
pub(crate) fn is_requested(seed: &Seed) -> bool {
    seed.password.as_ref().is_some_and(|password| password.expose_secret() == DEV_PASSWORD)
}

/// Whether the server must answer only local hosts, because the first admin has the dev password.
/// Fails if `addr` can be reached from other machines, or in prod.
pub(crate) async fn require_local_hosts(
    accounts: &Accounts,
    addr: SocketAddr,
    environment: Environment,
) -> Result<bool, Error> {
    match is_in_use(accounts).await {
        // A server may start before its database.
        Ok(false) | Err(paddock_accounts::Error::Store(paddock_store::Error::Unavailable(_))) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(true) if environment == Environment::Local && addr.ip().to_canonical().is_loopback() => Ok(true),
        Ok(true) => Err(Error::config(format!(
            "{ADMIN_EMAIL} has the password `{DEV_PASSWORD}` of `paddock run --env dev`, which everybody knows, so a \
             server with it may only listen on 127.0.0.1, with ENVIRONMENT=local: set another password with `paddock user set-password {ADMIN_EMAIL} --local`"
        ))),
    }
}

async fn is_in_use(accounts: &Accounts) -> Result<bool, paddock_accounts::Error> {
    let email = Email::parse(ADMIN_EMAIL).expect("the address is well formed");
    let Some(admin) = accounts.users().find_by_email(&email).await? else { return Ok(false) };
    accounts.passwords().matches(admin.id, &SecretString::from(DEV_PASSWORD)).await
}
