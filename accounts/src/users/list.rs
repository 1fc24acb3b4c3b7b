//! Listing and searching users.

use paddock_store::{db::like_pattern, ids::UserId, statements, with_conn};
use sqlx::QueryBuilder;

use super::{User, Users};
use crate::{
    error::Error,
    list_query::{Sort, SortColumn, order_by, total_of_last_page},
    types::{Role, TextEnum},
};

statements! {
    COUNT = "SELECT count(*) FROM users WHERE deleted_at IS NULL";
}

/// Selects users. Every field that is set must match.
#[derive(Clone, Debug, Default)]
pub struct UserSearch {
    /// One of these ids. Empty: any id.
    pub ids: Vec<UserId>,
    /// A substring of the e-mail address, the display name or the external id, in any case.
    pub text: Option<String>,
    /// The roles.
    pub role: Option<RoleFilter>,
    /// Whether the user is enabled.
    pub is_active: Option<bool>,
    /// Whether a Kubernetes object owns the user.
    pub is_managed: Option<bool>,
    /// The order; `None` means the order of ids.
    pub sort: Option<Sort<UserColumn>>,
}

/// Selects users by their roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleFilter {
    /// Users that have this role. They may have other roles too.
    With(Role),
    /// Users without any role.
    Without,
}

/// A column by which users can be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserColumn {
    /// The id.
    Id,
    /// The e-mail address.
    Email,
    /// The display name, in any case.
    DisplayName,
    /// Whether the user is enabled.
    IsActive,
    /// The roles.
    Roles,
    /// When the user was created.
    CreatedAt,
    /// When the user last changed.
    UpdatedAt,
}

impl TextEnum for UserColumn {
    const ALL: &'static [Self] =
        &[Self::Id, Self::Email, Self::DisplayName, Self::IsActive, Self::Roles, Self::CreatedAt, Self::UpdatedAt];

    fn text(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Email => "email",
            Self::DisplayName => "display_name",
            Self::IsActive => "is_active",
            Self::Roles => "roles",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
        }
    }
}

impl SortColumn for UserColumn {
    fn expression(self) -> (&'static str, bool) {
        match self {
            Self::DisplayName => ("lower(display_name)", true),
            Self::Email | Self::Roles => (self.text(), true),
            Self::Id | Self::IsActive | Self::CreatedAt | Self::UpdatedAt => (self.text(), false),
        }
    }
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
        if let Some(like) = $search.text.as_deref().filter(|text| !text.is_empty()).map(like_pattern) {
            $query.push(" AND (email LIKE lower(").push_bind(like.clone()).push(") ESCAPE '\\'");
            $query.push(" OR lower(display_name) LIKE lower(").push_bind(like.clone()).push(") ESCAPE '\\'");
            $query.push(" OR lower(external_id) LIKE lower(").push_bind(like).push(") ESCAPE '\\')");
        }
        match $search.role {
            None => {}
            Some(RoleFilter::Without) => {
                $query.push(" AND roles = ''");
            }
            Some(RoleFilter::With(role)) => {
                $query.push(" AND (' ' || roles || ' ') LIKE ").push_bind(format!("% {} %", role.text()));
            }
        }
        if let Some(is_active) = $search.is_active {
            $query.push(" AND is_active = ").push_bind(is_active);
        }
        if let Some(is_managed) = $search.is_managed {
            $query.push(if is_managed { " AND managed_uid IS NOT NULL" } else { " AND managed_uid IS NULL" });
        }
    };
}

impl UserSearch {
    fn is_everything(&self) -> bool {
        let has_text = self.text.as_ref().is_some_and(|text| !text.is_empty());
        self.ids.is_empty() && !has_text && self.role.is_none() && self.is_active.is_none() && self.is_managed.is_none()
    }
}

impl Users<'_> {
    /// Lists a page of the matching users. Also returns their total number.
    pub async fn list(self, search: &UserSearch, limit: u16, offset: u32) -> Result<(Vec<User>, i64), Error> {
        macro_rules! page {
            ($conn:expr, $order:expr) => {{
                let mut query = QueryBuilder::new("SELECT * FROM users WHERE deleted_at IS NULL");
                narrow!(query, search);
                query.push($order).push(" LIMIT ").push_bind(i64::from(limit));
                query.push(" OFFSET ").push_bind(i64::from(offset));
                query.build_query_as::<User>().fetch_all($conn).await?
            }};
        }
        macro_rules! count {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new(COUNT);
                narrow!(query, search);
                query.build_query_scalar::<i64>().fetch_one($conn).await?
            }};
        }
        let sort = search.sort.unwrap_or(Sort { column: UserColumn::Id, is_descending: false });
        let mut reader = self.accounts.reader().await?;
        let order = order_by(sort, &reader.conn());
        let users: Vec<User> = with_conn!(reader.conn(), |c| page!(c, order));
        let total = match total_of_last_page(users.len(), limit, offset) {
            Some(total) => total,
            None if search.is_everything() => {
                with_conn!(reader.conn(), |c| sqlx::query_scalar(COUNT).fetch_one(c).await?)
            }
            None => with_conn!(reader.conn(), |c| count!(c)),
        };
        Ok((users, total))
    }
}
