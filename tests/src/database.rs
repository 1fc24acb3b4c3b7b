//! A database for one test, on either engine.

use std::fmt;

use anyhow::Result;
use sqlx::{AssertSqlSafe, FromRow, PgPool, SqlitePool, postgres::PgPoolOptions, postgres::PgRow, sqlite::SqliteRow};
use tempfile::TempDir;

use crate::postgres::Postgres;
use crate::sentinel;

/// The two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A database of the shared cluster.
    Postgres,
    /// A file in a folder of its own.
    Sqlite,
}

/// An empty database that no other test uses.
pub struct Database {
    url: String,
    behind: Behind,
}

/// The way past Paddock, opened when it is first gone.
enum Behind {
    Postgres(PgPool),
    Sqlite { pool: SqlitePool, _folder: TempDir },
}

impl Database {
    /// A new one, empty.
    pub async fn new(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Postgres => {
                let url = Postgres::shared().await?.empty_database().await?;
                let behind = Behind::Postgres(PgPoolOptions::new().max_connections(1).connect_lazy(&url)?);
                Ok(Self { url, behind })
            }
            Engine::Sqlite => {
                let folder = sentinel::scratch("sqlite")?;
                let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
                let behind = Behind::Sqlite { pool: SqlitePool::connect_lazy(&url)?, _folder: folder };
                Ok(Self { url, behind })
            }
        }
    }

    /// Its `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements as someone with access to the database would, past every rule of Paddock's. Returns how many rows
    /// they touched.
    pub async fn execute(&self, statements: &str) -> Result<u64> {
        let query = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        Ok(match &self.behind {
            Behind::Postgres(pool) => query.execute(pool).await?.rows_affected(),
            Behind::Sqlite { pool, .. } => query.execute(pool).await?.rows_affected(),
        })
    }

    /// The rows that a query finds, whatever the API may say of them.
    pub async fn rows<R>(&self, query: &'static str) -> Result<Vec<R>>
    where
        R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        Ok(match &self.behind {
            Behind::Postgres(pool) => sqlx::query_as(query).fetch_all(pool).await?,
            Behind::Sqlite { pool, .. } => sqlx::query_as(query).fetch_all(pool).await?,
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
