//! Applies what a refused `ApiUser` takes away.

use paddock_accounts::{
    Error as AccountsError,
    managed_resources::{Adoption, DesiredUser, OnUidMismatch},
    types::{Role, Roles},
    users::User,
};
use paddock_crds::ApiUser;

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    narrowing::{narrower_limits, narrower_models},
    status::conditions::Blocked,
    user::{apply::Applied, validate},
};

/// Takes the rights from the user of a refused object that its spec no longer grants. Returns the
/// refusal, with the rights that are still in force.
pub(crate) async fn restrict_user(
    context: &Context,
    object: &ApiUser,
    blocked: Blocked,
) -> Result<Applied, ReconcileError> {
    let (owner, managed) = (context.owner(object), context.accounts.managed());
    // The row of a deleted object of the same name is left alone.
    let found = managed.find_user(&owner).await?.filter(|user| user.managed_by.as_ref() == Some(&owner));
    let Some(before) = found else { return Ok(Applied::Blocked { blocked, user: None }) };
    let may_grant_admin = validate::may_grant_admin(object, &context.settings.admin_namespaces);
    let desired = narrowed(&before, object, may_grant_admin);
    let after = if is_applied(&before, &desired) {
        before
    } else {
        let audit = audit_context(object);
        match managed.apply_user(&audit, &owner, &desired, Adoption::Never, OnUidMismatch::Reject).await {
            Ok(user) => user,
            // The last admin keeps all its rights.
            Err(AccountsError::LastAdmin) => before,
            Err(error) => return Err(error.into()),
        }
    };
    let blocked = Blocked::new(blocked.reason, format!("{}; {}", blocked.message, in_force(&after)));
    Ok(Applied::Blocked { blocked, user: Some(Box::new(after)) })
}

/// Returns the user with the rights that both the row and the spec grant.
fn narrowed(before: &User, object: &ApiUser, may_grant_admin: bool) -> DesiredUser {
    let spec = &object.spec;
    let wanted: Roles = spec.roles.iter().copied().map(validate::convert_role).collect();
    let is_kept = |role: &Role| wanted.has(*role) && (*role != Role::Admin || may_grant_admin);
    DesiredUser {
        email: before.email.clone(),
        display_name: before.display_name.clone(),
        roles: before.roles.iter().filter(is_kept).collect(),
        active: before.is_active && spec.active,
        models: narrower_models(before.models.as_ref(), spec.models.as_deref()),
        limits: narrower_limits(before.limits, spec.limits.as_ref().map(validate::convert_limits).unwrap_or_default()),
    }
}

fn is_applied(user: &User, desired: &DesiredUser) -> bool {
    user.roles == desired.roles
        && user.is_active == desired.active
        && user.models == desired.models
        && user.limits == desired.limits
}

/// Says which rights the user of a refused object has.
fn in_force(user: &User) -> String {
    if !user.is_active {
        return "until then the user is disabled".to_owned();
    }
    let roles = user.roles.to_string();
    let roles = if roles.is_empty() { "no role".to_owned() } else { format!("the roles {roles}") };
    format!(
        "until then the user is enabled and has {roles}; of the rest of the spec, only what takes rights away is in force"
    )
}
