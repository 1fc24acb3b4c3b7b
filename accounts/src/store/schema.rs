//! The schema: bringing a database to this executable's, and whether it fits.

use std::sync::LazyLock;

use sqlx::{
    Executor, SqlSafeStr,
    migrate::{Migrate, Migrator},
};

use super::{Conn, OpenError, OpenOptions, Store, on, options::Engine, sqlite};
use crate::Error;

static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| forward(sqlx::migrate!("../migrations/postgres")));
static SQLITE: LazyLock<Migrator> = LazyLock::new(|| forward(sqlx::migrate!("../migrations/sqlite")));

/// A database that a newer executable migrated serves this one too.
fn forward(mut migrator: Migrator) -> Migrator {
    migrator.set_ignore_missing(true);
    migrator
}

/// Where a database's schema stands beside this executable's.
pub(super) enum Schema {
    /// As this executable knows it, or ahead by what it need not know.
    Current,
    /// Behind by so many migrations.
    Behind(usize),
}

impl Schema {
    async fn of(migrator: &Migrator, conn: Conn<'_>) -> Result<Self, OpenError> {
        let applied = applied(conn).await?;
        let missing = migrator.iter().filter(|migration| !applied.contains(&migration.version)).count();
        Ok(if missing == 0 { Self::Current } else { Self::Behind(missing) })
    }

    fn missing(&self) -> usize {
        match self {
            Self::Current => 0,
            Self::Behind(by) => *by,
        }
    }
}

/// Brings a database to this executable's schema, creating a SQLite file that is not there. Several at once wait for each
/// other; one that was killed goes on where it was. Returns how many migrations it ran.
pub async fn migrate(options: &OpenOptions) -> Result<usize, OpenError> {
    let _turn = match options.engine()? {
        Engine::Postgres(_) => None,
        Engine::Sqlite(connect, path) => {
            sqlite::create_file(&path)?;
            let turn = sqlite::take_turn(&path).await?;
            sqlite::keep_a_log(connect).await?;
            Some(turn)
        }
    };
    let store = Store::open(options).await?;
    let ran = store.migrate().await;
    store.close().await;
    match ran {
        Err(error) => Err(options.explain(error).await),
        ran => ran,
    }
}

impl Store {
    /// Runs the migrations that are missing, and returns how many those were.
    async fn migrate(&self) -> Result<usize, OpenError> {
        match self {
            Self::Pg(pool) => {
                let mut lent = pool.lend().await.map_err(Error::from)?;
                let connection = lent.connection();
                // Before it is looked what is missing, so that each of several tells what it ran itself. The session may
                // take the lock again, as `run` does, and gives all of it back when the connection closes.
                connection.lock().await.map_err(OpenError::Migrate)?;
                let missing = Schema::of(&POSTGRES, Conn::Pg(connection)).await?.missing();
                POSTGRES.run(connection).await.map_err(OpenError::Migrate)?;
                Ok(missing)
            }
            Self::Sqlite { write: Some(write), .. } => {
                let missing = self.schema().await?.missing();
                SQLITE.run(write).await.map_err(OpenError::Migrate)?;
                Ok(missing)
            }
            Self::Sqlite { write: None, .. } => Err(OpenError::Open(Error::ReadOnly)),
        }
    }

    /// Where the schema stands.
    pub(super) async fn schema(&self) -> Result<Schema, OpenError> {
        let migrator = match self {
            Self::Pg(_) => &*POSTGRES,
            Self::Sqlite { .. } => &*SQLITE,
        };
        Schema::of(migrator, self.reader().await?.conn()).await
    }

    /// Has the database understand every statement, so that a schema that does not fit is met now and not by a request.
    pub(super) async fn prepare_all(&self) -> Result<(), OpenError> {
        let mut reader = self.reader().await?;
        for (name, statement) in crate::statements() {
            let prepared = on!(reader.conn(), |c| c.prepare(statement.into_sql_str()).await.map(|_| ()));
            match prepared.map_err(Error::from) {
                Ok(()) => {}
                Err(Error::Database(source)) => return Err(OpenError::Unfit { name, source }),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}

/// The versions of the migrations that ran to their end; none where the table of them is not there yet.
async fn applied(conn: Conn<'_>) -> Result<Vec<i64>, Error> {
    const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
    match conn {
        Conn::Pg(c) => {
            let there: bool =
                sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *c).await?;
            Ok(if there { sqlx::query_scalar(APPLIED).fetch_all(c).await? } else { Vec::new() })
        }
        Conn::Sqlite(c) => {
            let there: bool =
                sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'")
                    .fetch_one(&mut *c)
                    .await?;
            Ok(if there { sqlx::query_scalar(APPLIED).fetch_all(c).await? } else { Vec::new() })
        }
    }
}
