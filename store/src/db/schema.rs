//! The database schema: its migrations, and the check that they have run.

use std::{sync::LazyLock, time::Duration};

use sqlx::{Executor, SqlSafeStr, migrate::Migrator};

use super::{
    Conn, Database, OpenError, OpenOptions, SqlitePools, migration_lock::lock_postgres, options::Engine, sqlite,
};
use crate::{error::Error, with_conn};

static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| accept_newer(sqlx::migrate!("../migrations/postgres")));
static SQLITE: LazyLock<Migrator> = LazyLock::new(|| accept_newer(sqlx::migrate!("../migrations/sqlite")));

/// Makes the migrator accept a database that a newer version migrated.
fn accept_newer(mut migrator: Migrator) -> Migrator {
    migrator.set_ignore_missing(true);
    migrator
}

/// The schema of a database, compared with the migrations of this executable.
pub(crate) enum Schema {
    /// The schema is the same or newer.
    Current,
    /// The schema lacks this number of migrations.
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

/// Runs the missing migrations, and returns their number. Creates the SQLite file if it does not
/// exist. Concurrent runs wait for each other, for [`OpenOptions::migration_lock_timeout`] at most. A run after a killed run continues its work.
pub async fn migrate(options: &OpenOptions) -> Result<usize, OpenError> {
    let _lock = match options.engine()? {
        Engine::Postgres(_) => None,
        Engine::Sqlite(connect, path) => {
            sqlite::create_file(&path)?;
            let lock = sqlite::lock_migration(&path, options.migration_lock_timeout).await?;
            sqlite::enable_wal(connect).await?;
            Some(lock)
        }
    };
    let database = Database::open(options).await?;
    let ran = database.migrate(options.migration_lock_timeout).await;
    database.close().await;
    match ran {
        Err(error) => Err(options.explain(error).await),
        ran => ran,
    }
}

impl Database {
    /// Runs the missing migrations and returns their number. Waits for `lock_timeout` at most until
    /// another migration ends.
    async fn migrate(&self, lock_timeout: Duration) -> Result<usize, OpenError> {
        match self {
            Self::Pg(pool) => {
                // Such a pooler would keep the lock when this process has ended.
                pool.check_sessions().await?;
                let mut pooled = pool.acquire().await.map_err(Error::from)?;
                let connection = pooled.connection();
                // Locked before the comparison, so that each of several runs counts only its own
                // migrations. `run` takes the same lock again, which a session may do. Closing the
                // session releases it.
                lock_postgres(connection, lock_timeout).await?;
                let missing = Schema::of(&POSTGRES, Conn::Pg(connection)).await?.missing();
                POSTGRES.run(connection).await.map_err(OpenError::Migrate)?;
                Ok(missing)
            }
            Self::Sqlite(SqlitePools { write: Some(write), .. }) => {
                let missing = self.schema().await?.missing();
                SQLITE.run(write).await.map_err(OpenError::Migrate)?;
                Ok(missing)
            }
            Self::Sqlite(SqlitePools { write: None, .. }) => Err(OpenError::Open(Error::ReadOnly)),
        }
    }

    /// Compares the schema with the migrations of this executable.
    pub(crate) async fn schema(&self) -> Result<Schema, OpenError> {
        let migrator = match self {
            Self::Pg(_) => &*POSTGRES,
            Self::Sqlite(_) => &*SQLITE,
        };
        Schema::of(migrator, self.reader().await?.conn()).await
    }

    /// Prepares every statement, so that a schema mismatch fails now and not in a request.
    pub(crate) async fn prepare_all(
        &self,
        statements: impl Iterator<Item = &'static (&'static str, &'static str)>,
    ) -> Result<(), OpenError> {
        let mut reader = self.reader().await?;
        for (name, statement) in statements {
            let prepared = with_conn!(reader.conn(), |c| c.prepare(statement.into_sql_str()).await.map(|_| ()));
            match prepared.map_err(Error::from) {
                Ok(()) => {}
                Err(Error::Database(source)) => return Err(OpenError::Unfit { name, source }),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}

/// Returns the versions of the migrations that succeeded; none if their table does not exist yet.
async fn applied(conn: Conn<'_>) -> Result<Vec<i64>, Error> {
    const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
    match conn {
        Conn::Pg(c) => {
            let exists: bool =
                sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *c).await?;
            Ok(if exists { sqlx::query_scalar(APPLIED).fetch_all(c).await? } else { Vec::new() })
        }
        Conn::Sqlite(c) => {
            let exists: bool =
                sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'")
                    .fetch_one(&mut *c)
                    .await?;
            Ok(if exists { sqlx::query_scalar(APPLIED).fetch_all(c).await? } else { Vec::new() })
        }
    }
}
