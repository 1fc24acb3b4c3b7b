//! Which database to open, and how.

use std::{path::PathBuf, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{diagnosis::ConnectDiagnosis, open_error::OpenError};

/// Which database to open, and how.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `postgres://user:password@host:port/name` or `sqlite:path`.
    pub url: SecretString,
    /// The maximum number of connections, at least 2.
    pub max_connections: u32,
    /// Open read-only: SQLite without the lock of the serving process.
    pub read_only: bool,
    /// `AUDIT_HEAD_FILE`: the file that follows the head of the audit log, for this process alone.
    pub audit_head_file: Option<PathBuf>,
    /// `AUDIT_RETENTION_DAYS`: how long audit rows are kept; `None` keeps them for ever.
    pub audit_retention_days: Option<u32>,
}

pub(super) enum Engine {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions, PathBuf),
}

impl OpenOptions {
    /// The options of a database to write to, with the defaults of everything else.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self { url, max_connections: 20, read_only: false, audit_head_file: None, audit_retention_days: None }
    }

    /// Checks the URL without opening anything.
    pub fn check(&self) -> Result<(), OpenError> {
        self.engine().map(|_| ())
    }

    /// The SQLite file; `None` for PostgreSQL.
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, OpenError> {
        Ok(match self.engine()? {
            Engine::Postgres(_) => None,
            Engine::Sqlite(_, path) => Some(path),
        })
    }

    /// Replaces an error of PostgreSQL by one that names the address, the cause and the setting.
    pub async fn explain(&self, error: OpenError) -> OpenError {
        match (error, self.engine()) {
            (OpenError::Open(error), Ok(Engine::Postgres(connect))) => {
                match ConnectDiagnosis::find(error, &connect).await {
                    Ok(diagnosis) => OpenError::Unusable(diagnosis),
                    Err(error) => error.into(),
                }
            }
            (error, _) => error,
        }
    }

    pub(super) fn engine(&self) -> Result<Engine, OpenError> {
        let url = self.url.expose_secret();
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        match scheme {
            Some("postgres" | "postgresql") if is_cut_short(url) => Err(OpenError::Url(
                "has an `@` behind the host: write a `/`, `?` or `#` in the user or the password as %2F, %3F or %23"
                    .into(),
            )),
            Some("postgres" | "postgresql") if url.contains('#') => {
                Err(OpenError::Url("has a `#`, which ends it: write it as %23".into()))
            }
            // Without them all that follows would be the name of a database.
            Some(scheme @ ("postgres" | "postgresql")) if !url[scheme.len()..].starts_with("://") => {
                Err(OpenError::Url(format!("has no `//` behind `{scheme}:`")))
            }
            Some("postgres" | "postgresql") => {
                if let Some(name) = unknown_parameter(url) {
                    return Err(OpenError::Url(format!(
                        "has a parameter{name} that is not known here; leave it out, or use one of {}",
                        PARAMETERS.join(", ")
                    )));
                }
                // The parser's message may quote the URL, and the URL holds the password.
                let options =
                    PgConnectOptions::from_str(url).map_err(|_| OpenError::Url("is not well formed".into()))?;
                Ok(Engine::Postgres(options.application_name("paddock").disable_statement_logging()))
            }
            Some("sqlite") => {
                let options =
                    SqliteConnectOptions::from_str(url).map_err(|_| OpenError::Url("is not well formed".into()))?;
                let path = options.get_filename().to_path_buf();
                Ok(Engine::Sqlite(options.disable_statement_logging(), path))
            }
            Some(other) if is_word(other) => Err(OpenError::Url(format!("begins with `{other}:`"))),
            Some(_) => Err(OpenError::Url("is no URL".into())),
            None => Err(OpenError::Url("has no scheme".into())),
        }
    }
}

/// What may stand behind the `?` of a PostgreSQL URL, besides the other spellings that sqlx takes for some.
const PARAMETERS: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The other spellings, and what is sqlx's own.
const SPELLINGS: [&str; 6] = ["ssl-mode", "ssl-root-cert", "ssl-ca", "ssl-cert", "ssl-key", "statement-cache-capacity"];

/// The first parameter that would have no effect, as one to be told. sqlx passes over those, and logs their values: a
/// `sslmode` that is not written so would leave the connection in the clear, and a `password` would be in the log.
fn unknown_parameter(url: &str) -> Option<String> {
    let (_, parameters) = url.split_once('?')?;
    let is_known = |name: &str| name.starts_with("options[") || PARAMETERS.contains(&name) || SPELLINGS.contains(&name);
    let named =
        parameters.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| parameter.split_once('='));
    let unknown = named.map(|pair| pair.map_or("", |(name, _)| name)).find(|name| !is_known(name))?;
    Some(if is_word(unknown) { format!(" `{unknown}`") } else { String::new() })
}

/// Whether it may be repeated. What does not look like a name may be a piece of a password.
fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-+".contains(&byte))
}

/// Whether a `/`, `?` or `#` in a password ends the host of the URL before its time. The rest of the password would be taken
/// for the name of a database, and names are told.
fn is_cut_short(url: &str) -> bool {
    let behind = url.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find(['/', '?', '#'])?..]));
    // The value of a parameter may have one.
    let (path, parameters) = behind.unwrap_or_default().split_once('?').unwrap_or((behind.unwrap_or_default(), ""));
    path.contains('@') || parameters.split('=').next().is_some_and(|name| name.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_ends_the_host_is_not_taken_for_a_name() {
        for cut in ["app:12/hunter22@db:5432/app", "app:12?hunter22@db/app", "app:12#hunter22@db/app"] {
            let refused = OpenOptions::new(format!("postgres://{cut}").into()).check().unwrap_err().to_string();
            assert!(refused.contains("%2F") && !refused.contains("hunter22"), "{refused}");
        }
        for whole in ["app:12%2Fhunter22@db:5432/app?sslmode=require", "db/app?user=app@tenant&password=hunter22", "db"]
        {
            OpenOptions::new(format!("postgres://{whole}").into()).check().unwrap();
        }
    }

    #[test]
    fn a_parameter_without_effect_is_refused_by_name_and_without_its_value() {
        for (url, named) in [
            ("db/app?ssl=hunter22", "`ssl`"),
            ("db/app?sslmode=require&pasword=hunter22", "`pasword`"),
            ("db/app?Hunter22=hunter22", "a parameter that"),
            ("db/app?=hunter22", "a parameter that"),
            ("db/app?password=a&hunter", "a parameter that"),
        ] {
            let refused = OpenOptions::new(format!("postgres://{url}").into()).check().unwrap_err().to_string();
            assert!(refused.contains(named) && refused.contains("sslmode"), "{refused}");
            assert!(!refused.to_lowercase().contains("hunter"), "{refused}");
        }
        let known = "postgres://db/app?ssl-mode=require&options=-c%20work_mem%3D8MB&options[jit]=off&";
        OpenOptions::new(known.to_owned().into()).check().unwrap();
    }

    #[test]
    fn what_is_no_url_of_ours_is_refused_without_what_it_holds() {
        for (text, told) in [
            ("host=db user=app password=hunter22 hostaddr=::1", "is no URL"),
            ("postgres:app:hunter22@db/app", "no `//`"),
            ("postgresql:/app:hunter22@db/app", "no `//`"),
            ("postgres://db/app?password=hun#hunter22", "%23"),
            ("postgresql+asyncpg://app:hunter22@db/app", "`postgresql+asyncpg:`"),
        ] {
            let refused = OpenOptions::new(text.to_owned().into()).check().unwrap_err().to_string();
            assert!(refused.contains(told) && !refused.contains("hunter22"), "{refused}");
        }
    }
}
