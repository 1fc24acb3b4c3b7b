//! What more than one kind has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Upper bounds on use. An absent limit is no limit; a key is bound by its own and its user's. So far only
/// `requestsPerMinute` is enforced; the others are kept and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub requests_per_minute: Option<i64>,
    /// Prompt and completion tokens in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens_per_minute: Option<i64>,
    /// Prompt and completion tokens in a UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens_per_day: Option<i64>,
    /// Prompt and completion tokens in a UTC month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens_per_month: Option<i64>,
    /// Requests under way at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_concurrent: Option<i64>,
}

/// What every status has.
pub trait StatusExt {
    /// `status.conditions`.
    fn conditions(&self) -> &[Condition];

    /// The condition of that type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|c| c.type_ == type_)
    }
}
