//! Diagnosis of a PostgreSQL that cannot be used: its address, the cause and the setting to check.
//! It is meant for the operator of Paddock; clients of the API do not see it.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, error::DatabaseError, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::error::Error;

/// The time limit of the connection attempt that finds the cause.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The address of a PostgreSQL that cannot be used, the cause, and the setting to check.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL at {place} cannot be used: {cause}; check {setting}")]
pub struct ConnectDiagnosis {
    place: String,
    cause: String,
    setting: &'static str,
    is_unavailable: bool,
}

impl ConnectDiagnosis {
    /// Whether the database may become available later.
    pub(super) fn is_unavailable(&self) -> bool {
        self.is_unavailable
    }

    /// Finds the cause of a database error. Returns any other error unchanged.
    pub(super) async fn find(error: Error, connect: &PgConnectOptions) -> Result<Self, Error> {
        let error = match error {
            // The pool retries while the server refuses connections, and then reports only a
            // timeout.
            Error::Unavailable(sqlx::Error::PoolTimedOut) => connect_error(connect).await.map_or(error, Error::from),
            error => error,
        };
        let (Error::Unavailable(source) | Error::Database(source)) = &error else { return Err(error) };
        Ok(Self {
            place: place(connect),
            cause: cause(source).replace(char::is_control, " "),
            setting: setting(source),
            is_unavailable: matches!(error, Error::Unavailable(_)) && !rejects_login(source),
        })
    }
}

/// Whether the server answered and rejected the login. At startup this means a wrong setting, and
/// not a database that will become available.
fn rejects_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28") || code == "3D000")
}

/// Tries to connect once, and returns the error; `None` on success.
async fn connect_error(connect: &PgConnectOptions) -> Option<sqlx::Error> {
    match timeout(CONNECT_TIMEOUT, connect.connect()).await.ok()? {
        Ok(connection) => {
            // The server is reachable after all. A failure to close the connection does not matter.
            let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
            None
        }
        Err(error) => Some(error),
    }
}

/// Returns the address, database and user, without the password.
pub(super) fn place(connect: &PgConnectOptions) -> String {
    let socket = connect.get_socket().map(|socket| socket.display().to_string());
    let (host, port, user) = (connect.get_host(), connect.get_port(), connect.get_username());
    // Without a database name, PostgreSQL uses the user name.
    let database = connect.get_database().unwrap_or(user);
    format!("{}:{port} (database {database}, user {user})", socket.as_deref().unwrap_or(host))
}

fn cause(error: &sqlx::Error) -> String {
    match error {
        // Only the message: `Display` would add the source line of PostgreSQL.
        sqlx::Error::Database(error) => error.message().to_owned(),
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
        sqlx::Error::Database(error) => match error.code().as_deref() {
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
    fn the_address_contains_no_password() {
        let place = |url: &str| place(&PgConnectOptions::from_str(url).unwrap());
        assert_eq!(place("postgres://app:hunter22@db1:5433/main"), "db1:5433 (database main, user app)");
        assert_eq!(place("postgres://db1/?user=app&password=hunter22"), "db1:5432 (database app, user app)");
        assert_eq!(
            place("postgres:///main?host=/run/postgresql&user=app"),
            "/run/postgresql:5432 (database main, user app)"
        );
    }

    #[tokio::test]
    async fn only_database_errors_are_diagnosed() {
        let connect = PgConnectOptions::from_str("postgres://app:hunter22@127.0.0.1:1/app").unwrap();
        let stopping = ConnectDiagnosis::find(Error::Stopping, &connect).await;
        assert!(matches!(stopping, Err(Error::Stopping)), "{stopping:?}");
        let refused = ConnectDiagnosis::find(Error::Unavailable(sqlx::Error::PoolTimedOut), &connect).await.unwrap();
        assert!(refused.is_unavailable() && refused.to_string().contains("refused"), "{refused}");
        let defect = ConnectDiagnosis::find(Error::Database(sqlx::Error::RowNotFound), &connect).await.unwrap();
        assert!(!defect.is_unavailable() && !defect.to_string().contains("hunter22"), "{defect}");
    }
}
