//! Why a PostgreSQL cannot be used, for whoever set it up: where it was looked for, what was met there, and which setting to
//! check. Nothing of it goes to clients of the API.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, error::DatabaseError, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::OpenError;
use crate::Error;

/// How long it may take to find out why no connection came about.
const PATIENCE: Duration = Duration::from_secs(1);

/// A PostgreSQL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL at {place} cannot be used: {cause}; check {setting}")]
pub struct Unusable {
    place: String,
    cause: String,
    setting: &'static str,
    is_away: bool,
}

impl Unusable {
    /// Whether waiting may help.
    pub(super) fn is_away(&self) -> bool {
        self.is_away
    }

    /// Puts a failure of the database into words; any other error stays what it is.
    pub(super) async fn explain(error: Error, connect: &PgConnectOptions) -> OpenError {
        let error = match error {
            // The pool tries again while a connection is refused, and in the end says only that time ran out.
            Error::Unavailable(sqlx::Error::PoolTimedOut) => met(connect).await.map_or(error, Error::from),
            error => error,
        };
        let (Error::Unavailable(source) | Error::Database(source)) = &error else { return error.into() };
        OpenError::Unusable(Self {
            place: place(connect),
            cause: cause(source).replace(char::is_control, " "),
            setting: setting(source),
            is_away: matches!(error, Error::Unavailable(_)) && !turns_away(source),
        })
    }
}

/// Whether the server was there and let nobody in: a process that begins has a wrong setting then, rather than a database that
/// will come.
fn turns_away(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28") || code == "3D000")
}

/// What a single attempt to connect meets.
async fn met(connect: &PgConnectOptions) -> Option<sqlx::Error> {
    match timeout(PATIENCE, connect.connect()).await.ok()? {
        Ok(connection) => {
            // It is there after all, and nothing is lost if it does not hear of the end.
            let _ = timeout(PATIENCE, connection.close()).await;
            None
        }
        Err(error) => Some(error),
    }
}

/// Where it was looked for, without the password.
fn place(connect: &PgConnectOptions) -> String {
    let socket = connect.get_socket().map(|socket| socket.display().to_string());
    let (host, port, user) = (connect.get_host(), connect.get_port(), connect.get_username());
    // Where no database is named, PostgreSQL takes the one that is called like the user.
    let database = connect.get_database().unwrap_or(user);
    format!("{}:{port} (database {database}, user {user})", socket.as_deref().unwrap_or(host))
}

fn cause(error: &sqlx::Error) -> String {
    match error {
        // In its own words alone: the library adds a line of PostgreSQL's source.
        sqlx::Error::Database(said) => said.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "it does not answer in time".to_owned(),
        other => other.to_string(),
    }
}

fn setting(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => {
            "the host and the port in DATABASE_URL (or DB_HOST and DB_PORT), and that PostgreSQL listens there"
        }
        sqlx::Error::Tls(_) => "sslmode in DATABASE_URL",
        sqlx::Error::Database(said) => match said.code().as_deref() {
            Some("28P01") => "the user and the password in DATABASE_URL (or DB_USER and DB_PASSWORD)",
            Some("28000") => "the user in DATABASE_URL (or DB_USER), and the server's pg_hba.conf",
            Some("3D000") => "the name of the database in DATABASE_URL (or DB_NAME), or create it",
            Some("42501") => "what the user in DATABASE_URL (or DB_USER) may do",
            Some(code) if code.starts_with("53") || code.starts_with("57") => "the server itself",
            _ => "DATABASE_URL",
        },
        _ => "DATABASE_URL",
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn a_place_has_no_password() {
        let place = |url: &str| place(&PgConnectOptions::from_str(url).unwrap());
        assert_eq!(place("postgres://app:hunter22@db1:5433/main"), "db1:5433 (database main, user app)");
        assert_eq!(place("postgres://db1/?user=app&password=hunter22"), "db1:5432 (database app, user app)");
        assert_eq!(
            place("postgres:///main?host=/run/postgresql&user=app"),
            "/run/postgresql:5432 (database main, user app)"
        );
    }

    #[tokio::test]
    async fn only_failures_of_the_database_are_explained() {
        let connect = PgConnectOptions::from_str("postgres://app:hunter22@127.0.0.1:1/app").unwrap();
        let stopping = Unusable::explain(Error::Stopping, &connect).await;
        assert!(matches!(stopping, OpenError::Open(Error::Stopping)), "{stopping}");
        let refused = Unusable::explain(Error::Unavailable(sqlx::Error::PoolTimedOut), &connect).await;
        assert!(refused.is_away() && refused.to_string().contains("refused"), "{refused}");
        let defect = Unusable::explain(Error::Database(sqlx::Error::RowNotFound), &connect).await;
        assert!(!defect.is_away() && !defect.to_string().contains("hunter22"), "{defect}");
    }
}
