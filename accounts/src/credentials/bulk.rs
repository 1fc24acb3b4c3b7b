//! Selecting keys for a bulk revocation.

use paddock_store::{
    clock::Timestamp,
    ids::{CredentialId, UserId},
    with_conn,
};
use sqlx::QueryBuilder;

use super::Credentials;
use crate::error::Error;

/// Keys that are not revoked, and all of this holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// They are this user's.
    pub user_id: Option<UserId>,
    /// They have exactly this label.
    pub label: Option<String>,
    /// They came to be before.
    pub created_before: Option<Timestamp>,
    /// They were not used since; those never used, not issued since.
    pub unused_since: Option<Timestamp>,
}

impl KeyFilter {
    /// Whether it would take every key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Credentials<'_> {
    /// The keys that are not revoked and fit, oldest first.
    pub async fn find_live(self, filter: &KeyFilter) -> Result<Vec<CredentialId>, Error> {
        /// One statement, built for the engine of the connection.
        macro_rules! filtered {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new("SELECT id FROM credentials WHERE revoked_at IS NULL");
                if let Some(user_id) = filter.user_id {
                    query.push(" AND user_id = ").push_bind(user_id);
                }
                if let Some(label) = &filter.label {
                    query.push(" AND label = ").push_bind(label);
                }
                if let Some(before) = filter.created_before {
                    query.push(" AND created_at < ").push_bind(before);
                }
                if let Some(since) = filter.unused_since {
                    query.push(" AND coalesce(last_used_at, created_at) < ").push_bind(since);
                }
                query.push(" ORDER BY id").build_query_scalar().fetch_all($conn).await?
            }};
        }
        Ok(with_conn!(self.accounts.reader().await?.conn(), |c| filtered!(c)))
    }
}
