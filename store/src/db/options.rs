//! The options for opening a database, and the checks of `DATABASE_URL`.

use std::{path::PathBuf, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{diagnosis::ConnectDiagnosis, open_error::OpenError};

/// The options for opening a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `postgres://user:password@host:port/name` or `sqlite:path`.
    pub url: SecretString,
    /// The maximum number of connections, at least 2.
    pub max_connections: u32,
    /// Whether to open read-only. SQLite then needs no lock, so another process may serve the file.
    pub read_only: bool,
    /// `AUDIT_HEAD_FILE`: the file to which this process writes the head of the audit log.
    pub audit_head_file: Option<PathBuf>,
    /// `AUDIT_RETENTION_DAYS`: how long audit rows are kept; `None` keeps them forever.
    pub audit_retention_days: Option<u32>,
}

pub(super) enum Engine {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions, PathBuf),
}

impl OpenOptions {
    /// Options for reading and writing, with defaults for everything but the URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self { url, max_connections: 20, read_only: false, audit_head_file: None, audit_retention_days: None }
    }

    /// Checks the URL without opening the database.
    pub fn check(&self) -> Result<(), OpenError> {
        self.engine().map(|_| ())
    }

    /// Returns the path of the SQLite file; `None` for PostgreSQL.
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, OpenError> {
        Ok(match self.engine()? {
            Engine::Postgres(_) => None,
            Engine::Sqlite(_, path) => Some(path),
        })
    }

    /// Replaces a PostgreSQL error with a diagnosis that names the address, cause and setting.
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
            // Without `//`, the parser would read the rest of the URL as a database name.
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

/// The documented query parameters of a PostgreSQL URL.
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

/// Other spellings that sqlx accepts, and a parameter of sqlx itself.
const SPELLINGS: [&str; 6] = ["ssl-mode", "ssl-root-cert", "ssl-ca", "ssl-cert", "ssl-key", "statement-cache-capacity"];

/// Finds the first query parameter that sqlx does not know. Returns its name for the error message,
/// or an empty text if the name may contain a part of a password.
///
/// sqlx ignores unknown parameters and logs their values. A misspelt `sslmode` would leave the
/// connection unencrypted, and a misspelt `password` would appear in the log.
fn unknown_parameter(url: &str) -> Option<String> {
    let (_, parameters) = url.split_once('?')?;
    let is_known = |name: &str| name.starts_with("options[") || PARAMETERS.contains(&name) || SPELLINGS.contains(&name);
    let named =
        parameters.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| parameter.split_once('='));
    let unknown = named.map(|pair| pair.map_or("", |(name, _)| name)).find(|name| !is_known(name))?;
    Some(if is_word(unknown) { format!(" `{unknown}`") } else { String::new() })
}

/// Whether a text looks like a name, so that a message may quote it. Any other text may be part of
/// a password.
fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-+".contains(&byte))
}

/// Whether a `/`, `?` or `#` in the user or password ends the authority part of the URL too early.
/// The parser would read the rest of the password as a database name, which messages quote.
fn is_cut_short(url: &str) -> bool {
    let after_host = url.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find(['/', '?', '#'])?..]));
    // The value of a parameter may contain `@`.
    let (path, parameters) =
        after_host.unwrap_or_default().split_once('?').unwrap_or((after_host.unwrap_or_default(), ""));
    path.contains('@') || parameters.split('=').next().is_some_and(|name| name.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unescaped_password_is_rejected_without_quoting_it() {
        for broken in ["app:12/hunter22@db:5432/app", "app:12?hunter22@db/app", "app:12#hunter22@db/app"] {
            let message = OpenOptions::new(format!("postgres://{broken}").into()).check().unwrap_err().to_string();
            assert!(message.contains("%2F") && !message.contains("hunter22"), "{message}");
        }
        for valid in ["app:12%2Fhunter22@db:5432/app?sslmode=require", "db/app?user=app@tenant&password=hunter22", "db"]
        {
            OpenOptions::new(format!("postgres://{valid}").into()).check().unwrap();
        }
    }

    #[test]
    fn an_unknown_parameter_is_rejected_without_quoting_its_value() {
        for (url, expected) in [
            ("db/app?ssl=hunter22", "`ssl`"),
            ("db/app?sslmode=require&pasword=hunter22", "`pasword`"),
            ("db/app?Hunter22=hunter22", "a parameter that"),
            ("db/app?=hunter22", "a parameter that"),
            ("db/app?password=a&hunter", "a parameter that"),
        ] {
            let message = OpenOptions::new(format!("postgres://{url}").into()).check().unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("sslmode"), "{message}");
            assert!(!message.to_lowercase().contains("hunter"), "{message}");
        }
        let known = "postgres://db/app?ssl-mode=require&options=-c%20work_mem%3D8MB&options[jit]=off&";
        OpenOptions::new(known.to_owned().into()).check().unwrap();
    }

    #[test]
    fn a_malformed_url_is_rejected_without_quoting_it() {
        for (text, expected) in [
            ("host=db user=app password=hunter22 hostaddr=::1", "is no URL"),
            ("postgres:app:hunter22@db/app", "no `//`"),
            ("postgresql:/app:hunter22@db/app", "no `//`"),
            ("postgres://db/app?password=hun#hunter22", "%23"),
            ("postgresql+asyncpg://app:hunter22@db/app", "`postgresql+asyncpg:`"),
        ] {
            let message = OpenOptions::new(text.to_owned().into()).check().unwrap_err().to_string();
            assert!(message.contains(expected) && !message.contains("hunter22"), "{message}");
        }
    }
}
