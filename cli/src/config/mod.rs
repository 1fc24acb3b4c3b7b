//! What the settings mean together: defaults that depend on each other, files that hold secrets, and the rules that cross
//! fields. Nothing is started before all of it holds.

mod addresses;
mod database;
mod descriptors;
mod secrets;

use paddock_accounts::bootstrap::Seed;

pub(crate) use self::{
    addresses::{
        PORT, base_url, gateway_url, listen_addr, metrics_addr, ollama_url, public_url, redis_url, traces_url,
    },
    database::{Database, audit_head_file, database_url, postgres, session_algorithm, usage_spool_dir},
    descriptors::{max_connections, raise as raise_descriptors},
    secrets::{AUDIT_KEY_SUFFIX, JWT_SECRET_SUFFIX, Signing, look_for_signing_secret, random, secret},
};
use crate::{
    failure::Failure,
    settings::{CommonSettings, Environment, SeedSettings},
};

/// The environment: as set, or local outside of a pod.
pub(crate) fn environment(settings: &CommonSettings) -> Result<Environment, Failure> {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    match settings.environment {
        Some(environment) => Ok(environment),
        None if in_pod => Err(Failure::config(
            "ENVIRONMENT is not set, and this is a pod: set ENVIRONMENT=prod (or local for a try-out with no protection)",
        )),
        None => Ok(Environment::Local),
    }
}

/// How to seed.
pub(crate) fn seed(settings: &SeedSettings) -> Result<Seed, Failure> {
    let password = secret(
        "ADMIN_BOOTSTRAP_PASSWORD",
        settings.admin_bootstrap_password.as_ref(),
        settings.admin_bootstrap_password_file.as_deref(),
    )?;
    Ok(Seed { password, force: settings.admin_bootstrap_password_force })
}
