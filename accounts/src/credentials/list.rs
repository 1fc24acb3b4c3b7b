//! Listing keys.

use super::{Credential, Row};
use crate::{
    Accounts,
    error::Error,
    store::{on, statements},
    users::UserId,
};

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

impl Accounts {
    /// Credentials, newest first, revoked ones too; of one user or of all.
    pub async fn credentials(&self, user_id: Option<UserId>) -> Result<Vec<Credential>, Error> {
        self.key_page(user_id, i64::MAX, 0).await
    }

    /// A page of the same, and how many there are in all.
    pub async fn credentials_page(
        &self,
        user_id: Option<UserId>,
        limit: u16,
        offset: u32,
    ) -> Result<(Vec<Credential>, i64), Error> {
        let credentials = self.key_page(user_id, limit.into(), offset.into()).await?;
        let seen = i64::from(offset) + i64::try_from(credentials.len()).unwrap_or(i64::MAX);
        // Who sees the last of them has counted them.
        if credentials.len() < usize::from(limit) && (offset == 0 || !credentials.is_empty()) {
            return Ok((credentials, seen));
        }
        let mut reader = self.reader().await?;
        let total = match user_id {
            Some(id) => on!(reader.conn(), |c| sqlx::query_scalar(COUNT_OF_USER).bind(id).fetch_one(c).await?),
            None => on!(reader.conn(), |c| sqlx::query_scalar(COUNT).fetch_one(c).await?),
        };
        Ok((credentials, total))
    }

    async fn key_page(&self, user_id: Option<UserId>, limit: i64, offset: i64) -> Result<Vec<Credential>, Error> {
        let mut reader = self.reader().await?;
        let rows: Vec<Row> = match user_id {
            Some(id) => on!(reader.conn(), |c| sqlx::query_as(LIST_OF_USER)
                .bind(id)
                .bind(limit)
                .bind(offset)
                .fetch_all(c)
                .await?),
            None => on!(reader.conn(), |c| sqlx::query_as(LIST).bind(limit).bind(offset).fetch_all(c).await?),
        };
        Ok(rows.into_iter().map(Credential::from).collect())
    }
}
