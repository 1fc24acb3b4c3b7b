//! Totals of usage.

use paddock_store::{
    ids::{CredentialId, UserId},
    with_conn,
};
use sqlx::{FromRow, QueryBuilder};

use super::{Day, Usage};
use crate::error::Error;

/// The dimensions by which totals are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "every combination is valid")]
pub struct GroupBy {
    /// One row per UTC day.
    pub day: bool,
    /// One row per user.
    pub user: bool,
    /// One row per key, and one for all sessions.
    pub key: bool,
    /// One row per model.
    pub model: bool,
}

/// Selects the usage to sum. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The first day, inclusive.
    pub from: Option<Day>,
    /// The end day, exclusive.
    pub to: Option<Day>,
    /// The user.
    pub user_id: Option<UserId>,
    /// The key.
    pub credential_id: Option<CredentialId>,
    /// The canonical model name.
    pub model: Option<String>,
}

/// Sums of requests and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Totals {
    /// Admitted requests.
    pub requests: i64,
    /// Requests that were interrupted or ended with an error.
    pub failed: i64,
    /// Prompt tokens.
    pub prompt_tokens: i64,
    /// The part of the prompt tokens that Ollama read from its cache, as reported.
    pub cached_prompt_tokens: i64,
    /// Completion tokens.
    pub completion_tokens: i64,
    /// Requests whose tokens were estimated from frames, because the response ended before its
    /// totals.
    pub estimated: i64,
}

/// The totals of one group. A dimension that was not grouped by is `None`.
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
    /// The sums.
    #[sqlx(flatten)]
    pub totals: Totals,
}

impl GroupBy {
    /// Returns the columns to group and sort by.
    fn columns(self) -> String {
        let columns = [(self.day, "day"), (self.user, "user_id"), (self.key, "credential_id"), (self.model, "model")];
        columns.into_iter().filter_map(|(is_wanted, name)| is_wanted.then_some(name)).collect::<Vec<_>>().join(", ")
    }

    /// Returns the columns to select: a typed NULL for each dimension that is not grouped by.
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
    /// Returns a page of totals, ordered by the grouped dimensions, and the number of all groups.
    /// Without grouping, returns one row, even if there was no usage.
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
                     CAST(coalesce(sum(cached_prompt_tokens), 0) AS BIGINT) AS cached_prompt_tokens, \
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
        // A page that is not full ends the list, so no count is needed.
        let is_last = rows.len() < usize::from(limit) && (offset == 0 || !rows.is_empty());
        let total = if is_last { seen } else { with_conn!(reader.conn(), |c| count!(c)) };
        Ok((rows, total))
    }

    /// Returns the totals of a user for the current UTC day and UTC month.
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
