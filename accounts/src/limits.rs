//! How much a user or key may do.

use serde::{Deserialize, Serialize};

/// Limits of a user or key: absent means "no limit but the default", 0 means "none allowed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::FromRow)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<i64>,
    /// Prompt and completion tokens in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<i64>,
    /// Prompt and completion tokens in a UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<i64>,
    /// Prompt and completion tokens in a UTC month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_month: Option<i64>,
    /// Requests in flight at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<i64>,
}

impl Limits {
    /// The first limit that is below zero, by its name.
    #[must_use]
    pub fn negative(&self) -> Option<&'static str> {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
            ("tokens_per_month", self.tokens_per_month),
            ("max_concurrent", self.max_concurrent),
        ]
        .into_iter()
        .find_map(|(name, limit)| limit.is_some_and(|limit| limit < 0).then_some(name))
    }
}
