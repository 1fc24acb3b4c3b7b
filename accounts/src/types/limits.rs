//! The limits of users and keys.

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
    /// Each limit with its name.
    fn each(&self) -> [(&'static str, Option<i64>); 5] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
            ("tokens_per_month", self.tokens_per_month),
            ("max_concurrent", self.max_concurrent),
        ]
    }

    /// The first limit that is below zero, by its name.
    #[must_use]
    pub fn negative(&self) -> Option<&'static str> {
        self.each().into_iter().find_map(|(name, limit)| limit.is_some_and(|limit| limit < 0).then_some(name))
    }

    /// The limits that are absent or higher than `max`, each with its name and its maximum.
    pub(crate) fn above(&self, max: &Self) -> impl Iterator<Item = (&'static str, i64)> {
        self.each().into_iter().zip(max.each()).filter_map(|((name, limit), (_, max))| {
            let max = max?;
            limit.is_none_or(|limit| limit > max).then_some((name, max))
        })
    }
}

/// A merge patch of limits: `None` leaves a limit as it is, `Some(None)` takes it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// Requests in a minute.
    pub requests_per_minute: Option<Option<i64>>,
    /// Prompt and completion tokens in a minute.
    pub tokens_per_minute: Option<Option<i64>>,
    /// Prompt and completion tokens in a UTC day.
    pub tokens_per_day: Option<Option<i64>>,
    /// Prompt and completion tokens in a UTC month.
    pub tokens_per_month: Option<Option<i64>>,
    /// Requests in flight at once.
    pub max_concurrent: Option<Option<i64>>,
}

impl LimitsPatch {
    /// Takes every limit away.
    pub const CLEAR: Self = Self {
        requests_per_minute: Some(None),
        tokens_per_minute: Some(None),
        tokens_per_day: Some(None),
        tokens_per_month: Some(None),
        max_concurrent: Some(None),
    };

    /// The limits after it.
    #[must_use]
    pub fn over(self, limits: Limits) -> Limits {
        Limits {
            requests_per_minute: self.requests_per_minute.unwrap_or(limits.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(limits.tokens_per_minute),
            tokens_per_day: self.tokens_per_day.unwrap_or(limits.tokens_per_day),
            tokens_per_month: self.tokens_per_month.unwrap_or(limits.tokens_per_month),
            max_concurrent: self.max_concurrent.unwrap_or(limits.max_concurrent),
        }
    }
}

/// Binds the five limits to a statement, in the order of their columns.
macro_rules! bind_limits {
    ($query:expr, $limits:expr) => {
        $query
            .bind($limits.requests_per_minute)
            .bind($limits.tokens_per_minute)
            .bind($limits.tokens_per_day)
            .bind($limits.tokens_per_month)
            .bind($limits.max_concurrent)
    };
}
pub(crate) use bind_limits;
