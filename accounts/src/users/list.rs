//! Listing and searching users.

use paddock_store::{Conn, statements, with_conn};

use super::{User, Users};
use crate::error::Error;

statements! {
    LIST = "SELECT * FROM users WHERE deleted_at IS NULL ORDER BY id LIMIT $1 OFFSET $2";
    COUNT = "SELECT count(*) FROM users WHERE deleted_at IS NULL";
    SEARCH = "SELECT * FROM users WHERE deleted_at IS NULL AND (email LIKE lower($1) ESCAPE '\\' \
              OR lower(display_name) LIKE lower($1) ESCAPE '\\' OR lower(external_id) LIKE lower($1) ESCAPE '\\') \
              ORDER BY id LIMIT $2 OFFSET $3";
    COUNT_FOUND = "SELECT count(*) FROM users WHERE deleted_at IS NULL AND (email LIKE lower($1) ESCAPE '\\' \
                   OR lower(display_name) LIKE lower($1) ESCAPE '\\' OR lower(external_id) LIKE lower($1) ESCAPE '\\')";
}

impl Users<'_> {
    /// Users in order of id, and how many there are in all. `query` is looked for in e-mail, display name and external id.
    pub async fn list(self, query: Option<&str>, limit: u16, offset: u32) -> Result<(Vec<User>, i64), Error> {
        let like = query.filter(|query| !query.is_empty()).map(contains);
        let mut reader = self.accounts.reader().await?;
        let users = page(reader.conn(), like.as_deref(), limit, offset).await?;
        let seen = i64::from(offset) + i64::try_from(users.len()).unwrap_or(i64::MAX);
        // A page that is not full ends the list: no count is needed.
        let is_last = users.len() < usize::from(limit) && (offset == 0 || !users.is_empty());
        let total = if is_last { seen } else { count(reader.conn(), like.as_deref()).await? };
        Ok((users, total))
    }
}

async fn page(conn: Conn<'_>, like: Option<&str>, limit: u16, offset: u32) -> Result<Vec<User>, Error> {
    let (limit, offset) = (i64::from(limit), i64::from(offset));
    Ok(match like {
        Some(like) => {
            with_conn!(conn, |c| sqlx::query_as(SEARCH).bind(like).bind(limit).bind(offset).fetch_all(c).await?)
        }
        None => with_conn!(conn, |c| sqlx::query_as(LIST).bind(limit).bind(offset).fetch_all(c).await?),
    })
}

async fn count(conn: Conn<'_>, like: Option<&str>) -> Result<i64, Error> {
    Ok(match like {
        Some(like) => with_conn!(conn, |c| sqlx::query_scalar(COUNT_FOUND).bind(like).fetch_one(c).await?),
        None => with_conn!(conn, |c| sqlx::query_scalar(COUNT).fetch_one(c).await?),
    })
}

/// What a LIKE looks for: the text anywhere, its own wildcards taken as they stand. The database lowers its case as it does that
/// of what it is compared with: SQLite, of ASCII letters only.
fn contains(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}
