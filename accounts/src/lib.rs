//! The rules of Paddock: users, passwords, API keys, sessions, access, pulls and usage.
//!
//! [`Accounts`] is the handle. Its views, such as [`Accounts::users`], hold the operations. The
//! database and the audit log are in `paddock-store`. This crate knows nothing of HTTP, Kubernetes
//! or Ollama.

pub mod access;
mod accounts;
mod auth_failure;
mod authenticate;
pub mod bootstrap;
mod cache;
pub mod credentials;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz_properties;
mod hasher;
mod list_query;
mod login_throttle;
pub mod managed_resources;
pub mod models;
mod open;
pub mod passwords;
mod presented_credential;
pub mod pulls;
pub mod sessions;
pub mod types;
pub mod usage;
mod user_deletion;
pub mod users;

pub use accounts::Accounts;
pub use auth_failure::AuthFailure;
pub use authenticate::Authentication;
pub use error::Error;
pub use list_query::Sort;
pub use paddock_store::ids::{CredentialId, PullJobId, SecretId, SessionId, UserId};
pub use presented_credential::{Authenticated, PresentedCredential};
pub use types::Violation;

/// All named statements. Opening a database prepares each of them.
pub fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [authenticate::STATEMENTS, bootstrap::STATEMENTS, user_deletion::STATEMENTS, login_throttle::STATEMENTS]
        .into_iter()
        .flatten()
        .chain(paddock_store::all_statements())
        .chain(credentials::statements())
        .chain(managed_resources::statements())
        .chain(models::STATEMENTS)
        .chain(passwords::statements())
        .chain(pulls::statements())
        .chain(sessions::statements())
        .chain(usage::statements())
        .chain(users::statements())
}
