//! Totals of usage.

use paddock_store::{
    ids::{CredentialId, UserId},
    with_conn,
};
use sqlx::{FromRow, QueryBuilder};

use super::{Day, Usage};
use crate::error::Error;

/// What totals are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "any of them goes with any other")]
pub struct GroupBy {
    /// A row for each UTC day.
    pub day: bool,
    /// A row for each user.
    pub user: bool,
    /// A row for each key, and one for sessions.
    pub key: bool,
    /// A row for each model.
    pub model: bool,
}

/// What is added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// From this day on.
    pub from: Option<Day>,
    /// Before this day.
    pub to: Option<Day>,
    /// Only this user.
    pub user_id: Option<UserId>,
    /// Only this key.
    pub credential_id: Option<CredentialId>,
    /// Only this canonical model.
    pub model: Option<String>,
}

/// Requests and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Totals {
    /// Requests that were admitted.
    pub requests: i64,
    /// Those of them that broke off, or ended in an error.
    pub failed: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of answers.
    pub completion_tokens: i64,
    /// Requests whose tokens were counted from frames, because the answer was cut before its totals.
    pub estimated: i64,
}

/// The totals of one group. What it was not grouped by is `None`.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct UsageTotals {
    /// The day.
    pub day: Option<Day>,
    /// The user.
    pub user_id: Option<UserId>,
    /// The key; 0 for sessions.
    pub credential_id: Option<CredentialId>,
    /// The model.
    pub model: Option<String>,
    /// What was used.
    #[sqlx(flatten)]
    pub totals: Totals,
}

impl GroupBy {
    /// The columns, in the order that rows have.
    fn columns(self) -> String {
        let columns = [(self.day, "day"), (self.user, "user_id"), (self.key, "credential_id"), (self.model, "model")];
        columns.into_iter().filter_map(|(is_wanted, name)| is_wanted.then_some(name)).collect::<Vec<_>>().join(", ")
    }

    /// The same with a type for what is not wanted.
    fn selected(self) -> String {
        [
            if self.day { "day" } else { "CAST(NULL AS BIGINT) AS day" },
            if self.user { "user_id" } else { "CAST(NULL AS BIGINT) AS user_id" },
            if self.key { "credential_id" } else { "CAST(NULL AS BIGINT) AS credential_id" },
            if self.model { "model" } else { "CAST(NULL AS TEXT) AS model" },
        ]
        .join(", ")
    }
}

/// Adds the conditions of a filter to a statement.
macro_rules! narrow {
    ($query:ident, $filter:expr) => {
        if let Some(from) = $filter.from {
            $query.push(" AND day >= ").push_bind(from);
        }
        if let Some(to) = $filter.to {
            $query.push(" AND day < ").push_bind(to);
        }
        if let Some(user_id) = $filter.user_id {
            $query.push(" AND user_id = ").push_bind(user_id);
        }
        if let Some(credential_id) = $filter.credential_id {
            $query.push(" AND credential_id = ").push_bind(credential_id);
        }
        if let Some(model) = &$filter.model {
            $query.push(" AND model = ").push_bind(model);
        }
    };
}

impl Usage<'_> {
    /// What was used, in order of day, user, key and model as far as it is told apart by them; and how many groups there are
    /// in all. Told apart by nothing, it is one row, also where nothing was used.
    pub async fn totals(
        self,
        filter: &UsageFilter,
        group_by: GroupBy,
        limit: u16,
        offset: u32,
    ) -> Result<(Vec<UsageTotals>, i64), Error> {
        let columns = group_by.columns();
        let grouped =
            if columns.is_empty() { String::new() } else { format!(" GROUP BY {columns} ORDER BY {columns}") };
        macro_rules! totals {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new("SELECT ");
                query.push(group_by.selected()).push(
                    ", CAST(coalesce(sum(requests), 0) AS BIGINT) AS requests, \
                     CAST(coalesce(sum(failed), 0) AS BIGINT) AS failed, \
                     CAST(coalesce(sum(prompt_tokens), 0) AS BIGINT) AS prompt_tokens, \
                     CAST(coalesce(sum(completion_tokens), 0) AS BIGINT) AS completion_tokens, \
                     CAST(coalesce(sum(estimated), 0) AS BIGINT) AS estimated FROM usage_days WHERE TRUE",
                );
                narrow!(query, filter);
                query.push(&grouped).push(" LIMIT ").push_bind(i64::from(limit));
                query.push(" OFFSET ").push_bind(i64::from(offset));
                query.build_query_as::<UsageTotals>().fetch_all($conn).await?
            }};
        }
        macro_rules! count {
            ($conn:expr) => {{
                let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 AS one FROM usage_days WHERE TRUE");
                narrow!(query, filter);
                query.push(" GROUP BY ").push(&columns).push(") AS groups_of_usage");
                query.build_query_scalar::<i64>().fetch_one($conn).await?
            }};
        }
        let mut reader = self.accounts.reader().await?;
        let rows: Vec<UsageTotals> = with_conn!(reader.conn(), |c| totals!(c));
        if columns.is_empty() {
            return Ok((rows, 1));
        }
        let seen = i64::from(offset) + i64::try_from(rows.len()).unwrap_or(i64::MAX);
        // A page that is not full ends the list: no count is needed.
        let is_last = rows.len() < usize::from(limit) && (offset == 0 || !rows.is_empty());
        let total = if is_last { seen } else { with_conn!(reader.conn(), |c| count!(c)) };
        Ok((rows, total))
    }

    /// What a user has used today and in this month, by the UTC calendar.
    pub async fn totals_of_user(self, user_id: UserId) -> Result<(Totals, Totals), Error> {
        let today = Day::of(self.accounts.now());
        let since = async |day| {
            let filter = UsageFilter { from: Some(day), user_id: Some(user_id), ..UsageFilter::default() };
            let (rows, _) = self.totals(&filter, GroupBy::default(), 1, 0).await?;
            Ok::<_, Error>(rows.first().map(|row| row.totals).unwrap_or_default())
        };
        Ok((since(today).await?, since(today.month()).await?))
    }
}
