//! Listing and searching keys.

use std::collections::HashMap;

use paddock_store::{
    db::like_pattern,
    ids::{CredentialId, UserId},
    statements, with_conn,
};
use sqlx::QueryBuilder;

use super::{Credential, Credentials, SecretState, SecretVersion, search::KeySearch, state::KeyState};
use crate::{
    error::Error,
    list_query::{order_by, total_of_last_page},
    types::{ModelPatterns, Roles, TextEnum as _, prefix_of},
};

statements! {
    LIST = "SELECT c.*, s.key_id FROM credentials c \
            LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' ORDER BY c.id DESC";
    LIST_OF_USER = "SELECT c.*, s.key_id FROM credentials c \
                    LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
                    WHERE c.user_id = $1 ORDER BY c.id DESC";
    COUNT = "SELECT count(*) FROM credentials";
    COUNT_OF_USER = "SELECT count(*) FROM credentials WHERE user_id = $1";
}

/// A key, its owner, and its secrets.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ListedKey {
    /// The key.
    #[sqlx(flatten)]
    pub credential: Credential,
    /// The state at the time of the query.
    pub state: KeyState,
    /// The owner.
    #[sqlx(flatten)]
    pub owner: KeyOwner,
    /// The secrets that are neither revoked nor past their grace, oldest first.
    #[sqlx(skip)]
    pub versions: Vec<SecretVersion>,
}

/// What decides, beside the key, whether the key is of use.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyOwner {
    /// The address; `None` if the owner is deleted.
    #[sqlx(rename = "owner_email")]
    pub email: Option<String>,
    /// Whether the owner is enabled.
    #[sqlx(rename = "owner_is_active")]
    pub is_active: bool,
    /// The roles of the owner.
    #[sqlx(rename = "owner_roles")]
    pub roles: Roles,
    /// The models that the owner may use; `None` means all.
    #[sqlx(rename = "owner_models")]
    pub models: Option<ModelPatterns>,
}

/// A secret, and the key that it belongs to.
#[derive(sqlx::FromRow)]
struct VersionOfKey {
    credential_id: CredentialId,
    #[sqlx(flatten)]
    version: SecretVersion,
}

/// Adds the table of keys with their states. The bound time appears twice.
macro_rules! push_keys {
    ($query:ident, $now:expr) => {
        $query
            .push(
                "(SELECT c.*, s.key_id, u.email AS owner_email, u.is_active AS owner_is_active, u.roles AS owner_roles, \
                 u.models AS owner_models, CASE WHEN c.revoked_at IS NOT NULL THEN 'revoked' WHEN c.expires_at <= ",
            )
            .push_bind($now)
            .push(
                " THEN 'expired' WHEN s.key_id IS NULL THEN 'staged' WHEN EXISTS (SELECT 1 FROM credential_secrets r \
                 WHERE r.credential_id = c.id AND r.state = 'retiring' AND r.retire_at > ",
            )
            .push_bind($now)
            .push(
                ") THEN 'retiring' ELSE 'active' END AS state FROM credentials c JOIN users u ON u.id = c.user_id \
                 LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active') AS k WHERE TRUE",
            );
    };
}

/// Adds the conditions of a search to a statement.
macro_rules! narrow {
    ($query:ident, $search:expr) => {
        if !$search.ids.is_empty() {
            $query.push(" AND id IN (");
            let mut ids = $query.separated(", ");
            for id in &$search.ids {
                ids.push_bind(*id);
            }
            $query.push(")");
        }
        if let Some(user_id) = $search.user_id {
            $query.push(" AND user_id = ").push_bind(user_id);
        }
        if let Some(like) = $search.text.as_deref().filter(|text| !text.is_empty()).map(like_pattern) {
            $query.push(" AND (lower(label) LIKE lower(").push_bind(like.clone()).push(") ESCAPE '\\'");
            $query.push(" OR owner_email LIKE lower(").push_bind(like.clone()).push(") ESCAPE '\\'");
            // Of every version, so that an old prefix from a log leads to its key.
            $query.push(" OR EXISTS (SELECT 1 FROM credential_secrets v WHERE v.credential_id = k.id AND lower(");
            $query.push_bind(prefix_of("")).push(" || v.key_id) LIKE lower(").push_bind(like).push(") ESCAPE '\\'))");
        }
        if !$search.states.is_empty() {
            $query.push(" AND state IN (");
            let mut states = $query.separated(", ");
            for state in &$search.states {
                states.push_bind(state.text());
            }
            $query.push(")");
        }
        if let Some(scope) = $search.scope {
            $query.push(" AND (' ' || scopes || ' ') LIKE ").push_bind(format!("% {} %", scope.text()));
        }
        if let Some(model) = $search.model.as_deref().map(like_pattern) {
            $query.push(" AND lower(models) LIKE lower(").push_bind(model).push(") ESCAPE '\\'");
        }
        if let Some(before) = $search.expires_before {
            $query.push(" AND expires_at < ").push_bind(before);
        }
        if let Some(never) = $search.is_never_used {
            $query.push(if never { " AND last_used_at IS NULL" } else { " AND last_used_at IS NOT NULL" });
        }
        if let Some(is_managed) = $search.is_managed {
            $query.push(if is_managed { " AND managed_uid IS NOT NULL" } else { " AND managed_uid IS NULL" });
        }
    };
}

impl Credentials<'_> {
    /// Lists the credentials of one user or of all, newest first, including revoked ones.
    pub async fn list(self, user_id: Option<UserId>) -> Result<Vec<Credential>, Error> {
        let mut reader = self.accounts.reader().await?;
        Ok(match user_id {
            Some(id) => with_conn!(reader.conn(), |c| sqlx::query_as(LIST_OF_USER).bind(id).fetch_all(c).await?),
            None => with_conn!(reader.conn(), |c| sqlx::query_as(LIST).fetch_all(c).await?),
        })
    }

    /// Finds the key with this id, with its owner and its secrets.
    pub async fn show(self, id: CredentialId) -> Result<Option<ListedKey>, Error> {
        let search = KeySearch { ids: vec![id], ..KeySearch::default() };
        Ok(self.search(&search, 1, 0).await?.0.pop())
    }

    /// Lists a page of the matching keys, including revoked ones. Also returns their total number.
    pub async fn search(self, search: &KeySearch, limit: u16, offset: u32) -> Result<(Vec<ListedKey>, i64), Error> {
        let now = self.accounts.now();
        macro_rules! page {
            ($conn:expr, $order:expr) => {{
                let mut query = QueryBuilder::new("SELECT * FROM ");
                push_keys!(query, now);
                narrow!(query, search);
                query.push($order).push(" LIMIT ").push_bind(i64::from(limit));
                query.push(" OFFSET ").push_bind(i64::from(offset));
                query.build_query_as::<ListedKey>().fetch_all($conn).await?
            }};
        }
        let mut reader = self.accounts.reader().await?;
        let order = order_by(search.sort(), &reader.conn());
        let mut keys: Vec<ListedKey> = with_conn!(reader.conn(), |c| page!(c, order));
        drop(reader);
        self.add_versions(&mut keys).await?;
        let total = match total_of_last_page(keys.len(), limit, offset) {
            Some(total) => total,
            None => self.count(search).await?,
        };
        Ok((keys, total))
    }

    async fn count(self, search: &KeySearch) -> Result<i64, Error> {
        macro_rules! count {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new("SELECT count(*) FROM ");
                push_keys!(query, self.accounts.now());
                narrow!(query, search);
                query.build_query_scalar::<i64>().fetch_one($conn).await?
            }};
        }
        let mut reader = self.accounts.reader().await?;
        Ok(match (search.is_everything(), search.user_id) {
            (true, None) => with_conn!(reader.conn(), |c| sqlx::query_scalar(COUNT).fetch_one(c).await?),
            (true, Some(id)) => {
                with_conn!(reader.conn(), |c| sqlx::query_scalar(COUNT_OF_USER).bind(id).fetch_one(c).await?)
            }
            (false, _) => with_conn!(reader.conn(), |c| count!(c)),
        })
    }

    /// Adds the secrets of each key, in one query.
    async fn add_versions(self, keys: &mut [ListedKey]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        macro_rules! versions {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new(
                    "SELECT credential_id, id, key_id, state, issued_at, expires_at, retire_at, last_used_at FROM \
                     credential_secrets WHERE state <> 'revoked' AND credential_id IN (",
                );
                let mut ids = query.separated(", ");
                for key in &*keys {
                    ids.push_bind(key.credential.id);
                }
                query.push(") ORDER BY id");
                query.build_query_as::<VersionOfKey>().fetch_all($conn).await?
            }};
        }
        let mut reader = self.accounts.reader().await?;
        let versions: Vec<VersionOfKey> = with_conn!(reader.conn(), |c| versions!(c));
        let now = self.accounts.now();
        let mut of_keys: HashMap<CredentialId, Vec<SecretVersion>> = HashMap::new();
        for VersionOfKey { credential_id, version } in versions {
            let is_over = version.state == SecretState::Retiring && version.retire_at.is_some_and(|end| end <= now);
            if !is_over {
                of_keys.entry(credential_id).or_default().push(version);
            }
        }
        for key in keys {
            key.versions = of_keys.remove(&key.credential.id).unwrap_or_default();
        }
        Ok(())
    }
}
