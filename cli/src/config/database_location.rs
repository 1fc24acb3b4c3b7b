//! Where the database is: `DATABASE_URL`, else the parts `DB_*`, else in local a SQLite file.

use paddock_store::db::{Location, OpenOptions, PostgresParts};
use secrecy::SecretString;

use super::secrets::read_secret;
use crate::{
    error::Error,
    settings::{DatabaseSettings, Environment},
};

const HOST_FORMS: &str = "set it to a name such as db.example.com, or to an address such as 192.0.2.7 or ::1";

/// The options to open the database with. Logs the parameters of its URL that are not applied.
pub(crate) fn open_options(settings: &DatabaseSettings, environment: Environment) -> Result<OpenOptions, Error> {
    let options = OpenOptions {
        max_connections: settings.db_max_connections,
        audit_retention_days: settings.audit_retention_days,
        ..OpenOptions::at(location(settings, environment)?)
    };
    let unapplied = options.check()?;
    if !unapplied.without_effect.is_empty() {
        let parameters = unapplied.without_effect.join(",");
        tracing::warn!(parameters, "DATABASE_URL has parameters without effect");
    }
    if !unapplied.unprotected.is_empty() {
        let parameters = unapplied.unprotected.join(",");
        tracing::warn!(
            parameters,
            "DATABASE_URL asks for protection that Paddock does not have; the connection is weaker than asked for"
        );
    }
    Ok(options)
}

fn location(settings: &DatabaseSettings, environment: Environment) -> Result<Location, Error> {
    let url = read_secret("DATABASE_URL", settings.database_url.as_ref(), settings.database_url_file.as_deref())?;
    match (url, environment) {
        (Some(url), _) => Ok(Location::Url(url)),
        (None, _) if has_parts(settings) => Ok(Location::Postgres(parts(settings, environment)?)),
        (None, Environment::Local) => Ok(Location::Url("sqlite:paddock.db".into())),
        (None, Environment::Prod) => Err(Error::config(
            "DATABASE_URL is not set: set it to postgres://user:password@host:5432/name (or to sqlite:/data/paddock.db for \
             one replica), or set DB_HOST, DB_USER, DB_PASSWORD and DB_NAME",
        )),
    }
}

fn has_parts(settings: &DatabaseSettings) -> bool {
    settings.db_user.is_some()
        || settings.db_password.is_some()
        || settings.db_password_file.is_some()
        || settings.db_host.is_some()
        || settings.db_port.is_some()
        || settings.db_name.is_some()
}

fn parts(settings: &DatabaseSettings, environment: Environment) -> Result<PostgresParts, Error> {
    let host = settings.db_host.as_deref().unwrap_or(match environment {
        Environment::Local => "localhost",
        Environment::Prod => "db",
    });
    check_host(host)?;
    let password = read_secret("DB_PASSWORD", settings.db_password.as_ref(), settings.db_password_file.as_deref())?;
    Ok(PostgresParts {
        host: host.to_owned(),
        port: settings.db_port.unwrap_or(5432),
        user: settings.db_user.clone().unwrap_or_else(|| "app".to_owned()),
        password: password.unwrap_or_else(|| SecretString::from("app")),
        name: settings.db_name.clone().unwrap_or_else(|| "app".to_owned()),
    })
}

/// Checks that the host is only a host. The error repeats no text that may hold a password.
fn check_host(host: &str) -> Result<(), Error> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.starts_with('/') || bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let invalid = |why: &str| Err(Error::config(format!("DB_HOST {why}; {HOST_FORMS}")));
    if host.contains("://") || host.contains('@') {
        return invalid("is a URL, which belongs into DATABASE_URL");
    }
    if host.contains(',') {
        return invalid("names several servers, and only one is used");
    }
    if host.contains(':') {
        return invalid("has a port, which belongs into DB_PORT");
    }
    if host.contains(['/', '[', ']']) || host.contains(char::is_whitespace) {
        return invalid("is not a host");
    }
    Ok(())
}

/// The parts as a URL to show, without the password and without encoding.
pub(crate) fn shown(parts: &PostgresParts) -> String {
    let PostgresParts { host, port, user, name, .. } = parts;
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
    format!("postgres://{user}:***@{host}:{port}/{name}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("db", true)]
    #[case("db.example.com", true)]
    #[case("192.0.2.7", true)]
    #[case("::1", true)]
    #[case("[2001:db8::7]", true)]
    #[case("/run/postgresql", true)]
    #[case("db:5432", false)]
    #[case("[::1]:5432", false)]
    #[case("postgres://app:hunter22@db", false)]
    #[case("app:hunter22@db", false)]
    #[case("db1,db2", false)]
    #[case("db/app", false)]
    #[case("my db", false)]
    fn a_host_is_a_name_an_address_or_a_folder(#[case] host: &str, #[case] valid: bool) {
        match check_host(host) {
            Ok(()) => assert!(valid, "{host}"),
            Err(error) => assert!(!valid && !error.to_string().contains("hunter22"), "{error}"),
        }
    }

    #[test]
    fn shown_parts_have_no_password() {
        let parts = PostgresParts {
            host: "::1".to_owned(),
            port: 5433,
            user: "app".to_owned(),
            password: "hunter22".into(),
            name: "main".to_owned(),
        };
        assert_eq!(shown(&parts), "postgres://app:***@[::1]:5433/main");
    }
}
