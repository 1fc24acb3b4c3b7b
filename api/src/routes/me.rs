//! The caller's own profile.

use axum::{Json, extract::State};
use paddock_accounts::{
    Accounts,
    access::{AuthMethod, Permission},
    types::{Roles, Scopes},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    schemas::{LimitsView, RoleName, ScopeName, texts},
    usage::view::TotalsView,
};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::{ApiError, Kind},
        extract::NoQuery,
        openapi_problems::{CallerErrors, CommonErrors},
    },
};

/// The caller and its rights.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    /// The user's id.
    id: i64,
    /// The user's address.
    #[schema(format = Email)]
    email: String,
    /// The display name.
    #[schema(required)]
    display_name: Option<String>,
    /// The roles of the user.
    #[schema(value_type = Vec<RoleName>)]
    roles: Roles,
    /// The effective scopes: those of the roles, restricted to those of the key.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Scopes,
    /// The patterns of the models that the user may use. Null: all models.
    #[schema(required)]
    models: Option<Vec<String>>,
    /// The limits of the user.
    limits: LimitsView,
    /// The usage of the user, with all its keys.
    usage: UsageOfCaller,
    /// The key that authenticated the request. Null: a session did.
    #[schema(required)]
    key: Option<PresentedKey>,
}

/// The usage of a user, by UTC calendar.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageOfCaller {
    /// Since midnight UTC.
    today: TotalsView,
    /// Since the first day of the month.
    this_month: TotalsView,
}

/// The key that authenticated the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct PresentedKey {
    /// The credential's id.
    credential_id: i64,
    /// The label.
    label: String,
    /// The patterns of the models that the key may use, in addition to those of the user. Null:
    /// not restricted.
    #[schema(required)]
    models: Option<Vec<String>>,
    /// The limits of the key, in addition to those of the user.
    limits: LimitsView,
}

/// Shows the caller's profile, roles, scopes, limits and usage.
#[utoipa::path(
    get, path = "/me", operation_id = "show_me", tag = "me",
    responses((status = 200, description = "The caller.", body = Profile), CommonErrors, CallerErrors),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn profile(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    _: NoQuery,
) -> Result<Json<Profile>, ApiError> {
    caller.require(Permission::Profile).await?;
    let principal = caller.principal();
    let user = with_db_timeout(accounts.users().find(principal.user_id)).await?;
    // Deleted since it was authenticated.
    let user = user.ok_or_else(|| ApiError::new(Kind::Unauthenticated, "the user does not exist any more"))?;
    let (today, this_month) = with_db_timeout(accounts.usage().totals_of_user(principal.user_id)).await?;
    let scopes = principal.effective_scopes();
    let key = match &principal.via {
        AuthMethod::Session { .. } => None,
        AuthMethod::Key { credential_id, label, models, limits, .. } => Some(PresentedKey {
            credential_id: credential_id.0,
            label: label.clone(),
            models: texts(models.as_ref()),
            limits: (*limits).into(),
        }),
    };
    Ok(Json(Profile {
        id: user.id.0,
        email: user.email.to_string(),
        display_name: user.display_name,
        roles: user.roles,
        scopes,
        models: texts(user.models.as_ref()),
        limits: user.limits.into(),
        usage: UsageOfCaller { today: today.into(), this_month: this_month.into() },
        key,
    }))
}
