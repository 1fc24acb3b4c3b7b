//! Issuance of a key.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use paddock_accounts::{
    Accounts, UserId,
    access::Permission,
    credentials::{Issued, NewKey},
    types::{self, Limits, Priority, Scope, Scopes},
};
use paddock_ollama::covers;
use paddock_store::clock::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        extract::{
            LazyBody, NoQuery,
            deserialize::{ObjectOnly, not_null},
        },
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, ConflictResponse, NotFoundResponse},
        security_headers::no_store,
    },
    routes::{
        hints::{HintView, hints_of_issued},
        schemas::{LimitsPatch, PriorityName, ScopeName, patterns},
    },
};

/// A new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCredential)]
pub(crate) struct IssueKey {
    /// The user that will own the key.
    user_id: i64,
    /// The label. Absent: `api-key`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    label: Option<String>,
    /// The scopes. Absent: `chat`, `generate`, `embed` and `models:read`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<ScopeName>, required = false)]
    scopes: Option<Scopes>,
    /// The patterns of the models that the key may use, in addition to those of the owner. A pattern
    /// after `!` denies, and takes precedence.
    #[serde(default)]
    #[schema(max_items = 256)]
    models: Option<Vec<String>>,
    /// The limits, in addition to those of the owner.
    #[serde(default)]
    #[schema(value_type = Option<LimitsPatch>)]
    limits: Option<ObjectOnly<LimitsPatch>>,
    /// The band in the queue. Absent: `interactive`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = PriorityName, required = false)]
    priority: Option<Priority>,
    /// When the key expires, in RFC 3339. Absent: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// An issued key.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    /// The credential's id.
    credential_id: i64,
    /// The key. No later answer shows it.
    #[schema(format = Password)]
    plaintext: String,
    /// When the key expires. Null: never.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Why the key can do less than an admin may expect.
    hints: Vec<HintView>,
}

impl From<Issued> for IssuedKey {
    fn from(issued: Issued) -> Self {
        Self {
            credential_id: issued.credential.id.0,
            plaintext: issued.token.plaintext().expose_secret().to_owned(),
            expires_at: issued.credential.expires_at,
            hints: hints_of_issued(issued.credential.models.as_ref(), &issued.owner),
        }
    }
}

/// Issues an API key.
///
/// A key can give another key at most its own rights: its scopes, models of its own list, no higher
/// limits, no higher priority, and no later expiry than that of its own secret. The request must name each of them. For
/// another user than its owner, the models and limits of the owner apply too.
#[utoipa::path(
    post, path = "/credentials", operation_id = "issue_credential", tag = "credentials", request_body = IssueKey,
    responses(
        (status = 201, description = "The issued key. No later answer shows it.", body = IssuedKey),
        CommonErrors, CallerErrors, BodyErrors, NotFoundResponse, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn issue(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    _: NoQuery,
    body: LazyBody,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::KeysWrite)).await?;
    let asked: IssueKey = body.json(&mut caller).await?;
    let new = NewKey {
        user_id: UserId(asked.user_id),
        label: asked.label,
        scopes: asked.scopes,
        models: asked.models.as_deref().map(patterns).transpose()?,
        limits: types::LimitsPatch::from(asked.limits.unwrap_or_default().0).over(Limits::default()),
        priority: asked.priority.unwrap_or_default(),
        expires_at: asked.expires_at,
    };
    if let Some(Err(error)) = caller.principal().delegation_limits(covers).map(|limits| new.check_within(&limits)) {
        return Err(caller.deny(error.to_string()).await);
    }
    let issued = with_db_timeout(accounts.credentials().issue(&caller.audit_context, new)).await?;
    Ok(no_store((StatusCode::CREATED, Json(IssuedKey::from(issued)))))
}
