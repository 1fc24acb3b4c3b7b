//! The caller's own usage, and what is left of its limits.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use axum::{Extension, Json, extract::State};
use paddock_accounts::{
    Accounts, CredentialId, UserId, Violation,
    access::{AuthMethod, Permission},
    types::{Limits, Scope},
    usage::{Day, GroupBy, ReservationLimits, TokenWindow, UsageFilter},
};
use paddock_store::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    schemas::page,
    usage::{
        MAX_PAGE,
        view::{GroupView, TotalsView},
    },
};
use crate::{
    auth::Caller,
    http::{
        deadline::{DbError, with_db_timeout},
        error::ApiError,
        extract::{
            Query,
            deserialize::{number, parsed},
        },
        openapi_problems::{CallerErrors, CommonErrors},
        request_context::RequestContext,
    },
    rate_limit::{BucketKey, LimitStatus},
};

/// The period, and the page of its rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnUsageQuery {
    /// The first UTC date, such as `2026-11-01`. Absent: the first day of the current month.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Day>,
    /// The UTC date after the last one. Absent: the first day of the next month.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Day>,
    /// The maximum number of rows.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<i64>,
    /// The number of rows to skip.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    offset: Option<i64>,
}

/// The caller's usage in a period, and the present state of its limits.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnUsage {
    /// The first UTC date of the period.
    #[schema(value_type = String, format = Date)]
    from: Day,
    /// The UTC date after the last one.
    #[schema(value_type = String, format = Date)]
    to: Day,
    /// The key whose usage this is: the presented one, if it may not read usage. Null: the usage of
    /// all keys and sessions of the user.
    #[schema(required)]
    credential_id: Option<i64>,
    /// The totals of the period.
    totals: TotalsView,
    /// The totals of the period by key and model, in this order.
    by_key_and_model: Vec<GroupView>,
    /// The limits that apply to the caller.
    limits: OwnLimits,
}

/// The limits that apply to the caller. A request must stay within those of the user and those of
/// the key.
#[derive(Serialize, ToSchema)]
struct OwnLimits {
    /// The limits of the user. Tokens count for all keys and sessions of the user together.
    user: LimitStates,
    /// The limits of the presented key itself. Null: a session authenticated the request.
    #[schema(required)]
    key: Option<LimitStates>,
}

/// The limits of the user or the key. Null: no such limit applies.
#[derive(Serialize, ToSchema)]
struct LimitStates {
    /// Requests per minute. Without a limit of its own, a user has the server's default.
    #[schema(required)]
    requests_per_minute: Option<RequestLimit>,
    /// Prompt and completion tokens per UTC minute.
    #[schema(required)]
    tokens_per_minute: Option<TokenLimit>,
    /// Prompt and completion tokens per UTC day.
    #[schema(required)]
    tokens_per_day: Option<TokenLimit>,
    /// Prompt and completion tokens per UTC month.
    #[schema(required)]
    tokens_per_month: Option<TokenLimit>,
    /// Concurrent requests.
    #[schema(required)]
    max_concurrent: Option<ConcurrencyLimit>,
}

/// A limit of requests per minute, after this request. A user has one bucket for all its keys and
/// one for all its sessions; this is the bucket of the presented credential.
#[derive(Serialize, ToSchema)]
struct RequestLimit {
    /// The limit.
    #[schema(minimum = 0)]
    limit: u64,
    /// The number of requests that are allowed immediately.
    #[schema(minimum = 0)]
    left: u64,
    /// When the full number is available again.
    #[schema(value_type = String, format = DateTime)]
    resets_at: Timestamp,
    /// Whether requests beyond the limit are refused.
    is_enforced: bool,
}

/// A limit of tokens. A request counts in the window in which it was admitted: first with the tokens
/// that it reserves, and with the tokens that it used when it has ended. A request is refused if
/// nothing is left.
#[derive(Serialize, ToSchema)]
struct TokenLimit {
    /// The limit.
    #[schema(minimum = 0)]
    limit: i64,
    /// The prompt and completion tokens used in the current window, as far as they are known.
    #[schema(minimum = 0)]
    used: i64,
    /// The tokens that the requests in flight have reserved.
    #[schema(minimum = 0)]
    reserved: i64,
    /// The tokens left in the current window, after the reserved ones. 0 if more than the limit was
    /// used.
    #[schema(minimum = 0)]
    left: i64,
    /// When the next window begins.
    #[schema(value_type = String, format = DateTime)]
    resets_at: Timestamp,
    /// Whether requests beyond the limit are refused.
    is_enforced: bool,
}

/// A limit of concurrent requests.
#[derive(Serialize, ToSchema)]
struct ConcurrencyLimit {
    /// The limit.
    #[schema(minimum = 0)]
    limit: i64,
    /// The number of requests in flight.
    #[schema(minimum = 0)]
    in_flight: i64,
    /// The number of requests that may begin now.
    #[schema(minimum = 0)]
    left: i64,
    /// Whether requests beyond the limit are refused.
    is_enforced: bool,
}

/// Shows the caller's own usage by key and model, and what is left of its limits.
///
/// A session shows the usage of its user. A key shows its own usage only, unless it may also read
/// that of its user: with the scope `usage:read`, and a role of the user that allows it.
#[utoipa::path(
    get, path = "/me/usage", operation_id = "show_own_usage", tag = "me", params(OwnUsageQuery),
    responses(
        (status = 200, description = "The usage and the limits.", body = OwnUsage,
         headers(("X-Total-Count" = i64, description = "The number of rows by key and model on all pages."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn show(
    State(accounts): State<Accounts>,
    Extension(context): Extension<RequestContext>,
    mut caller: Caller,
    query: Query,
) -> Result<([(&'static str, String); 1], Json<OwnUsage>), ApiError> {
    caller.require(Permission::Profile).await?;
    let asked: OwnUsageQuery = query.read()?;
    let (limit, offset) = page(asked.limit, MAX_PAGE, MAX_PAGE, asked.offset)?;
    let (from, to) = period(asked.from, asked.to, Day::of(accounts.now()))?;
    let principal = &caller.principal();
    let user_id = principal.user_id;
    let may_see_user = principal.may(Permission::See(Scope::UsageRead, user_id)).is_ok();
    let credential_id = principal.credential_id().filter(|_| !may_see_user);
    let filter = UsageFilter {
        from: Some(from.start()),
        to: Some(to.start()),
        user_id: Some(user_id),
        credential_id,
        ..UsageFilter::default()
    };
    let (all, _) = with_db_timeout(accounts.usage().totals(&filter, GroupBy::default(), 1, 0)).await?;
    let group_by = GroupBy { key: true, model: true, ..GroupBy::default() };
    let (rows, total) = with_db_timeout(accounts.usage().totals(&filter, group_by, limit, offset)).await?;
    let buckets = context.rate_limit_status.buckets();
    let states = LimitReader { accounts: &accounts, user_id, buckets };
    let key = match &principal.via {
        AuthMethod::Key { credential_id, limits, .. } => Some(states.read(limits, Some(*credential_id)).await?),
        AuthMethod::Session { .. } => None,
    };
    let usage = OwnUsage {
        from,
        to,
        credential_id: credential_id.map(|id| id.0),
        totals: all.first().map(|row| row.totals).unwrap_or_default().into(),
        by_key_and_model: rows.into_iter().map(GroupView::from).collect(),
        limits: OwnLimits { user: states.read(&principal.limits, None).await?, key },
    };
    Ok(([("x-total-count", total.to_string())], Json(usage)))
}

/// Returns the first day of the period and the day after it. Absent bounds are those of the current
/// month.
fn period(from: Option<Day>, to: Option<Day>, today: Day) -> Result<(Day, Day), ApiError> {
    let (first, end) = (from.unwrap_or_else(|| today.month()), to.unwrap_or_else(|| today.next_month()));
    if first < end {
        return Ok((first, end));
    }
    Err(ApiError::invalid(vec![match to {
        Some(_) => Violation::new("?to", format!("must be later than from, which is {first}")),
        None => Violation::new("?from", format!("must be earlier than to, which is {end} if it is not given")),
    }]))
}

/// Reads the present state of limits.
struct LimitReader<'a> {
    accounts: &'a Accounts,
    user_id: UserId,
    /// The buckets that counted this request.
    buckets: &'a [(BucketKey, LimitStatus)],
}

impl LimitReader<'_> {
    /// The state of the limits of the user, or of one of its keys.
    async fn read(&self, limits: &Limits, key: Option<CredentialId>) -> Result<LimitStates, DbError> {
        let is_counted = ReservationLimits { user: *limits, key: None }.apply();
        let windows = if is_counted {
            Some(with_db_timeout(self.accounts.usage().token_windows(self.user_id, key)).await?)
        } else {
            None
        };
        let state = |limit, window: Option<TokenWindow>| Some(token_limit(limit?, window?));
        let max_concurrent = limits.max_concurrent.zip(windows.map(|windows| windows.in_flight));
        Ok(LimitStates {
            requests_per_minute: self.request_limit(key),
            tokens_per_minute: state(limits.tokens_per_minute, windows.map(|windows| windows.minute)),
            tokens_per_day: state(limits.tokens_per_day, windows.map(|windows| windows.day)),
            tokens_per_month: state(limits.tokens_per_month, windows.map(|windows| windows.month)),
            max_concurrent: max_concurrent.map(|(limit, in_flight)| ConcurrencyLimit {
                limit,
                in_flight,
                left: (limit - in_flight).max(0),
                is_enforced: true,
            }),
        })
    }

    /// The bucket of the user or the key, as this request left it.
    fn request_limit(&self, key: Option<CredentialId>) -> Option<RequestLimit> {
        let is_wanted = |bucket: &BucketKey| matches!(bucket, BucketKey::Key { .. }) == key.is_some();
        let (_, status) = self.buckets.iter().find(|(bucket, _)| is_wanted(bucket))?;
        Some(RequestLimit {
            limit: status.limit,
            left: status.remaining,
            resets_at: self.accounts.now() + status.reset,
            is_enforced: true,
        })
    }
}

fn token_limit(limit: i64, TokenWindow { used, reserved, resets_at }: TokenWindow) -> TokenLimit {
    let left = limit.saturating_sub(used.saturating_add(reserved)).max(0);
    TokenLimit { limit, used, reserved, left, resets_at, is_enforced: true }
}
