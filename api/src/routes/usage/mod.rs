//! Totals of usage: the list, and its export.

pub(super) mod export;
mod query;
pub(super) mod view;

use axum::extract::State;
use paddock_accounts::{Accounts, access::Permission, types::Scope};

use super::schemas::{Listed, listed, page};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::Query,
        openapi_problems::{CallerErrors, CommonErrors},
    },
};
use query::UsageQuery;
use view::GroupView;

/// The longest page, and the default.
pub(super) const MAX_PAGE: u16 = 1000;

/// Returns totals of usage, by default in order of day, hour, user, key and model.
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
    let (filter, group_by) = asked.resolve(&accounts, &mut caller).await?;
    let (limit, offset) = page(asked.limit, MAX_PAGE, MAX_PAGE, asked.offset)?;
    Ok(listed(with_db_timeout(accounts.usage().totals(&filter, group_by, limit, offset)).await?))
}
