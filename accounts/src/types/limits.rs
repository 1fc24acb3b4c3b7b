//! The limits of users and keys.

use serde::{Deserialize, Serialize};

use super::Violation;

/// Limits of a user or key. `None` means that only the default applies; 0 allows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::FromRow)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<i64>,
    /// Prompt and completion tokens per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<i64>,
    /// Prompt and completion tokens per UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<i64>,
    /// Prompt and completion tokens per UTC month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_month: Option<i64>,
    /// Requests in flight at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<i64>,
}

impl Limits {
    /// Returns each limit with its name.
    fn each(&self) -> [(&'static str, Option<i64>); 5] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
            ("tokens_per_month", self.tokens_per_month),
            ("max_concurrent", self.max_concurrent),
        ]
    }

    /// Returns what is wrong with the limits: negative ones, and those that another limit makes
    /// impossible to use up.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let violation = |name: &str, detail: String| Violation::new(format!("/limits/{name}"), detail);
        let negative = self.each().into_iter().filter(|(_, limit)| limit.is_some_and(|limit| limit < 0));
        let negative: Vec<_> = negative
            .map(|(name, _)| violation(name, "must be 0 or more; leave it out for no limit".to_owned()))
            .collect();
        if !negative.is_empty() {
            return negative;
        }
        let zero = self.each().into_iter().find_map(|(name, limit)| (limit == Some(0)).then_some(name));
        if let Some(zero) = zero {
            // A limit of 0 allows no request to run a model.
            let positive = self.of_models().into_iter().filter(|(_, limit)| limit.is_some_and(|limit| limit > 0));
            return positive
                .map(|(name, _)| violation(name, format!("must be 0 or absent, because {zero} is 0 and allows none")))
                .collect();
        }
        let windows = [
            (("tokens_per_minute", self.tokens_per_minute), ("tokens_per_day", self.tokens_per_day)),
            (("tokens_per_minute", self.tokens_per_minute), ("tokens_per_month", self.tokens_per_month)),
            (("tokens_per_day", self.tokens_per_day), ("tokens_per_month", self.tokens_per_month)),
        ];
        let contradiction = windows.into_iter().find_map(|((name, limit), (longer, most))| {
            let most = most.filter(|most| limit.is_some_and(|limit| limit > *most))?;
            Some(violation(name, format!("must be at most {longer}, which is {most}")))
        });
        contradiction.into_iter().collect()
    }

    /// Returns each limit that applies only to requests that run a model.
    fn of_models(&self) -> [(&'static str, Option<i64>); 4] {
        let [_, limits @ ..] = self.each();
        limits
    }

    /// Returns the name and maximum of each limit that is absent or higher than in `max`.
    pub(crate) fn above(&self, max: &Self) -> impl Iterator<Item = (&'static str, i64)> {
        self.each().into_iter().zip(max.each()).filter_map(|((name, limit), (_, max))| {
            let max = max?;
            limit.is_none_or(|limit| limit > max).then_some((name, max))
        })
    }
}

/// A merge patch of limits: `None` keeps a limit, `Some(None)` removes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// Requests per minute.
    pub requests_per_minute: Option<Option<i64>>,
    /// Prompt and completion tokens per minute.
    pub tokens_per_minute: Option<Option<i64>>,
    /// Prompt and completion tokens per UTC day.
    pub tokens_per_day: Option<Option<i64>>,
    /// Prompt and completion tokens per UTC month.
    pub tokens_per_month: Option<Option<i64>>,
    /// Requests in flight at the same time.
    pub max_concurrent: Option<Option<i64>>,
}

impl LimitsPatch {
    /// Removes every limit.
    pub const CLEAR: Self = Self {
        requests_per_minute: Some(None),
        tokens_per_minute: Some(None),
        tokens_per_day: Some(None),
        tokens_per_month: Some(None),
        max_concurrent: Some(None),
    };

    /// Applies the patch to these limits.
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

/// Binds the five limits to a statement, in column order.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::none(json!({}), &[])]
    #[case::rising(json!({"tokens_per_minute": 5, "tokens_per_day": 5, "tokens_per_month": 6}), &[])]
    #[case::negative(json!({"tokens_per_day": -1, "max_concurrent": -2}), &["tokens_per_day", "max_concurrent"])]
    #[case::day_above_month(json!({"tokens_per_day": 6, "tokens_per_month": 5}), &["tokens_per_day"])]
    #[case::minute_above_day(json!({"tokens_per_minute": 6, "tokens_per_day": 5}), &["tokens_per_minute"])]
    #[case::minute_above_month(json!({"tokens_per_minute": 6, "tokens_per_month": 5}), &["tokens_per_minute"])]
    #[case::nothing_runs(json!({"requests_per_minute": 9, "tokens_per_day": 0}), &[])]
    #[case::nothing_at_all(json!({"requests_per_minute": 0, "tokens_per_day": 0, "max_concurrent": 0}), &[])]
    #[case::no_requests(json!({"requests_per_minute": 0, "tokens_per_day": 1}), &["tokens_per_day"])]
    #[case::none_at_once(json!({"max_concurrent": 0, "tokens_per_month": 1}), &["tokens_per_month"])]
    #[case::no_tokens(
        json!({"tokens_per_day": 0, "tokens_per_month": 1, "max_concurrent": 1}), &["tokens_per_month", "max_concurrent"]
    )]
    fn contradictions_are_found(#[case] limits: Value, #[case] wrong: &[&str]) {
        let limits: Limits = serde_json::from_value(limits).unwrap();
        let found: Vec<_> = limits.violations().into_iter().map(|violation| violation.pointer).collect();
        assert_eq!(found, wrong.iter().map(|name| format!("/limits/{name}")).collect::<Vec<_>>());
    }
}
