//! Listing keys.

use paddock_store::{ids::UserId, statements, with_conn};

use super::{Credential, Credentials};
use crate::error::Error;

statements! {
    LIST = "SELECT c.*, s.key_id FROM credentials c \
            LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
            ORDER BY c.id DESC LIMIT $1 OFFSET $2";
    LIST_OF_USER = "SELECT c.*, s.key_id FROM credentials c \
                    LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
                    WHERE c.user_id = $1 ORDER BY c.id DESC LIMIT $2 OFFSET $3";
    COUNT = "SELECT count(*) FROM credentials";
    COUNT_OF_USER = "SELECT count(*) FROM credentials WHERE user_id = $1";
}

impl Credentials<'_> {
    /// Credentials, newest first, revoked ones too; of one user or of all.
    pub async fn list(self, user_id: Option<UserId>) -> Result<Vec<Credential>, Error> {
        self.key_page(user_id, i64::MAX, 0).await
    }

    /// A page of the same, and how many there are in all.
    pub async fn list_page(
        self,
        user_id: Option<UserId>,
        limit: u16,
        offset: u32,
    ) -> Result<(Vec<Credential>, i64), Error> {
        let credentials = self.key_page(user_id, limit.into(), offset.into()).await?;
        let seen = i64::from(offset) + i64::try_from(credentials.len()).unwrap_or(i64::MAX);
        // A page that is not full ends the list: no count is needed.
        if credentials.len() < usize::from(limit) && (offset == 0 || !credentials.is_empty()) {
            return Ok((credentials, seen));
        }
        let mut reader = self.accounts.reader().await?;
        let total = match user_id {
            Some(id) => with_conn!(reader.conn(), |c| sqlx::query_scalar(COUNT_OF_USER).bind(id).fetch_one(c).await?),
            None => with_conn!(reader.conn(), |c| sqlx::query_scalar(COUNT).fetch_one(c).await?),
        };
        Ok((credentials, total))
    }

    async fn key_page(self, user_id: Option<UserId>, limit: i64, offset: i64) -> Result<Vec<Credential>, Error> {
        let mut reader = self.accounts.reader().await?;
        Ok(match user_id {
            Some(id) => with_conn!(reader.conn(), |c| sqlx::query_as(LIST_OF_USER)
                .bind(id)
                .bind(limit)
                .bind(offset)
                .fetch_all(c)
                .await?),
            None => with_conn!(reader.conn(), |c| sqlx::query_as(LIST).bind(limit).bind(offset).fetch_all(c).await?),
        })
    }
}
