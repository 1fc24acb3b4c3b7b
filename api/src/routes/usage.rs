//! Totals of usage.

#![expect(clippy::option_option, reason = "a group may have no key, and the totals may not be grouped by key")]
#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use std::str::FromStr;

use axum::extract::State;
use paddock_accounts::{
    Accounts, CredentialId, UserId, Violation,
    access::Permission,
    types::Scope,
    usage::{Day, GroupBy, Totals, UsageFilter, UsageTotals},
};
use paddock_ollama::ModelName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::schemas::{Listed, listed, page};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{
            Query,
            deserialize::{number, parsed},
        },
        openapi_problems::{CallerErrors, CommonErrors},
    },
};

/// The longest page, and the default.
pub(super) const MAX_PAGE: u16 = 1000;

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
            user_id: group.user_id.map(|id| id.0),
            credential_id: group.credential_id.map(|id| (id.0 != 0).then_some(id.0)),
            model: group.model,
            totals: group.totals.into(),
        }
    }
}

/// The value of `group_by`: some of `user`, `key`, `model` and `day`, each once.
struct Groups(GroupBy);

impl FromStr for Groups {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut groups = GroupBy::default();
        for word in text.split(',') {
            let group = match word {
                "day" => &mut groups.day,
                "user" => &mut groups.user,
                "key" => &mut groups.key,
                "model" => &mut groups.model,
                _ => return Err("must be some of user, key, model and day, with commas between"),
            };
            if std::mem::replace(group, true) {
                return Err("must name each of user, key, model and day once at the most");
            }
        }
        Ok(Self(groups))
    }
}

/// The filter and the groups of the totals.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// The first UTC date, such as `2026-11-01`. Absent: no lower bound.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Day>,
    /// The UTC date after the last one. Absent: no upper bound.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Day>,
    /// The groups: some of `user`, `key`, `model` and `day`, separated by commas. Absent: one row
    /// of totals.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, example = "user,model")]
    group_by: Option<Groups>,
    /// Only this user. Absent: all users for an admin, the caller for others.
    #[serde(default, deserialize_with = "number")]
    user_id: Option<i64>,
    /// Only this key.
    #[serde(default, deserialize_with = "number")]
    credential_id: Option<i64>,
    /// Only this model, in any spelling. Without a tag the name means the tag `latest`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    model: Option<ModelName>,
    /// The maximum number of rows.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<i64>,
    /// The number of rows to skip.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    offset: Option<i64>,
}

/// Returns totals of usage, in order of day, user, key and model.
#[utoipa::path(
    get, path = "/usage", operation_id = "add_up_usage", tag = "usage", params(UsageQuery),
    responses(
        (status = 200, description = "The totals.", body = Vec<GroupView>,
         headers(("X-Total-Count" = i64, description = "The number of rows on all pages."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn totals(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Listed<GroupView>, ApiError> {
    // Without any right to usage, the parameters do not matter.
    caller.require(Permission::See(Scope::UsageRead, caller.principal().user_id)).await?;
    let asked: UsageQuery = query.read()?;
    let user_id = caller.scope_to_user(Scope::UsageRead, asked.user_id.map(UserId)).await?;
    let (limit, offset) = page(asked.limit, MAX_PAGE, MAX_PAGE, asked.offset)?;
    let credential_id = asked.credential_id.map(CredentialId);
    if let Some(key) = credential_id {
        require_own_key(&accounts, &caller, key).await?;
    }
    if let (Some(from), Some(to)) = (asked.from, asked.to)
        && to <= from
    {
        return Err(ApiError::invalid(vec![Violation::new("?to", "must be later than from")]));
    }
    let filter = UsageFilter {
        from: asked.from,
        to: asked.to,
        user_id,
        credential_id,
        model: asked.model.map(|model| model.as_str().to_owned()),
    };
    let group_by = asked.group_by.map_or_else(GroupBy::default, |groups| groups.0);
    Ok(listed(with_db_timeout(accounts.usage().totals(&filter, group_by, limit, offset)).await?))
}

/// Denies a key of another user, unless the caller may see all usage. A key that does not exist is
/// denied in the same words.
async fn require_own_key(accounts: &Accounts, caller: &Caller, key: CredentialId) -> Result<(), ApiError> {
    if caller.principal().may(Permission::Manage(Scope::UsageRead)).is_ok() {
        return Ok(());
    }
    match with_db_timeout(accounts.credentials().find(key)).await? {
        Some(credential) if credential.user_id == caller.principal().user_id => Ok(()),
        _ => Err(caller.deny("this key is not yours".to_owned()).await),
    }
}
