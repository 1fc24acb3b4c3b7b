//! Limits of users and keys.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Upper bounds on usage. An absent limit means unlimited; a key has its own limits and those of
/// its user. 0 allows nothing. A limit of tokens must not exceed that of a longer window.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tokensPerDay) || !has(self.tokensPerMonth) || self.tokensPerDay <= self.tokensPerMonth")
        .message("limits.tokensPerDay must be at most tokensPerMonth"),
    validation = Rule::new("!has(self.tokensPerMinute) || !has(self.tokensPerDay) || self.tokensPerMinute <= self.tokensPerDay")
        .message("limits.tokensPerMinute must be at most tokensPerDay"),
    validation = Rule::new("!has(self.tokensPerMinute) || !has(self.tokensPerMonth) || self.tokensPerMinute <= self.tokensPerMonth")
        .message("limits.tokensPerMinute must be at most tokensPerMonth"),
    validation = Rule::new(ZERO_ALLOWS_NOTHING)
        .message("limits: if one limit is 0, the limits of tokens and maxConcurrent must be 0 or absent, because no request can use them")
)]
pub struct Limits {
    /// Requests per minute.
    #[schemars(range(min = 0))]
    pub requests_per_minute: Option<i64>,
    /// Prompt and completion tokens per UTC minute.
    #[schemars(range(min = 0))]
    pub tokens_per_minute: Option<i64>,
    /// Prompt and completion tokens per UTC day.
    #[schemars(range(min = 0))]
    pub tokens_per_day: Option<i64>,
    /// Prompt and completion tokens per UTC month.
    #[schemars(range(min = 0))]
    pub tokens_per_month: Option<i64>,
    /// Concurrent requests.
    #[schemars(range(min = 0))]
    pub max_concurrent: Option<i64>,
}

/// No limit of requests that run a model is positive if one limit is 0.
const ZERO_ALLOWS_NOTHING: &str = "!((has(self.requestsPerMinute) && self.requestsPerMinute == 0) \
    || (has(self.tokensPerMinute) && self.tokensPerMinute == 0) || (has(self.tokensPerDay) && self.tokensPerDay == 0) \
    || (has(self.tokensPerMonth) && self.tokensPerMonth == 0) || (has(self.maxConcurrent) && self.maxConcurrent == 0)) \
    || ((!has(self.tokensPerMinute) || self.tokensPerMinute == 0) && (!has(self.tokensPerDay) || self.tokensPerDay == 0) \
    && (!has(self.tokensPerMonth) || self.tokensPerMonth == 0) && (!has(self.maxConcurrent) || self.maxConcurrent == 0))";
