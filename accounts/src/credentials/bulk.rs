//! Selecting keys for a bulk revocation.

use paddock_store::{
    clock::Timestamp,
    ids::{CredentialId, UserId},
    with_conn,
};
use sqlx::QueryBuilder;

use super::Credentials;
use crate::error::Error;

/// Selects keys that are not revoked. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// The owner.
    pub user_id: Option<UserId>,
    /// The exact label.
    pub label: Option<String>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// Not used since this time. A key that was never used counts as used at its creation.
    pub unused_since: Option<Timestamp>,
}

impl KeyFilter {
    /// Whether the filter matches every key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Credentials<'_> {
    /// Finds the keys that match the filter, oldest first.
    pub async fn find_live(self, filter: &KeyFilter) -> Result<Vec<CredentialId>, Error> {
        /// Builds the statement for the engine of the connection.
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
