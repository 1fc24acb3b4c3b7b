//! Changes of a key.

#![expect(clippy::option_option, reason = "absent, null and a value are three things in a merge patch")]

use axum::{Json, extract::State};
use paddock_accounts::{
    Accounts, CredentialId,
    access::Permission,
    credentials::KeyPatch,
    types::{self, Priority, Scope, Scopes},
};
use paddock_ollama::covers;
use paddock_store::clock::Timestamp;
use serde::Deserialize;
use serde_with::rust::double_option;
use utoipa::ToSchema;

use super::view::CredentialView;
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::{ApiError, Kind},
        extract::{
            Id, LazyBody, NoQuery,
            deserialize::{ObjectOnly, not_null},
        },
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, ConflictResponse, NotFoundResponse},
    },
    routes::schemas::{LimitsPatch, PriorityName, ScopeName, patterns},
};

/// The changes of a key. An absent field stays the same; null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CredentialPatch)]
pub(crate) struct ChangeKey {
    /// The label.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    label: Option<String>,
    /// The scopes.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<ScopeName>, required = false)]
    scopes: Option<Scopes>,
    /// The patterns of the models that the key may use, in addition to those of the owner. Null:
    /// not restricted. Empty: no model.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    models: Option<Option<Vec<String>>>,
    /// The limits, in addition to those of the owner. Null removes all of them.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<LimitsPatch>)]
    limits: Option<Option<ObjectOnly<LimitsPatch>>>,
    /// The band in the queue.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = PriorityName, required = false)]
    priority: Option<Priority>,
    /// When the key expires, in RFC 3339. Null: never.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Timestamp>>,
}

/// Changes an API key, with a merge patch (RFC 7396). Its secret stays the same.
///
/// A key that Kubernetes owns, and a key that is revoked or expired, cannot be changed. A key cannot
/// change a key with more rights than its own, nor give it more.
#[utoipa::path(
    patch, path = "/credentials/{id}", operation_id = "change_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")), request_body = ChangeKey,
    responses(
        (status = 200, description = "The changed key.", body = CredentialView),
        CommonErrors, CallerErrors, BodyErrors, NotFoundResponse, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn change(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
    body: LazyBody,
) -> Result<Json<CredentialView>, ApiError> {
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    let asked: ChangeKey = body.json(&mut caller).await?;
    let id = CredentialId(id);
    let patch = KeyPatch {
        label: asked.label,
        scopes: asked.scopes,
        models: asked.models.map(|models| models.map(|models| patterns(&models)).transpose()).transpose()?,
        limits: match asked.limits {
            None => types::LimitsPatch::default(),
            Some(None) => types::LimitsPatch::CLEAR,
            Some(Some(limits)) => limits.0.into(),
        },
        priority: asked.priority,
        expires_at: asked.expires_at,
    };
    let limits = caller.principal().delegation_limits(covers);
    if let Err(why) = with_db_timeout(accounts.credentials().change(&caller.audit_context, id, patch, limits)).await {
        return Err(caller.error_from(why).await);
    }
    let key = with_db_timeout(accounts.credentials().show(id)).await?;
    let key = key.ok_or_else(|| ApiError::new(Kind::NotFound, format!("credential {id} does not exist")))?;
    Ok(Json(key.into()))
}
