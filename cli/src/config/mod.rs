//! Turns settings into configuration: defaults that depend on other settings, secret files, and
//! rules across settings. Commands resolve all of it before they start anything.

mod addresses;
mod database;
mod database_location;
mod fd_limit;
mod ollama;
mod secrets;

use paddock_accounts::bootstrap::Seed;

pub(crate) use self::{
    addresses::{
        DEFAULT_PORT, gateway_url, listen_addr, local_address, metrics_addr, otlp_url, parse_base_url, public_url,
        redis_url,
    },
    database::{Database, audit_head_file, check_jwt_alg, usage_spool_dir},
    database_location::{open_options, shown as shown_parts},
    fd_limit::{max_connections, raise_fd_limit},
    ollama::{ollama_source, ollama_urls, timeouts},
    secrets::{AUDIT_KEY_SUFFIX, JWT_SECRET_SUFFIX, SecretSource, locate_signing_secret, random_bytes, read_secret},
};
use crate::{
    error::Error,
    settings::{CommonSettings, Environment, SeedSettings},
};

/// The environment: as configured, or local. In a pod it must be configured.
pub(crate) fn environment(settings: &CommonSettings) -> Result<Environment, Error> {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    match settings.environment {
        Some(environment) => Ok(environment),
        None if in_pod => Err(Error::config(
            "ENVIRONMENT is not set, and this is a pod: set it to prod (or to local, for a try-out without protection)",
        )),
        None => Ok(Environment::Local),
    }
}

/// How to create the first admin.
pub(crate) fn seed(settings: &SeedSettings) -> Result<Seed, Error> {
    let password = read_secret(
        "ADMIN_BOOTSTRAP_PASSWORD",
        settings.admin_bootstrap_password.as_ref(),
        settings.admin_bootstrap_password_file.as_deref(),
    )?;
    Ok(Seed { password, force: settings.admin_bootstrap_password_force })
}
