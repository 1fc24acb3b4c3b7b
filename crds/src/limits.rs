//! Limits of users and keys.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Upper bounds on usage. An absent limit means unlimited; a key has its own limits and those of
/// its user. Only `requestsPerMinute` is enforced so far; the other limits are stored and shown.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests per minute.
    #[schemars(range(min = 0))]
    pub requests_per_minute: Option<i64>,
    /// Prompt and completion tokens per minute.
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
