//! Totals of usage as the API shows them.

#![expect(clippy::option_option, reason = "a group may have no key, and the totals may not be grouped by key")]

use paddock_accounts::usage::{Day, Totals, UsageTotals};
use paddock_store::clock::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Totals of requests and tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = Totals)]
pub(crate) struct TotalsView {
    /// The number of admitted requests.
    requests: i64,
    /// The number of these requests that were incomplete or ended in an error.
    failed: i64,
    /// The tokens of prompts.
    prompt_tokens: i64,
    /// Those of the prompt tokens that Ollama read from its cache. Older versions of Ollama do not
    /// report them; their requests add nothing.
    cached_prompt_tokens: i64,
    /// The tokens of answers.
    completion_tokens: i64,
    /// The number of requests whose tokens are estimated, because the answer ended before its
    /// totals.
    estimated: i64,
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        let Totals { requests, failed, prompt_tokens, cached_prompt_tokens, completion_tokens, estimated } = totals;
        Self { requests, failed, prompt_tokens, cached_prompt_tokens, completion_tokens, estimated }
    }
}

/// The totals of one group.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageGroup)]
pub(crate) struct GroupView {
    /// The UTC day, if the totals are grouped by day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>, format = Date)]
    day: Option<Day>,
    /// The beginning of the UTC hour, if the totals are grouped by hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>, format = DateTime)]
    hour: Option<Timestamp>,
    /// The user, if the totals are grouped by user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<i64>,
    /// The key, if the totals are grouped by key. Null: sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, required = false)]
    credential_id: Option<Option<i64>>,
    /// The canonical name of the model, if the totals are grouped by model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model: Option<String>,
    #[serde(flatten)]
    totals: TotalsView,
}

impl From<UsageTotals> for GroupView {
    fn from(group: UsageTotals) -> Self {
        Self {
            day: group.day,
            hour: group.hour,
            user_id: group.user_id.map(|id| id.0),
            credential_id: group.credential_id.map(|id| (id.0 != 0).then_some(id.0)),
            model: group.model,
            totals: group.totals.into(),
        }
    }
}
