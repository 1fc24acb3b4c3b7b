//! Revoking many keys at once.

use axum::{Json, extract::State};
use paddock_accounts::{
    CredentialId, UserId, Violation,
    access::Permission,
    credentials::KeyFilter,
    types::{Scope, display_text},
};
use paddock_store::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::{App, ask},
    authentication::Caller,
    extract::{NoQuery, Sender, Unread},
    openapi::{BodyProblems, CallerProblems, Problems},
    problem::Problem,
    shape::not_null,
};

/// The most keys that one request revokes, so that it ends before its client gives up.
const MOST_AT_ONCE: usize = 1_000;
/// The longest label there is.
const LONGEST_LABEL: usize = 100;

/// Which keys to revoke: those that all of it holds for. At least one of the first four must be there.
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
    /// Keys that came to be before, in RFC 3339.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, format = DateTime)]
    created_before: Option<Timestamp>,
    /// Keys that were not used since; of those never used, the ones that came to be before.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, format = DateTime)]
    unused_since: Option<Timestamp>,
    /// Also the key that asks, if it is among them; it comes last.
    #[serde(default)]
    include_self: bool,
    /// Only tell which ones they are.
    #[serde(default)]
    dry_run: bool,
}

/// The keys that were revoked.
#[derive(Serialize, ToSchema)]
#[schema(as = RevokedCredentials)]
pub(crate) struct RevokedMany {
    /// Their ids, oldest first; with `dry_run`, of those that would be.
    revoked: Vec<i64>,
    /// How many are left beyond the 1,000 of one request: ask again.
    #[schema(minimum = 0)]
    left: usize,
    /// Whether it was only asked.
    dry_run: bool,
}

/// Revokes the keys that fit, oldest first, each one for good and with an audit event of its own, as if one by one. The key
/// that asks is spared. If it breaks off, `detail` says which keys are revoked; asked again, it goes on.
#[utoipa::path(
    post, path = "/credentials/revoke", operation_id = "revoke_credentials", tag = "credentials",
    request_body = RevokeMany,
    responses(
        (status = 200, description = "What was revoked, or would be.", body = RevokedMany),
        Problems, CallerProblems, BodyProblems
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn revoke_many(
    State(app): State<App>,
    mut caller: Caller,
    _: NoQuery,
    body: Unread,
) -> Result<Json<RevokedMany>, Problem> {
    caller.must(Permission::Manage(Scope::KeysWrite)).await?;
    let asked: RevokeMany = body.json(&mut caller).await?;
    let RevokeMany { include_self, dry_run, .. } = asked;
    let mut keys = ask(app.accounts.credentials().find_live(&filter(asked)?)).await?;
    spare(&mut keys, caller.principal.credential_id(), include_self);
    let left = keys.len().saturating_sub(MOST_AT_ONCE);
    keys.truncate(MOST_AT_ONCE);
    if !dry_run {
        keys = revoke_each(&app, &mut caller, keys).await?;
    }
    Ok(Json(RevokedMany { revoked: keys.into_iter().map(i64::from).collect(), left, dry_run }))
}

/// One that would take every key is a slip.
fn filter(asked: RevokeMany) -> Result<KeyFilter, Problem> {
    let RevokeMany { user_id, label, created_before, unused_since, .. } = asked;
    if let Some(Err(error)) = label.as_deref().map(|label| display_text::check(label, LONGEST_LABEL)) {
        return Err(Problem::invalid(vec![Violation::new("/label", error.to_string())]));
    }
    let filter = KeyFilter { user_id: user_id.map(UserId), label, created_before, unused_since };
    if filter.is_empty() {
        let detail = "must have at least one of user_id, label, created_before and unused_since";
        return Err(Problem::invalid(vec![Violation::new("", detail)]));
    }
    Ok(filter)
}

/// Takes the key that asks out, or puts it last: what comes after it would not be told.
fn spare(keys: &mut Vec<CredentialId>, own: Option<CredentialId>, include_self: bool) {
    let Some(at) = own.and_then(|own| keys.iter().position(|key| *key == own)) else { return };
    let own = keys.remove(at);
    if include_self {
        keys.push(own);
    }
}

/// Each one in a transaction of its own, as long as the caller may. The answer leaves out those that someone else has revoked
/// meanwhile.
async fn revoke_each(app: &App, caller: &mut Caller, keys: Vec<CredentialId>) -> Result<Vec<CredentialId>, Problem> {
    let all = keys.len();
    let mut revoked = Vec::with_capacity(all);
    for id in keys {
        let done = match caller.still().await {
            Ok(()) => ask(app.accounts.credentials().revoke(&caller.context, id)).await.map_err(Problem::from),
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
                return Err(problem.saying(detail));
            }
        }
    }
    Ok(revoked)
}
