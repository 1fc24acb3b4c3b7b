//! Totals of usage.

use paddock_store::{
    Conn,
    clock::Timestamp,
    ids::{CredentialId, UserId},
    with_conn,
};
use sqlx::{FromRow, QueryBuilder};

use super::{Day, Usage};
use crate::{
    error::Error,
    list_query::{Sort, total_of_last_page},
    types::TextEnum,
};

/// The dimensions by which totals are grouped, and their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "every combination is valid")]
pub struct GroupBy {
    /// One row per UTC day.
    pub day: bool,
    /// One row per UTC hour.
    pub hour: bool,
    /// One row per user.
    pub user: bool,
    /// One row per key, and one for all sessions.
    pub key: bool,
    /// One row per model.
    pub model: bool,
    /// The order; `None` means the order of the dimensions.
    pub sort: Option<Sort<UsageColumn>>,
}

/// A sum by which totals can be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageColumn {
    /// Admitted requests.
    Requests,
    /// Requests that were interrupted or ended with an error.
    Failed,
    /// Prompt tokens.
    PromptTokens,
    /// Completion tokens.
    CompletionTokens,
    /// Prompt and completion tokens together.
    TotalTokens,
}

impl TextEnum for UsageColumn {
    const ALL: &'static [Self] =
        &[Self::Requests, Self::Failed, Self::PromptTokens, Self::CompletionTokens, Self::TotalTokens];

    fn text(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Failed => "failed",
            Self::PromptTokens => "prompt_tokens",
            Self::CompletionTokens => "completion_tokens",
            Self::TotalTokens => "total_tokens",
        }
    }
}

impl UsageColumn {
    const fn expression(self) -> &'static str {
        match self {
            Self::Requests => "sum(requests)",
            Self::Failed => "sum(failed)",
            Self::PromptTokens => "sum(prompt_tokens)",
            Self::CompletionTokens => "sum(completion_tokens)",
            Self::TotalTokens => "sum(prompt_tokens) + sum(completion_tokens)",
        }
    }
}

/// Selects the usage to sum. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The beginning, inclusive.
    pub from: Option<Timestamp>,
    /// The end, exclusive.
    pub to: Option<Timestamp>,
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
    /// The beginning of the hour.
    pub hour: Option<Timestamp>,
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
        let columns = [
            (self.day, "day"),
            (self.hour, "hour"),
            (self.user, "user_id"),
            (self.key, "credential_id"),
            (self.model, "model"),
        ];
        columns.into_iter().filter_map(|(is_wanted, name)| is_wanted.then_some(name)).collect::<Vec<_>>().join(", ")
    }

    /// Returns the columns to select: a typed NULL for each dimension that is not grouped by.
    fn selected(self) -> String {
        [
            if self.day { "day" } else { "CAST(NULL AS BIGINT) AS day" },
            // Without a value, and of the type of a time.
            if self.hour { "hour" } else { "max(no_hour) AS hour" },
            if self.user { "user_id" } else { "CAST(NULL AS BIGINT) AS user_id" },
            if self.key { "credential_id" } else { "CAST(NULL AS BIGINT) AS credential_id" },
            if self.model { "model" } else { "CAST(NULL AS TEXT) AS model" },
        ]
        .join(", ")
    }
}

/// Where totals are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The totals of whole days.
    Days,
    /// The rows of single requests.
    Requests,
}

impl UsageFilter {
    /// Whole days are added up from their totals, however long the period is.
    fn source(&self, group_by: GroupBy) -> Source {
        let is_midnight = |bound: Option<Timestamp>| bound.is_none_or(|at| Day::of(at).start() == at);
        if group_by.hour || !is_midnight(self.from) || !is_midnight(self.to) { Source::Requests } else { Source::Days }
    }
}

impl Source {
    /// Returns the table with the columns of `usage_days`. The rows of requests also have the hour.
    const fn table(self, is_postgres: bool) -> &'static str {
        match (self, is_postgres) {
            (Self::Days, true) => "(SELECT *, CAST(NULL AS TIMESTAMPTZ) AS no_hour FROM usage_days) AS u",
            (Self::Days, false) => "(SELECT *, CAST(NULL AS BIGINT) AS no_hour FROM usage_days) AS u",
            (Self::Requests, true) => {
                "(SELECT started_at, usage_day(started_at) AS day, date_trunc('hour', started_at, 'UTC') AS hour, \
                 CAST(NULL AS TIMESTAMPTZ) AS no_hour, user_id, coalesce(credential_id, 0) AS credential_id, model, \
                 1 AS requests, CASE WHEN status <> 'ok' OR http_status >= 400 THEN 1 ELSE 0 END AS failed, \
                 coalesce(prompt_tokens, 0) AS prompt_tokens, coalesce(cached_prompt_tokens, 0) AS cached_prompt_tokens, \
                 coalesce(completion_tokens, 0) AS completion_tokens, \
                 CASE WHEN tokens_estimated THEN 1 ELSE 0 END AS estimated FROM usage) AS u"
            }
            (Self::Requests, false) => {
                "(SELECT started_at, started_at / 86400000000 AS day, started_at - started_at % 3600000000 AS hour, \
                 CAST(NULL AS BIGINT) AS no_hour, user_id, coalesce(credential_id, 0) AS credential_id, model, \
                 1 AS requests, CASE WHEN status <> 'ok' OR http_status >= 400 THEN 1 ELSE 0 END AS failed, \
                 coalesce(prompt_tokens, 0) AS prompt_tokens, coalesce(cached_prompt_tokens, 0) AS cached_prompt_tokens, \
                 coalesce(completion_tokens, 0) AS completion_tokens, \
                 CASE WHEN tokens_estimated THEN 1 ELSE 0 END AS estimated FROM usage) AS u"
            }
        }
    }
}

/// Adds the conditions of a filter to a statement.
macro_rules! narrow {
    ($query:ident, $filter:expr, $source:expr) => {
        match $source {
            Source::Days => {
                if let Some(from) = $filter.from {
                    $query.push(" AND day >= ").push_bind(Day::of(from));
                }
                if let Some(to) = $filter.to {
                    $query.push(" AND day < ").push_bind(Day::of(to));
                }
            }
            Source::Requests => {
                if let Some(from) = $filter.from {
                    $query.push(" AND started_at >= ").push_bind(from);
                }
                if let Some(to) = $filter.to {
                    $query.push(" AND started_at < ").push_bind(to);
                }
            }
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
        let (columns, source) = (group_by.columns(), filter.source(group_by));
        let order = group_by.sort.map_or_else(String::new, |Sort { column, is_descending }| {
            format!("{} {}, ", column.expression(), if is_descending { "DESC" } else { "ASC" })
        });
        let grouped =
            if columns.is_empty() { String::new() } else { format!(" GROUP BY {columns} ORDER BY {order}{columns}") };
        macro_rules! totals {
            ($conn:expr, $table:expr) => {{
                let mut query = QueryBuilder::new("SELECT ");
                query.push(group_by.selected()).push(
                    ", CAST(coalesce(sum(requests), 0) AS BIGINT) AS requests, \
                     CAST(coalesce(sum(failed), 0) AS BIGINT) AS failed, \
                     CAST(coalesce(sum(prompt_tokens), 0) AS BIGINT) AS prompt_tokens, \
                     CAST(coalesce(sum(cached_prompt_tokens), 0) AS BIGINT) AS cached_prompt_tokens, \
                     CAST(coalesce(sum(completion_tokens), 0) AS BIGINT) AS completion_tokens, \
                     CAST(coalesce(sum(estimated), 0) AS BIGINT) AS estimated FROM ",
                );
                query.push($table).push(" WHERE TRUE");
                narrow!(query, filter, source);
                query.push(&grouped).push(" LIMIT ").push_bind(i64::from(limit));
                query.push(" OFFSET ").push_bind(i64::from(offset));
                query.build_query_as::<UsageTotals>().fetch_all($conn).await?
            }};
        }
        macro_rules! count {
            ($conn:expr, $table:expr) => {{
                let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 AS one FROM ");
                query.push($table).push(" WHERE TRUE");
                narrow!(query, filter, source);
                query.push(" GROUP BY ").push(&columns).push(") AS groups_of_usage");
                query.build_query_scalar::<i64>().fetch_one($conn).await?
            }};
        }
        let mut reader = self.accounts.reader().await?;
        let table = source.table(matches!(reader.conn(), Conn::Pg(_)));
        let rows: Vec<UsageTotals> = with_conn!(reader.conn(), |c| totals!(c, table));
        if columns.is_empty() {
            return Ok((rows, 1));
        }
        let total = match total_of_last_page(rows.len(), limit, offset) {
            Some(total) => total,
            None => with_conn!(reader.conn(), |c| count!(c, table)),
        };
        Ok((rows, total))
    }

    /// Returns the totals of a user for the current UTC day and UTC month.
    pub async fn totals_of_user(self, user_id: UserId) -> Result<(Totals, Totals), Error> {
        let today = Day::of(self.accounts.now());
        let since = async |day: Day| {
            let filter = UsageFilter { from: Some(day.start()), user_id: Some(user_id), ..UsageFilter::default() };
            let (rows, _) = self.totals(&filter, GroupBy::default(), 1, 0).await?;
            Ok::<_, Error>(rows.first().map(|row| row.totals).unwrap_or_default())
        };
        Ok((since(today).await?, since(today.month()).await?))
    }
}
