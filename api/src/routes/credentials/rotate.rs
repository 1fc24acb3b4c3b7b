//! Rotation of a key.

use std::time::Duration;

use axum::{Json, extract::State, response::Response};
use paddock_accounts::{Accounts, CredentialId, access::Permission, credentials::DEFAULT_GRACE, types::Scope};
use paddock_ollama::covers;
use serde::Deserialize;
use utoipa::ToSchema;

use super::issue::IssuedKey;
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{Id, LazyBody, NoQuery, deserialize::not_null, within},
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, ConflictResponse, NotFoundResponse},
        security_headers::no_store,
    },
};

/// The longest grace period of an old secret, in seconds.
const MAX_GRACE: i64 = 30 * 24 * 60 * 60;

/// The options of a rotation.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old secret is still accepted, in seconds. Absent: one day.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 2_592_000, default = 86_400)]
    grace_seconds: Option<i64>,
}

/// Gives a key a new secret. The old secret is accepted until its grace ends.
///
/// A key cannot rotate a key with more rights than its own. A retiring secret cannot rotate a key
/// that would outlive it.
#[utoipa::path(
    post, path = "/credentials/{id}/rotate", operation_id = "rotate_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")), request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The key with its new secret. No later answer shows it.", body = IssuedKey),
        CommonErrors, CallerErrors, BodyErrors, NotFoundResponse, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn rotate(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
    body: LazyBody,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    let Rotation { grace_seconds } = body.json_or_default(&mut caller).await?;
    let grace = match grace_seconds {
        None => DEFAULT_GRACE,
        Some(seconds) => {
            let seconds = within("/grace_seconds", seconds, 0, MAX_GRACE)?;
            Duration::from_secs(seconds.unsigned_abs())
        }
    };
    let limits = caller.principal().delegation_limits(covers);
    match with_db_timeout(accounts.credentials().rotate(&caller.audit_context, CredentialId(id), grace, limits)).await {
        Ok(issued) => Ok(no_store(Json(IssuedKey::from(issued)))),
        Err(why) => Err(caller.error_from(why).await),
    }
}
