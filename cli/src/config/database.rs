//! The database, its signing secrets, and the files beside a SQLite database.

use std::{path::PathBuf, sync::Arc};

use paddock_accounts::{Accounts, passwords::PasswordPolicy, sessions::SessionKey};
use paddock_store::{OpenError, OpenOptions, audit::Chain, clock::SystemClock, db::Location};
use secrecy::ExposeSecret;

use super::{
    database_location::{open_options, shown},
    secrets::{AUDIT_KEY_SUFFIX, JWT_SECRET_SUFFIX, SigningSecret, sibling_file},
};
use crate::{
    error::Error,
    settings::{DatabaseSettings, Environment, ServeSettings},
};

/// Suffix of the usage spool folder beside a SQLite file.
const USAGE_SUFFIX: &str = "usage";

/// How to open the database, and its signing secrets.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) options: OpenOptions,
    passwords: PasswordPolicy,
    pub(crate) audit_signing_key: SigningSecret,
    pub(crate) jwt_secret: SigningSecret,
    pub(crate) jwt_alg: String,
}

impl Database {
    /// Resolves the settings. In local on SQLite, missing secrets are generated; `open` saves them.
    pub(crate) fn resolve(settings: &DatabaseSettings, environment: Environment) -> Result<Self, Error> {
        Self::resolve_with(settings, environment, false)
    }

    /// Resolves the settings for read-only use. Generates nothing; a missing SQLite file is an
    /// error.
    pub(crate) fn resolve_to_read(settings: &DatabaseSettings, environment: Environment) -> Result<Self, Error> {
        Self::resolve_with(settings, environment, true)
    }

    fn resolve_with(settings: &DatabaseSettings, environment: Environment, read_only: bool) -> Result<Self, Error> {
        let mut options = OpenOptions { read_only, ..open_options(settings, environment)? };
        if let Some(file) = options.sqlite_file()?.filter(|file| read_only && !file.exists()) {
            return Err(OpenError::Missing(file).into());
        }
        options.audit_head_file = audit_head_file(settings, environment, &options)?;
        let audit_signing_key = SigningSecret::resolve(
            "AUDIT_SIGNING_KEY",
            settings.audit_signing_key.as_ref(),
            settings.audit_signing_key_file.as_deref(),
            AUDIT_KEY_SUFFIX,
            &options,
            environment,
        )?;
        let jwt_secret = if read_only {
            // A read-only command signs no session.
            SigningSecret::ephemeral()?
        } else {
            SigningSecret::resolve(
                "JWT_SECRET",
                settings.jwt_secret.as_ref(),
                settings.jwt_secret_file.as_deref(),
                JWT_SECRET_SUFFIX,
                &options,
                environment,
            )?
        };
        let database = Self {
            options,
            passwords: PasswordPolicy::new(settings.password_min_length),
            audit_signing_key,
            jwt_secret,
            jwt_alg: settings.jwt_alg.clone(),
        };
        database.session_key()?;
        Ok(database)
    }

    fn session_key(&self) -> Result<SessionKey, Error> {
        Ok(SessionKey::new(&self.jwt_secret.value, &self.jwt_alg)?)
    }

    /// Opens the database, and fails if it is unavailable.
    pub(crate) async fn open(&self) -> Result<Accounts, Error> {
        self.save_secrets(
            Accounts::open_now(&self.options, self.chain(), self.session_key()?, self.passwords, Arc::new(SystemClock))
                .await?,
        )
    }

    /// Opens the database for a server. A PostgreSQL that is unavailable is retried in the
    /// background.
    pub(crate) async fn open_or_wait(&self) -> Result<Accounts, Error> {
        self.save_secrets(
            Accounts::open(&self.options, self.chain(), self.session_key()?, self.passwords, Arc::new(SystemClock))
                .await?,
        )
    }

    fn chain(&self) -> Chain {
        Chain::new(&self.audit_signing_key.value)
    }

    /// Saves generated secrets, now that the database is open.
    fn save_secrets(&self, accounts: Accounts) -> Result<Accounts, Error> {
        self.audit_signing_key.save()?;
        self.jwt_secret.save()?;
        Ok(accounts)
    }
}

/// Checks the name of the algorithm that signs sessions.
pub(crate) fn check_jwt_alg(name: &str) -> Result<(), Error> {
    SessionKey::new(&"0".repeat(64).into(), name)?;
    Ok(())
}

/// The audit head file: as configured, or in local beside the SQLite file.
pub(crate) fn audit_head_file(
    settings: &DatabaseSettings,
    environment: Environment,
    options: &OpenOptions,
) -> Result<Option<PathBuf>, Error> {
    if settings.audit_head_file.is_some() || environment == Environment::Prod {
        return Ok(settings.audit_head_file.clone());
    }
    Ok(options.sqlite_file()?.map(|database| sibling_file(&database, "audit-head")))
}

/// The usage spool: usage that waits for the database. Its folder is unique per database, so that a
/// process never uploads the records of another database.
pub(crate) fn usage_spool_dir(
    settings: &ServeSettings,
    options: &OpenOptions,
    environment: Environment,
) -> Result<PathBuf, Error> {
    if let Some(folder) = &settings.usage_spool_dir {
        return Ok(folder.clone());
    }
    Ok(match (options.sqlite_file()?, environment) {
        (Some(file), _) => sibling_file(&file, USAGE_SUFFIX),
        (None, Environment::Prod) => PathBuf::from("/var/lib/paddock/usage"),
        (None, Environment::Local) => {
            let location = match &options.location {
                Location::Url(url) => url.expose_secret().to_owned(),
                Location::Postgres(parts) => shown(parts),
            };
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, location.as_bytes());
            std::env::temp_dir().join(format!("paddock-usage-{}", hex::encode(&digest.as_ref()[..8])))
        }
    })
}
