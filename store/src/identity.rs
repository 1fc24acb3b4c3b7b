//! The identity of a database, by which a process notices that the database was replaced.

use crate::{error::Error, statements, with_conn, write::Store};

statements! {
    IDENTITY = "SELECT i.id, h.position FROM database_identity i CROSS JOIN audit_head h";
}

/// The identity of a database, and how far its audit log has come.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DatabaseIdentity {
    id: String,
    position: i64,
}

impl DatabaseIdentity {
    /// Whether `later`, which was read after this identity, is of the same database. It is not if
    /// the database was created anew, or restored from a backup: the audit log of a database never
    /// becomes shorter at its end.
    #[must_use]
    pub fn is_continued_by(&self, later: &Self) -> bool {
        self.id == later.id && self.position <= later.position
    }
}

impl Store {
    /// Reads the identity of the database.
    pub async fn identity(&self) -> Result<DatabaseIdentity, Error> {
        Ok(with_conn!(self.reader().await?.conn(), |c| sqlx::query_as(IDENTITY).fetch_one(c).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: &str, position: i64) -> DatabaseIdentity {
        DatabaseIdentity { id: id.to_owned(), position }
    }

    #[test]
    fn a_new_database_and_an_older_copy_are_noticed() {
        let before = identity("a", 7);
        assert!(before.is_continued_by(&identity("a", 7)));
        assert!(before.is_continued_by(&identity("a", 8)));
        assert!(!before.is_continued_by(&identity("a", 6)), "restored from a backup");
        assert!(!before.is_continued_by(&identity("b", 8)), "created anew");
    }
}
