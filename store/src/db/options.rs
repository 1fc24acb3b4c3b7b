//! The options for opening a database, and the checks of `DATABASE_URL`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
    sqlite::SqliteConnectOptions,
};

use super::{
    diagnosis::ConnectDiagnosis,
    open_error::OpenError,
    url_parameters::{Reduced, UNDERSTOOD, UnappliedParameters, is_word, reduce},
};

/// How long a migration waits for another one by default.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_mins(5);

/// The options for opening a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Where the database is.
    pub location: Location,
    /// The maximum number of connections, at least 2.
    pub max_connections: u32,
    /// Whether to open read-only. SQLite then needs no lock, so another process may serve the file.
    pub read_only: bool,
    /// `AUDIT_HEAD_FILE`: the file to which this process writes the head of the audit log.
    pub audit_head_file: Option<PathBuf>,
    /// `AUDIT_RETENTION_DAYS`: how long audit rows are kept; `None` keeps them forever.
    pub audit_retention_days: Option<u32>,
    /// How long a migration waits for another one to end.
    pub migration_lock_timeout: Duration,
}

/// Where a database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// `postgres://user:password@host:port/name` or `sqlite:path`.
    Url(SecretString),
    /// A PostgreSQL server by its parts. No part is decoded.
    Postgres(PostgresParts),
}

/// The parts of a PostgreSQL address.
#[derive(Clone, Debug)]
pub struct PostgresParts {
    /// A host name, an IP address, or the folder of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretString,
    /// The name of the database.
    pub name: String,
}

pub(super) enum Engine {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions, PathBuf),
}

impl OpenOptions {
    /// Options for reading and writing the database at this URL, with defaults for everything else.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self::at(Location::Url(url))
    }

    /// The same for any location.
    #[must_use]
    pub fn at(location: Location) -> Self {
        Self {
            location,
            max_connections: 20,
            read_only: false,
            audit_head_file: None,
            audit_retention_days: None,
            migration_lock_timeout: MIGRATION_LOCK_TIMEOUT,
        }
    }

    /// Checks the location without opening the database. Returns the parameters of a PostgreSQL URL
    /// that are not applied.
    pub fn check(&self) -> Result<UnappliedParameters, OpenError> {
        self.engine()?;
        Ok(match &self.location {
            Location::Url(url) if is_postgres(url.expose_secret()) => reduce_url(url.expose_secret())?.unapplied,
            _ => UnappliedParameters::default(),
        })
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
        let url = match &self.location {
            Location::Postgres(parts) => return Ok(Engine::Postgres(finish(from_parts(parts)))),
            Location::Url(url) => url.expose_secret(),
        };
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => from_url(url).map(Engine::Postgres),
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

fn is_postgres(url: &str) -> bool {
    matches!(url.split_once(':'), Some(("postgres" | "postgresql", _)))
}

fn from_parts(parts: &PostgresParts) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(without_brackets(&parts.host))
        .port(parts.port)
        .username(&parts.user)
        .password(parts.password.expose_secret())
        .database(&parts.name)
}

/// Parses a PostgreSQL URL. No error quotes a part that may belong to the password.
fn from_url(url: &str) -> Result<PgConnectOptions, OpenError> {
    if is_cut_short(url) {
        return Err(OpenError::Url(
            "has an `@` behind the host: write a `/`, `?` or `#` in the user or the password as %2F, %3F or %23".into(),
        ));
    }
    if url.contains('#') {
        return Err(OpenError::Url("has a `#`, which ends it: write it as %23".into()));
    }
    // Without `//`, the parser would read the rest of the URL as a database name.
    let Some((_, rest)) = url.split_once("://") else {
        let scheme = url.split(':').next().unwrap_or_default();
        return Err(OpenError::Url(format!("has no `//` behind `{scheme}:`")));
    };
    if hosts(rest).contains(',') {
        return Err(OpenError::Url("names several servers, and only one is used: name that one".into()));
    }
    let Reduced { url, has_system_roots, has_root_file, .. } = reduce_url(url)?;
    // The parser's message may quote the URL, and the URL holds the password.
    let mut options = PgConnectOptions::from_str(&url).map_err(|_| OpenError::Url("is not well formed".into()))?;
    let mode = options.get_ssl_mode();
    if has_system_roots {
        // As in libpq. Without a file, the client library trusts the public authorities.
        options = options.ssl_mode(PgSslMode::VerifyFull);
    } else if has_root_file && matches!(mode, PgSslMode::Require) {
        // As in libpq: who names an authority wants the certificate checked.
        options = options.ssl_mode(PgSslMode::VerifyCa);
    }
    Ok(finish(options))
}

fn reduce_url(url: &str) -> Result<Reduced, OpenError> {
    reduce(url).map_err(|name| {
        let quoted = if name.is_empty() { name } else { format!(" `{name}`") };
        OpenError::Url(format!(
            "has a parameter{quoted} that is not known here; leave it out, or use one of {}",
            UNDERSTOOD.join(", ")
        ))
    })
}

/// The settings of every PostgreSQL connection.
fn finish(options: PgConnectOptions) -> PgConnectOptions {
    let host = without_brackets(options.get_host()).to_owned();
    options
        .host(&host)
        .application_name("paddock")
        // Not needed for binary values, and PgBouncer refuses it by default.
        .extra_float_digits(None)
        .disable_statement_logging()
}

/// An IPv6 address as the resolver takes it: URLs write it in brackets.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The hosts of a URL without its scheme, each with its port.
fn hosts(rest: &str) -> &str {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts)
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

    fn postgres(options: &OpenOptions) -> PgConnectOptions {
        match options.engine().unwrap() {
            Engine::Postgres(connect) => connect,
            Engine::Sqlite(..) => panic!("SQLite"),
        }
    }

    fn at(url: &str) -> PgConnectOptions {
        postgres(&OpenOptions::new(url.to_owned().into()))
    }

    #[test]
    fn an_ipv6_address_has_no_brackets_for_the_resolver() {
        assert_eq!(at("postgres://u:p@[::1]:5433/d").get_host(), "::1");
        assert_eq!(at("postgres://u:p@[::1]:5433/d").get_port(), 5433);
        assert_eq!(at("postgres:///d?host=[2001:db8::7]").get_host(), "2001:db8::7");
        for host in ["::1", "[::1]"] {
            assert_eq!(postgres(&OpenOptions::at(Location::Postgres(parts(host, "x")))).get_host(), "::1");
        }
    }

    fn parts(host: &str, text: &str) -> PostgresParts {
        PostgresParts {
            host: host.to_owned(),
            port: 5432,
            user: text.to_owned(),
            password: text.into(),
            name: text.to_owned(),
        }
    }

    #[test]
    fn parts_are_never_decoded() {
        let text = "S3cr%2Fet/@:?#[]&= ";
        let connect = postgres(&OpenOptions::at(Location::Postgres(parts("db", text))));
        assert_eq!((connect.get_username(), connect.get_database()), (text, Some(text)));
        // sqlx gives the password back only in a URL, where it is encoded once.
        let url = connect.to_url_lossy();
        assert!(url.as_str().contains(":S3cr%252Fet%2F%40%3A"), "{url}");
    }

    #[test]
    fn several_servers_are_refused() {
        for url in ["postgres://u:p@a,b/d", "postgres://u:p@a:1,b:2/d", "postgres://a,b?dbname=d"] {
            let message = OpenOptions::new(url.to_owned().into()).check().unwrap_err().to_string();
            assert!(message.contains("several servers"), "{message}");
        }
        at("postgres://u:p,q@a/d");
    }

    #[test]
    fn a_named_authority_is_always_checked() {
        let mode = |query: &str| at(&format!("postgres://db/d?{query}")).get_ssl_mode();
        assert!(matches!(mode("sslmode=require"), PgSslMode::Require));
        assert!(matches!(mode("sslmode=require&sslrootcert=/ca.pem"), PgSslMode::VerifyCa));
        assert!(matches!(mode("sslmode=verify-full&sslrootcert=/ca.pem"), PgSslMode::VerifyFull));
        assert!(matches!(mode("sslmode=require&sslrootcert=system"), PgSslMode::VerifyFull));
    }
}
