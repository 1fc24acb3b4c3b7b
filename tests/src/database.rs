//! A database for one test, on either engine.

use std::fmt;

use anyhow::Result;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
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
    folder: Option<TempDir>,
}

impl Database {
    /// A new one, empty.
    pub async fn new(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Postgres => Ok(Self { url: Postgres::shared().await?.empty_database().await?, folder: None }),
            Engine::Sqlite => {
                let folder = sentinel::scratch("sqlite")?;
                Ok(Self { url: format!("sqlite:{}", folder.path().join("paddock.db").display()), folder: Some(folder) })
            }
        }
    }

    /// Its `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes the database behind Paddock's back, and returns how many rows that touched.
    pub async fn execute(&self, statement: &'static str) -> Result<u64> {
        if self.folder.is_none() {
            let mut connection = PgConnection::connect(&self.url).await?;
            Ok(sqlx::query(statement).execute(&mut connection).await?.rows_affected())
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            Ok(sqlx::query(statement).execute(&mut connection).await?.rows_affected())
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = if self.folder.is_some() { Engine::Sqlite } else { Engine::Postgres };
        write!(f, "{engine:?} at {}", self.url)
    }
}
