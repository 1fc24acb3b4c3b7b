//! A database for one test, on either engine.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result};
use sqlx::{
    AssertSqlSafe, FromRow, PgPool, SqlitePool,
    postgres::{PgPoolOptions, PgRow},
    sqlite::SqliteRow,
};
use tempfile::TempDir;

use crate::{postgres::Postgres, reaper};

/// The database engines that Paddock supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A database of the shared cluster.
    Postgres,
    /// A file in its own folder.
    Sqlite,
}

/// An empty database that no other test uses.
pub struct Database {
    url: String,
    pool: Pool,
}

/// Connections past Paddock, opened at their first use.
enum Pool {
    Postgres(PgPool),
    Sqlite { pool: SqlitePool, _folder: Option<TempDir> },
}

impl Database {
    /// Creates an empty database.
    pub async fn new(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Postgres => Self::open(&Postgres::shared().await?.empty_database().await?),
            Engine::Sqlite => {
                let folder = reaper::scratch_dir("sqlite")?;
                let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
                let pool = Pool::Sqlite { pool: SqlitePool::connect_lazy(&url)?, _folder: Some(folder) };
                Ok(Self { url, pool })
            }
        }
    }

    /// Opens the database at this URL, which the caller keeps alive.
    pub fn open(url: &str) -> Result<Self> {
        let pool = if url.starts_with("sqlite:") {
            Pool::Sqlite { pool: SqlitePool::connect_lazy(url)?, _folder: None }
        } else {
            Pool::Postgres(PgPoolOptions::new().max_connections(1).connect_lazy(url)?)
        };
        Ok(Self { url: url.to_owned(), pool })
    }

    /// Its `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements past Paddock's rules, as somebody with access to the database could. Returns
    /// the number of changed rows.
    pub async fn execute(&self, statements: &str) -> Result<u64> {
        let query = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        Ok(match &self.pool {
            Pool::Postgres(pool) => query.execute(pool).await?.rows_affected(),
            Pool::Sqlite { pool, .. } => query.execute(pool).await?.rows_affected(),
        })
    }

    /// The rows of a query, read past the API.
    pub async fn rows<R>(&self, query: &'static str) -> Result<Vec<R>>
    where
        R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        Ok(match &self.pool {
            Pool::Postgres(pool) => sqlx::query_as(query).fetch_all(pool).await?,
            Pool::Sqlite { pool, .. } => sqlx::query_as(query).fetch_all(pool).await?,
        })
    }

    /// Every row of every table as sorted text, without the named tables and columns
    /// (`table.column`).
    pub async fn contents(&self, without: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
        let columns = match &self.pool {
            Pool::Postgres(_) => {
                "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
            }
            Pool::Sqlite { .. } => {
                "SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'"
            }
        };
        let mut tables = BTreeMap::<_, Vec<_>>::new();
        for name in self.texts(columns).await? {
            let (table, column) = name.split_once('.').context("a table and a column")?;
            if !without.contains(&table) && !without.contains(&name.as_str()) {
                let text = match &self.pool {
                    Pool::Postgres(_) => format!(r#"'{column}=' || coalesce("{column}"::text, 'NULL')"#),
                    Pool::Sqlite { .. } => format!(r#"'{column}=' || quote("{column}")"#),
                };
                tables.entry(table.to_owned()).or_default().push(text);
            }
        }
        let mut contents = BTreeMap::new();
        for (table, columns) in tables {
            let rows = format!(r#"SELECT {} FROM "{table}" ORDER BY 1"#, columns.join(" || ' ' || "));
            contents.insert(table, self.texts(&rows).await?);
        }
        Ok(contents)
    }

    /// The single text column of a query.
    pub async fn texts(&self, query: &str) -> Result<Vec<String>> {
        let query = AssertSqlSafe(query.to_owned());
        Ok(match &self.pool {
            Pool::Postgres(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
            Pool::Sqlite { pool, .. } => sqlx::query_scalar(query).fetch_all(pool).await?,
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
