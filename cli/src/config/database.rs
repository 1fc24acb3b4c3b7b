//! The database, its keys, and what is kept beside it.

use std::{path::PathBuf, sync::Arc};

use paddock_accounts::{Accounts, passwords::PasswordPolicy, sessions::SessionKey};
use paddock_store::{OpenError, OpenOptions, audit::Chain, clock::SystemClock};
use secrecy::{ExposeSecret, SecretString};

use super::secrets::{AUDIT_KEY_SUFFIX, JWT_SECRET_SUFFIX, SigningSecret, beside, secret};
use crate::{
    failure::Failure,
    settings::{DatabaseSettings, Environment, ServeSettings},
};

/// What the folder beside a SQLite file is called in which usage waits.
const USAGE_SUFFIX: &str = "usage";

/// The database and its keys.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) options: OpenOptions,
    passwords: PasswordPolicy,
    pub(crate) audit_signing_key: SigningSecret,
    pub(crate) jwt_secret: SigningSecret,
    pub(crate) jwt_alg: String,
}

impl Database {
    /// Settles on a database and finds, or in local makes up, its keys.
    pub(crate) fn resolve(settings: &DatabaseSettings, environment: Environment) -> Result<Self, Failure> {
        Self::find(settings, environment, false)
    }

    /// The same to read only: nothing is made that is not there.
    pub(crate) fn resolve_to_read(settings: &DatabaseSettings, environment: Environment) -> Result<Self, Failure> {
        Self::find(settings, environment, true)
    }

    fn find(settings: &DatabaseSettings, environment: Environment, read_only: bool) -> Result<Self, Failure> {
        let mut options = OpenOptions {
            max_connections: settings.db_max_connections,
            read_only,
            audit_retention_days: settings.audit_retention_days,
            ..OpenOptions::new(database_url(settings, environment)?)
        };
        options.check()?;
        if let Some(file) = options.sqlite_file()?.filter(|file| read_only && !file.exists()) {
            return Err(OpenError::Missing(file).into());
        }
        options.audit_head_file = audit_head_file(settings, environment, &options)?;
        let audit_signing_key = SigningSecret::find(
            "AUDIT_SIGNING_KEY",
            settings.audit_signing_key.as_ref(),
            settings.audit_signing_key_file.as_deref(),
            AUDIT_KEY_SUFFIX,
            &options,
            environment,
        )?;
        let jwt_secret = if read_only {
            // Nobody signs in through it.
            SigningSecret::passing()?
        } else {
            SigningSecret::find(
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

    fn session_key(&self) -> Result<SessionKey, Failure> {
        Ok(SessionKey::new(&self.jwt_secret.value, &self.jwt_alg)?)
    }

    /// Opens it, for a command that needs it now.
    pub(crate) async fn open(&self) -> Result<Accounts, Failure> {
        self.keep(
            Accounts::open_now(&self.options, self.chain(), self.session_key()?, self.passwords, Arc::new(SystemClock))
                .await?,
        )
    }

    /// Opens it, for a server that can wait: a PostgreSQL that is away may come later.
    pub(crate) async fn open_or_wait(&self) -> Result<Accounts, Failure> {
        self.keep(
            Accounts::open(&self.options, self.chain(), self.session_key()?, self.passwords, Arc::new(SystemClock))
                .await?,
        )
    }

    fn chain(&self) -> Chain {
        Chain::new(&self.audit_signing_key.value)
    }

    /// What was opened, with the keys that were made for it in their places.
    fn keep(&self, accounts: Accounts) -> Result<Accounts, Failure> {
        self.audit_signing_key.keep()?;
        self.jwt_secret.keep()?;
        Ok(accounts)
    }
}

/// Whether the algorithm is one that sessions can be signed with.
pub(crate) fn session_algorithm(name: &str) -> Result<(), Failure> {
    SessionKey::new(&"0".repeat(64).into(), name)?;
    Ok(())
}

/// A PostgreSQL by its parts, each as set or by default.
pub(crate) struct Postgres<'s> {
    pub(crate) user: &'s str,
    pub(crate) host: &'s str,
    pub(crate) port: u16,
    pub(crate) name: &'s str,
}

/// The PostgreSQL that `DB_*` name: in force where any of them is set, and `DATABASE_URL` is not.
pub(crate) fn postgres(settings: &DatabaseSettings, environment: Environment) -> Option<Postgres<'_>> {
    let is_outranked = settings.database_url.is_some() || settings.database_url_file.is_some();
    let is_named = settings.db_user.is_some()
        || settings.db_password.is_some()
        || settings.db_password_file.is_some()
        || settings.db_host.is_some()
        || settings.db_port.is_some()
        || settings.db_name.is_some();
    let host = match environment {
        Environment::Local => "localhost",
        Environment::Prod => "db",
    };
    (is_named && !is_outranked).then(|| Postgres {
        user: settings.db_user.as_deref().unwrap_or("app"),
        host: settings.db_host.as_deref().unwrap_or(host),
        port: settings.db_port.unwrap_or(5432),
        name: settings.db_name.as_deref().unwrap_or("app"),
    })
}

/// `DATABASE_URL`, or from `DB_*`, or a file in the working directory.
pub(crate) fn database_url(settings: &DatabaseSettings, environment: Environment) -> Result<SecretString, Failure> {
    if let Some(url) = secret("DATABASE_URL", settings.database_url.as_ref(), settings.database_url_file.as_deref())? {
        return Ok(url);
    }
    let password = secret("DB_PASSWORD", settings.db_password.as_ref(), settings.db_password_file.as_deref())?;
    if let Some(server) = postgres(settings, environment) {
        let mut url = url::Url::parse("postgres://app:app@localhost/app").expect("the template is well formed");
        let wrong =
            |name: &str| Failure::config(format!("{name} cannot stand in a database URL; set DATABASE_URL instead"));
        url.set_host(Some(server.host)).map_err(|_| wrong("DB_HOST"))?;
        url.set_port(Some(server.port)).map_err(|()| wrong("DB_PORT"))?;
        url.set_username(server.user).map_err(|()| wrong("DB_USER"))?;
        let password = password.as_ref().map_or("app", |password| password.expose_secret());
        url.set_password(Some(password)).map_err(|()| wrong("DB_PASSWORD"))?;
        url.set_path(server.name);
        return Ok(url.to_string().into());
    }
    match environment {
        Environment::Local => Ok("sqlite:paddock.db".into()),
        Environment::Prod => Err(Failure::config(
            "DATABASE_URL is not set: set it to postgres://user:password@host:5432/name (or to sqlite:/data/paddock.db for \
             one replica), or set DB_HOST, DB_USER, DB_PASSWORD and DB_NAME",
        )),
    }
}

/// Where the end of the audit log is told: as set, or in local beside the SQLite file.
pub(crate) fn audit_head_file(
    settings: &DatabaseSettings,
    environment: Environment,
    options: &OpenOptions,
) -> Result<Option<PathBuf>, Failure> {
    if settings.audit_head_file.is_some() || environment == Environment::Prod {
        return Ok(settings.audit_head_file.clone());
    }
    Ok(options.sqlite_file()?.map(|database| beside(&database, "audit-head")))
}

/// Where usage waits while the database is away. Each database has a place of its own, so that no process takes over what
/// belongs to another.
pub(crate) fn usage_spool_dir(
    settings: &ServeSettings,
    options: &OpenOptions,
    environment: Environment,
) -> Result<PathBuf, Failure> {
    if let Some(folder) = &settings.usage_spool_dir {
        return Ok(folder.clone());
    }
    Ok(match (options.sqlite_file()?, environment) {
        (Some(file), _) => beside(&file, USAGE_SUFFIX),
        (None, Environment::Prod) => PathBuf::from("/var/lib/paddock/usage"),
        (None, Environment::Local) => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, options.url.expose_secret().as_bytes());
            std::env::temp_dir().join(format!("paddock-usage-{}", hex::encode(&digest.as_ref()[..8])))
        }
    })
}
