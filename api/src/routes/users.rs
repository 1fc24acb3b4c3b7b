//! Users: list, create, show, change, delete.

#![expect(clippy::option_option, reason = "absent, null and a value are three things in a merge patch")]
#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

use std::str::FromStr;

use axum::{Json, extract::State, http::StatusCode};
use paddock_accounts::{
    Accounts, Sort, UserId, Violation,
    access::Permission,
    types::{self, Email, Limits, Role, Roles, Scope, TextEnum, UnknownVariant, parse_variant},
    users::{Created, NewUser, RoleFilter, User, UserColumn, UserPatch, UserSearch},
};
use paddock_store::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::rust::double_option;
use utoipa::{IntoParams, ToSchema};

use super::{
    hints::{HintView, user_hints},
    schemas::{
        Ids, LimitsPatch, LimitsView, Listed, ManagedFilter, OwnerView, RoleName, SearchText, choices, columns, listed,
        page, patterns, texts,
    },
};
use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::{ApiError, Kind},
        extract::{
            Id, LazyBody, NoQuery, Query,
            deserialize::{ObjectOnly, not_null, number, parsed},
        },
        openapi_problems::{BodyErrors, CallerErrors, CommonErrors, ConflictResponse, NotFoundResponse},
    },
};

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserView {
    /// The id. It is never reused.
    id: i64,
    /// The canonical address.
    #[schema(format = Email)]
    email: String,
    /// The display name.
    #[schema(required)]
    display_name: Option<String>,
    /// The id of the user in another system.
    #[schema(required)]
    external_id: Option<String>,
    /// Whether the user and its keys may act.
    is_active: bool,
    /// The roles of the user. Without a role, the user can access its own profile only.
    #[schema(value_type = Vec<RoleName>)]
    roles: Roles,
    /// The patterns of the models that the user may use. Null: all models. Empty: no model.
    #[schema(required)]
    models: Option<Vec<String>>,
    /// The limits of the user.
    limits: LimitsView,
    /// The Kubernetes object that owns the user. Null: the user was created over the API.
    #[schema(required)]
    managed_by: Option<OwnerView>,
    /// When an admin overrode the Kubernetes object and disabled the user.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    overridden_at: Option<Timestamp>,
    /// When the user was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the user last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Why the user can do less than an admin may expect.
    hints: Vec<HintView>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let hints = user_hints(&user);
        Self {
            id: user.id.0,
            email: user.email.to_string(),
            display_name: user.display_name,
            external_id: user.external_id,
            is_active: user.is_active,
            roles: user.roles,
            models: texts(user.models.as_ref()),
            limits: user.limits.into(),
            managed_by: user.managed_by.map(OwnerView::from),
            overridden_at: user.overridden_at,
            created_at: user.created_at,
            updated_at: user.updated_at,
            hints,
        }
    }
}

/// The roles by which the list of users is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RoleChoice {
    Admin,
    User,
    None,
}

impl TextEnum for RoleChoice {
    const ALL: &'static [Self] = &[Self::Admin, Self::User, Self::None];

    fn text(self) -> &'static str {
        match self {
            Self::Admin => Role::Admin.text(),
            Self::User => Role::User.text(),
            Self::None => "none",
        }
    }
}

impl FromStr for RoleChoice {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        parse_variant(text)
    }
}

impl From<RoleChoice> for RoleFilter {
    fn from(choice: RoleChoice) -> Self {
        match choice {
            RoleChoice::Admin => Self::With(Role::Admin),
            RoleChoice::User => Self::With(Role::User),
            RoleChoice::None => Self::Without,
        }
    }
}

/// The filter and the order of a list of users.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListUsers {
    /// The maximum number of users.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
    /// The number of users to skip.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    offset: Option<i64>,
    /// Only users with this text in the address, the display name or the external id. The case does
    /// not matter.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    q: Option<SearchText>,
    /// Only users with these ids, separated by commas; at most 200.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, example = "3,17", pattern = "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$")]
    id: Option<Ids>,
    /// Only users with this role, or with none.
    #[serde(default, deserialize_with = "parsed")]
    #[param(schema_with = choices::<RoleChoice>)]
    role: Option<RoleChoice>,
    /// Only users that may act, or only disabled users.
    #[serde(default, deserialize_with = "parsed")]
    is_active: Option<bool>,
    /// Only users that were created over the API, or only users that Kubernetes objects own.
    #[serde(default, deserialize_with = "parsed")]
    #[param(schema_with = choices::<ManagedFilter>)]
    managed_by: Option<ManagedFilter>,
    /// The column to sort by; `-` in front sorts the largest value first. Users without a value come
    /// last.
    #[serde(default, deserialize_with = "parsed")]
    #[param(schema_with = columns::<UserColumn>)]
    sort: Option<Sort<UserColumn>>,
}

/// Lists users, by default in order of id.
#[utoipa::path(
    get, path = "/users", operation_id = "list_users", tag = "users", params(ListUsers),
    responses(
        (status = 200, description = "The users.", body = Vec<UserView>,
         headers(("X-Total-Count" = i64, description = "The number of users on all pages."))),
        CommonErrors, CallerErrors
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn list(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Listed<UserView>, ApiError> {
    caller.require(Permission::Manage(Scope::UsersRead)).await?;
    let asked: ListUsers = query.read()?;
    let (limit, offset) = page(asked.limit, 200, 50, asked.offset)?;
    let search = UserSearch {
        ids: asked.id.map(|ids| ids.0.into_iter().map(UserId).collect()).unwrap_or_default(),
        text: asked.q.map(|text| text.0),
        role: asked.role.map(RoleFilter::from),
        is_active: asked.is_active,
        is_managed: asked.managed_by.map(ManagedFilter::is_managed),
        sort: asked.sort,
    };
    Ok(listed(with_db_timeout(accounts.users().list(&search, limit, offset)).await?))
}

/// A new user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub(crate) struct CreateUser {
    /// The address.
    #[schema(format = Email, example = "ada@example.com")]
    email: String,
    /// The display name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    display_name: Option<String>,
    /// The roles. Absent: no role.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<RoleName>, required = false)]
    roles: Option<Roles>,
    /// The id of the user in another system. A second request with the same external id and address
    /// returns the existing user.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// The patterns of the models that the user may use. A pattern after `!` denies, and takes
    /// precedence. Absent: all models. Empty: no model.
    #[serde(default)]
    #[schema(max_items = 256)]
    models: Option<Vec<String>>,
    /// The limits of the user. Absent: the defaults of the server.
    #[serde(default)]
    #[schema(value_type = Option<LimitsPatch>)]
    limits: Option<ObjectOnly<LimitsPatch>>,
}

/// Creates a user.
///
/// The user is active and has no password. A key can create an admin only if it has every scope.
#[utoipa::path(
    post, path = "/users", operation_id = "create_user", tag = "users", request_body = CreateUser,
    responses(
        (status = 201, description = "The user is created.", body = UserView),
        (status = 200, description = "A user with this `external_id` and address exists already.", body = UserView),
        CommonErrors, CallerErrors, BodyErrors, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn create(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    _: NoQuery,
    body: LazyBody,
) -> Result<(StatusCode, Json<UserView>), ApiError> {
    caller.require(Permission::Manage(Scope::UsersWrite)).await?;
    let asked: CreateUser = body.json(&mut caller).await?;
    let email = Email::parse(&asked.email)
        .map_err(|error| ApiError::invalid(vec![Violation::new("/email", error.to_string())]))?;
    let new = NewUser {
        display_name: asked.display_name,
        roles: asked.roles.unwrap_or_default(),
        external_id: asked.external_id,
        models: asked.models.as_deref().map(patterns).transpose()?,
        limits: types::LimitsPatch::from(asked.limits.unwrap_or_default().0).over(Limits::default()),
        ..NewUser::new(email)
    };
    if new.roles.has(Role::Admin)
        && let Err(denied) = caller.principal().can_manage_admins()
    {
        return Err(caller.deny(denied.to_string()).await);
    }
    Ok(match with_db_timeout(accounts.users().create(&caller.audit_context, new)).await? {
        Created::New(user) => (StatusCode::CREATED, Json(user.into())),
        Created::Existing(user) => (StatusCode::OK, Json(user.into())),
    })
}

/// Shows a user, to admins and to the user itself.
#[utoipa::path(
    get, path = "/users/{id}", operation_id = "show_user", tag = "users",
    params(("id" = i64, Path, description = "The user's id.")),
    responses((status = 200, description = "The user.", body = UserView), CommonErrors, CallerErrors, NotFoundResponse),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn show(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<Json<UserView>, ApiError> {
    let id = UserId(id);
    caller.require(Permission::See(Scope::UsersRead, id)).await?;
    let user = with_db_timeout(accounts.users().find(id)).await?;
    Ok(Json(user.ok_or_else(|| no_user(id))?.into()))
}

/// The changes of a user. An absent field stays the same; null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserPatch)]
pub(crate) struct ChangeUser {
    /// The display name.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    display_name: Option<Option<String>>,
    /// Whether the user and its keys may act.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = bool, required = false)]
    is_active: Option<bool>,
    /// The roles. Null: no role.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<RoleName>>)]
    roles: Option<Option<Roles>>,
    /// The patterns of the models that the user may use. A pattern after `!` denies, and takes
    /// precedence. Null: all models. Empty: no model.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    models: Option<Option<Vec<String>>>,
    /// The limits of the user. Null removes all of them.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<LimitsPatch>)]
    limits: Option<Option<ObjectOnly<LimitsPatch>>>,
}

/// Changes a user, with a merge patch (RFC 7396).
///
/// If Kubernetes owns the user, only `is_active` can be changed: false overrides the object until
/// an admin sets it to true. A key can make or change an admin only if it has every scope. The last
/// admin that can act cannot be disabled, demoted or limited to 0 requests per minute.
#[utoipa::path(
    patch, path = "/users/{id}", operation_id = "change_user", tag = "users",
    params(("id" = i64, Path, description = "The user's id.")), request_body = ChangeUser,
    responses(
        (status = 200, description = "The changed user.", body = UserView),
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
) -> Result<Json<UserView>, ApiError> {
    caller.require(Permission::Manage(Scope::UsersWrite)).await?;
    let change: ChangeUser = body.json(&mut caller).await?;
    let id = UserId(id);
    let limits = match change.limits {
        None => types::LimitsPatch::default(),
        Some(None) => types::LimitsPatch::CLEAR,
        Some(Some(limits)) => limits.0.into(),
    };
    let patch = UserPatch {
        display_name: change.display_name,
        is_active: change.is_active,
        roles: change.roles.map(Option::unwrap_or_default),
        models: change.models.map(|models| models.map(|models| patterns(&models)).transpose()).transpose()?,
        limits,
    };
    let admins = caller.principal().can_manage_admins();
    match with_db_timeout(accounts.users().update(&caller.audit_context, id, patch, admins)).await {
        Ok(user) => Ok(Json(user.into())),
        Err(why) => Err(caller.error_from(why).await),
    }
}

/// Deletes a user permanently.
///
/// This removes its address, names, password and sessions, and revokes its keys. The id is never
/// reused; the address and the external id can be reused at once. The last admin that can act, and
/// a user that Kubernetes owns, cannot be deleted. A key can delete an admin only if it has every
/// scope.
#[utoipa::path(
    delete, path = "/users/{id}", operation_id = "delete_user", tag = "users",
    params(("id" = i64, Path, description = "The user's id.")),
    responses((status = 204, description = "The user is deleted."), CommonErrors, CallerErrors, NotFoundResponse, ConflictResponse),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn delete(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    Id(id): Id,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    caller.require(Permission::Manage(Scope::UsersWrite)).await?;
    let admins = caller.principal().can_manage_admins();
    match with_db_timeout(accounts.users().delete(&caller.audit_context, UserId(id), admins)).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(why) => Err(caller.error_from(why).await),
    }
}

fn no_user(id: UserId) -> ApiError {
    ApiError::new(Kind::NotFound, format!("user {id} does not exist"))
}
