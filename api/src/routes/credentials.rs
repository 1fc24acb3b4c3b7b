//! API keys.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use paddock_accounts::{
    Error,
    access::Need,
    clock::Time,
    credentials::{Credential, CredentialId, DEFAULT_GRACE, Issued, NewKey},
    limits::Limits,
    sets::{Scope, Scopes},
    token::prefix_of,
    users::UserId,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::not_stored,
    shared::{LimitsPatch, LimitsView, Owner, ScopeName, patterns, texts},
};
use crate::{
    app::{App, Unanswered, ask},
    authentication::Caller,
    extract::{Id, NoQuery, Query, Unread, within},
    openapi::{BodyProblems, CallerProblems, Conflict, Missing, Problems},
    problem::Problem,
    shape::{Members, not_null, parsed},
};

/// The longest that an old secret may live on after a rotation.
const LONGEST_GRACE: i64 = 30 * 24 * 60 * 60;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Credential)]
pub(crate) struct CredentialView {
    /// The identity; rotation keeps it.
    id: i64,
    /// Whose it is.
    user_id: i64,
    /// What people call it; not unique.
    label: String,
    /// How its secret is stored: always `argon2id`.
    #[schema(example = "argon2id")]
    alg: &'static str,
    /// The public part of its present secret, with which the key begins. Null: it has none.
    #[schema(required, example = "pdk_4fQ2mZ81xT")]
    prefix: Option<String>,
    /// What it may be used for, as far as its owner may.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Scopes,
    /// The patterns of models that it is narrowed to, beside its owner's. Null: not narrowed.
    #[schema(required)]
    models: Option<Vec<String>>,
    /// Its own limits, beside its owner's.
    limits: LimitsView,
    /// Whether it was revoked.
    revoked: bool,
    /// When it was revoked.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Time>,
    /// When it came to be.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it ends. Null: never.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// When it was last used, to about a minute.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Time>,
    /// The Kubernetes object that owns it. Null: the API does.
    #[schema(required)]
    managed_by: Option<Owner>,
    /// When an admin revoked it against the object that owns it.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    overridden_at: Option<Time>,
}

impl From<Credential> for CredentialView {
    fn from(credential: Credential) -> Self {
        Self {
            id: credential.id.0,
            user_id: credential.user_id.0,
            label: credential.label,
            alg: "argon2id",
            prefix: credential.key_id.as_deref().map(prefix_of),
            scopes: credential.scopes,
            models: texts(credential.models.as_ref()),
            limits: credential.limits.into(),
            revoked: credential.revoked_at.is_some(),
            revoked_at: credential.revoked_at,
            created_at: credential.created_at,
            expires_at: credential.expires_at,
            last_used_at: credential.last_used_at,
            managed_by: credential.managed_by.map(Owner::from),
            overridden_at: credential.overridden_at,
        }
    }
}

/// Which keys to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCredentials {
    /// Only keys of this user. Absent: to an admin all keys, to others their own.
    #[serde(default, deserialize_with = "parsed")]
    user_id: Option<i64>,
}

/// Lists API keys, newest first, revoked ones too.
#[utoipa::path(
    get, path = "/credentials", operation_id = "list_credentials", tag = "credentials", params(ListCredentials),
    responses(
        (status = 200, description = "The keys.", body = Vec<CredentialView>,
         headers(("X-Total-Count" = i64, description = "How many keys there are in all."))),
        Problems, CallerProblems
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<([(&'static str, String); 1], Json<Vec<CredentialView>>), Problem> {
    let me = caller.principal.user_id;
    // Without any right to keys, the parameters do not matter.
    caller.must(Need::See(Scope::KeysRead, me)).await?;
    let asked: ListCredentials = query.read()?;
    let sees_all = caller.principal.may(Need::Manage(Scope::KeysRead)).is_ok();
    let whose = match asked.user_id.map(UserId) {
        None => (!sees_all).then_some(me),
        Some(user) => {
            caller.must(Need::See(Scope::KeysRead, user)).await?;
            Some(user)
        }
    };
    let credentials = ask(app.accounts.credentials(whose)).await?;
    let total = credentials.len().to_string();
    Ok(([("x-total-count", total)], Json(credentials.into_iter().map(CredentialView::from).collect())))
}

/// A key to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCredential)]
pub(crate) struct IssueKey {
    /// Whose it will be.
    user_id: i64,
    /// What people call it; absent: `api-key`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    label: Option<String>,
    /// What it may be used for; absent: `chat`, `generate`, `embed` and `models:read`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<ScopeName>, required = false)]
    scopes: Option<Scopes>,
    /// The patterns of models to narrow it to, beside its owner's.
    #[serde(default)]
    models: Option<Vec<String>>,
    /// Its own limits, beside its owner's.
    #[serde(default)]
    #[schema(value_type = Option<LimitsPatch>)]
    limits: Option<Members<LimitsPatch>>,
    /// When it ends, in RFC 3339.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
}

/// A key just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    /// The credential's id.
    credential_id: i64,
    /// The key. It is shown this once, and cannot be had again.
    #[schema(format = Password)]
    plaintext: String,
    /// When it ends. Null: never.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
}

impl From<Issued> for IssuedKey {
    fn from(issued: Issued) -> Self {
        Self {
            credential_id: issued.credential.id.0,
            plaintext: issued.token.plaintext().expose_secret().to_owned(),
            expires_at: issued.credential.expires_at,
        }
    }
}

/// Issues an API key.
#[utoipa::path(
    post, path = "/credentials", operation_id = "issue_credential", tag = "credentials", request_body = IssueKey,
    responses(
        (status = 201, description = "The key. It is shown this once.", body = IssuedKey),
        Problems, CallerProblems, BodyProblems, Missing
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    body: Unread,
) -> Result<Response, Problem> {
    caller.must(Need::Manage(Scope::KeysWrite)).await?;
    let asked: IssueKey = body.json().await?;
    if let Some(own) = caller.principal.may_give() {
        let beyond = asked.scopes.clone().unwrap_or_else(Scopes::default_for_keys).without(own);
        if !beyond.is_empty() {
            return Err(caller.refuse(Error::BeyondScopes(beyond).to_string()).await);
        }
    }
    let new = NewKey {
        user_id: UserId(asked.user_id),
        label: asked.label,
        scopes: asked.scopes,
        models: asked.models.as_deref().map(patterns).transpose()?,
        limits: asked.limits.unwrap_or_default().0.over(Limits::default()),
        expires_at: asked.expires_at,
    };
    let issued = ask(app.accounts.issue_key(&caller.context, new)).await?;
    Ok(not_stored((StatusCode::CREATED, Json(IssuedKey::from(issued)))))
}

/// How to rotate.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// For how many seconds the old secret is still accepted; absent: a day.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 2_592_000, default = 86_400)]
    grace_seconds: Option<i64>,
}

/// Gives a key a new secret; the old one is accepted for a while.
#[utoipa::path(
    post, path = "/credentials/{id}/rotate", operation_id = "rotate_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")), request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The new key. It is shown this once.", body = IssuedKey),
        Problems, CallerProblems, BodyProblems, Missing, Conflict
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    _: NoQuery,
    body: Unread,
) -> Result<Response, Problem> {
    caller.must(Need::Manage(Scope::KeysWrite)).await?;
    let Rotation { grace_seconds } = body.json_if_any().await?;
    let grace = match grace_seconds {
        None => DEFAULT_GRACE,
        Some(seconds) => {
            let seconds = within("/grace_seconds", seconds, 0, LONGEST_GRACE)?;
            Duration::from_secs(seconds.unsigned_abs())
        }
    };
    let within = caller.principal.may_give();
    match ask(app.accounts.rotate_key(&caller.context, CredentialId(id), grace, within)).await {
        Ok(issued) => Ok(not_stored(Json(IssuedKey::from(issued)))),
        Err(Unanswered::Error(error @ Error::BeyondScopes(_))) => Err(caller.refuse(error.to_string()).await),
        Err(other) => Err(other.into()),
    }
}

/// Ends a key for good. One that has ended already stays as it is.
#[utoipa::path(
    post, path = "/credentials/{id}/revoke", operation_id = "revoke_credential", tag = "credentials",
    params(("id" = i64, Path, description = "The credential's id.")),
    responses(
        (status = 204, description = "The key is revoked."),
        Problems, CallerProblems, Missing
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<Response, Problem> {
    caller.must(Need::Manage(Scope::KeysWrite)).await?;
    ask(app.accounts.revoke_key(&caller.context, CredentialId(id))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
