//! The list of keys, with its filters and its order.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use axum::extract::State;
use paddock_accounts::{
    Accounts, CredentialId, Sort, UserId,
    access::Permission,
    credentials::{KeyColumn, KeySearch, KeyState},
    types::Scope,
};
use paddock_store::clock::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::view::CredentialView;
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
    routes::schemas::{Ids, Listed, ManagedFilter, SearchText, Words, choices, columns, listed, page},
};

/// The longest page, and the default, because existing clients expect all keys.
const MAX_PAGE: u16 = 1_000;

/// The filter and the order of a list of keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCredentials {
    /// Only keys of this user. Absent: all keys for an admin, the caller's keys for others.
    #[serde(default, deserialize_with = "number")]
    user_id: Option<i64>,
    /// Only keys with these ids, separated by commas; at most 200.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, example = "3,17", pattern = "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$")]
    id: Option<Ids>,
    /// Only keys with this text in the label, the address of the owner, or the prefix of a secret,
    /// also of an earlier one. The case does not matter.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    q: Option<SearchText>,
    /// Only keys in one of these states, separated by commas: `active`, `retiring`, `staged`,
    /// `expired`, `revoked`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, example = "active,retiring")]
    state: Option<Words<KeyState>>,
    /// Only keys with this scope, whether or not the roles of the owner allow it.
    #[serde(default, deserialize_with = "parsed")]
    #[param(schema_with = choices::<Scope>)]
    scope: Option<Scope>,
    /// Only keys with this text in one of their own model patterns.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    model: Option<SearchText>,
    /// Only keys that expire before this time.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = DateTime)]
    expires_before: Option<Timestamp>,
    /// Only keys that were never used, or only keys that were.
    #[serde(default, deserialize_with = "parsed")]
    never_used: Option<bool>,
    /// Only keys that were issued over the API, or only keys that Kubernetes objects own.
    #[serde(default, deserialize_with = "parsed")]
    #[param(schema_with = choices::<ManagedFilter>)]
    managed_by: Option<ManagedFilter>,
    /// The column to sort by; `-` in front sorts the largest value first. Keys without a value come
    /// last.
    #[serde(default, deserialize_with = "parsed")]
    #[param(schema_with = columns::<KeyColumn>)]
    sort: Option<Sort<KeyColumn>>,
    /// The maximum number of keys.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<i64>,
    /// The number of keys to skip.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    offset: Option<i64>,
}

/// Lists API keys, newest first. Without a filter the list includes revoked and expired keys.
#[utoipa::path(
    get, path = "/credentials", operation_id = "list_credentials", tag = "credentials", params(ListCredentials),
    responses(
        (status = 200, description = "The keys.", body = Vec<CredentialView>,
         headers(("X-Total-Count" = i64, description = "The number of keys on all pages."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Listed<CredentialView>, ApiError> {
    // Without any right to keys, the parameters do not matter.
    caller.require(Permission::See(Scope::KeysRead, caller.principal().user_id)).await?;
    let asked: ListCredentials = query.read()?;
    let user_id = caller.scope_to_user(Scope::KeysRead, asked.user_id.map(UserId)).await?;
    let (limit, offset) = page(asked.limit, MAX_PAGE, MAX_PAGE, asked.offset)?;
    let search = KeySearch {
        ids: asked.id.map(|ids| ids.0.into_iter().map(CredentialId).collect()).unwrap_or_default(),
        user_id,
        text: asked.q.map(|text| text.0),
        states: asked.state.map(|states| states.0).unwrap_or_default(),
        scope: asked.scope,
        model: asked.model.map(|text| text.0),
        expires_before: asked.expires_before,
        is_never_used: asked.never_used,
        is_managed: asked.managed_by.map(ManagedFilter::is_managed),
        sort: asked.sort,
    };
    Ok(listed(with_db_timeout(accounts.credentials().search(&search, limit, offset)).await?))
}
