//! A database for one test, on either engine.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
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
    Sqlite { pool: SqlitePool, _folder: Option<TempDir> },
}

impl Database {
    /// A new one, empty.
    pub async fn new(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Postgres => Self::at(&Postgres::shared().await?.empty_database().await?),
            Engine::Sqlite => {
                let folder = sentinel::scratch("sqlite")?;
                let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
                let behind = Behind::Sqlite { pool: SqlitePool::connect_lazy(&url)?, _folder: Some(folder) };
                Ok(Self { url, behind })
            }
        }
    }

    /// The one at this URL, which is the caller's to keep.
    pub fn at(url: &str) -> Result<Self> {
        let behind = if url.starts_with("sqlite:") {
            Behind::Sqlite { pool: SqlitePool::connect_lazy(url)?, _folder: None }
        } else {
            Behind::Postgres(PgPoolOptions::new().max_connections(1).connect_lazy(url)?)
        };
        Ok(Self { url: url.to_owned(), behind })
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

    /// Every row of every table as text, in an order of its own; without the tables and the columns (`table.column`) named.
    pub async fn contents(&self, without: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
        let columns = match &self.behind {
            Behind::Postgres(_) => {
                "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
            }
            Behind::Sqlite { .. } => {
                "SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'"
            }
        };
        let mut tables = BTreeMap::<_, Vec<_>>::new();
        for name in self.texts(columns).await? {
            let (table, column) = name.split_once('.').context("a table and a column")?;
            if !without.contains(&table) && !without.contains(&name.as_str()) {
                let text = match &self.behind {
                    Behind::Postgres(_) => format!(r#"'{column}=' || coalesce("{column}"::text, 'NULL')"#),
                    Behind::Sqlite { .. } => format!(r#"'{column}=' || quote("{column}")"#),
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

    /// The one column of a query, as text.
    pub async fn texts(&self, query: &str) -> Result<Vec<String>> {
        let query = AssertSqlSafe(query.to_owned());
        Ok(match &self.behind {
            Behind::Postgres(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
            Behind::Sqlite { pool, .. } => sqlx::query_scalar(query).fetch_all(pool).await?,
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
