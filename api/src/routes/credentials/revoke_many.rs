//! Revocation of many keys at once.

use axum::{Json, extract::State};
use paddock_accounts::{
    Accounts, CredentialId, UserId, Violation,
    access::Permission,
    credentials::KeyFilter,
    types::{Scope, display_text},
};
use paddock_store::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{LazyBody, NoQuery, Revalidate, deserialize::not_null},
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors},
    },
};

/// How many keys one request revokes, so that it ends before its client times out.
const MAX_REVOKED: usize = 1_000;
/// The longest label, in characters.
const MAX_LABEL_LENGTH: usize = 100;

/// The filter of the keys to revoke. A key must match every given field. At least one of the first
/// four fields is required.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RevokeCredentials)]
pub(crate) struct RevokeMany {
    /// Keys of this user.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = i64, required = false)]
    user_id: Option<i64>,
    /// Keys with exactly this label.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    label: Option<String>,
    /// Keys that were created before this time, in RFC 3339.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, format = DateTime)]
    created_before: Option<Timestamp>,
    /// Keys that were not used since this time. For a key that was never used, its creation counts.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, format = DateTime)]
    unused_since: Option<Timestamp>,
    /// Whether the caller's own key is included. It is revoked last.
    #[serde(default)]
    include_self: bool,
    /// Whether to list the keys without revoking them.
    #[serde(default)]
    dry_run: bool,
}

/// The result of a bulk revocation.
#[derive(Serialize, ToSchema)]
#[schema(as = RevokedCredentials)]
pub(crate) struct BulkRevokeResult {
    /// The ids of the revoked keys, oldest first. In a dry run: of the keys to revoke.
    revoked: Vec<i64>,
    /// The number of matching keys beyond the 1,000 of one request. Repeat the request for them.
    #[schema(minimum = 0)]
    left: usize,
    /// Whether the request was a dry run.
    dry_run: bool,
}

/// Revokes all matching keys, oldest first.
///
/// Each key gets an audit event of its own. The caller's own key is left out by default. If the
/// request fails midway, `detail` names the revoked keys; a repeated request continues.
#[utoipa::path(
    post, path = "/credentials/revoke", operation_id = "revoke_credentials", tag = "credentials",
    request_body = RevokeMany,
    responses(
        (status = 200, description = "The revoked keys or, in a dry run, the keys that would be revoked.", body = BulkRevokeResult),
        CommonErrors, CallerErrors, BodyErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn revoke_many(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    _: NoQuery,
    body: LazyBody,
) -> Result<Json<BulkRevokeResult>, ApiError> {
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    let asked: RevokeMany = body.json(&mut caller).await?;
    let RevokeMany { include_self, dry_run, .. } = asked;
    let mut keys = with_db_timeout(accounts.credentials().find_live(&filter(asked)?)).await?;
    spare_own_key(&mut keys, caller.principal().credential_id(), include_self);
    let left = keys.len().saturating_sub(MAX_REVOKED);
    keys.truncate(MAX_REVOKED);
    if !dry_run {
        keys = revoke_each(&accounts, &mut caller, keys).await?;
    }
    Ok(Json(BulkRevokeResult { revoked: keys.into_iter().map(i64::from).collect(), left, dry_run }))
}

/// Checks the filter. A filter that matches every key is refused as a mistake.
fn filter(asked: RevokeMany) -> Result<KeyFilter, ApiError> {
    let RevokeMany { user_id, label, created_before, unused_since, .. } = asked;
    if let Some(Err(error)) = label.as_deref().map(|label| display_text::check(label, MAX_LABEL_LENGTH)) {
        return Err(ApiError::invalid(vec![Violation::new("/label", error.to_string())]));
    }
    let filter = KeyFilter { user_id: user_id.map(UserId), label, created_before, unused_since };
    if filter.is_empty() {
        let detail = "must have at least one of user_id, label, created_before and unused_since";
        return Err(ApiError::invalid(vec![Violation::new("", detail)]));
    }
    Ok(filter)
}

/// Removes the caller's own key, or moves it to the end: after its revocation the caller could
/// revoke no other.
fn spare_own_key(keys: &mut Vec<CredentialId>, own: Option<CredentialId>, include_self: bool) {
    let Some(at) = own.and_then(|own| keys.iter().position(|key| *key == own)) else { return };
    let own = keys.remove(at);
    if include_self {
        keys.push(own);
    }
}

/// Revokes each key in a transaction of its own, for as long as the caller has the permission. The
/// result leaves out keys that were revoked meanwhile.
async fn revoke_each(
    accounts: &Accounts,
    caller: &mut Caller,
    keys: Vec<CredentialId>,
) -> Result<Vec<CredentialId>, ApiError> {
    let all = keys.len();
    let mut revoked = Vec::with_capacity(all);
    for id in keys {
        let done = match caller.revalidate().await {
            Ok(()) => {
                with_db_timeout(accounts.credentials().revoke(&caller.audit_context, id)).await.map_err(ApiError::from)
            }
            Err(problem) => Err(problem),
        };
        match done {
            Ok(true) => revoked.push(id),
            Ok(false) => {}
            Err(problem) => {
                let done: Vec<_> = revoked.iter().map(ToString::to_string).collect();
                let detail = format!(
                    "it broke off at credential {id}, which may be revoked or not; {} of {all} are revoked: {}; ask again \
                     for the rest",
                    done.len(),
                    if done.is_empty() { "none".to_owned() } else { done.join(", ") }
                );
                return Err(problem.with_detail(detail));
            }
        }
    }
    Ok(revoked)
}
