//! The status of an `ApiUser`. Pure.

use paddock_accounts::types::Roles;
use paddock_crds::{ApiUser, ApiUserStatus, HasConditions};
use paddock_store::clock::Timestamp;

use crate::{
    status::conditions::{DesiredCondition, Reason, condition_type, merge},
    time::to_k8s_time,
    user::apply::{Applied, AppliedUser},
};

/// Builds the status that reports the result.
pub(crate) fn build(object: &ApiUser, applied: &Applied, now: Timestamp) -> ApiUserStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let (desired, mut status) = match applied {
        Applied::User(applied) => (conditions(object, applied), fields(applied)),
        Applied::Blocked { blocked, user } => {
            let mut status = before.clone();
            if let Some(user) = user {
                status.user_id = Some(user.id.into());
                status.effective_roles = role_names(&user.roles);
            }
            (DesiredCondition::blocked(blocked), status)
        }
    };
    status.observed_generation = generation;
    status.conditions = merge(&before.conditions, &desired, generation, &to_k8s_time(now));
    status
}

fn fields(applied: &AppliedUser) -> ApiUserStatus {
    ApiUserStatus {
        user_id: Some(applied.user.id.into()),
        effective_roles: role_names(&applied.user.roles),
        key_count: Some(applied.key_count),
        ..ApiUserStatus::default()
    }
}

fn role_names(roles: &Roles) -> Vec<String> {
    roles.to_string().split(' ').filter(|role| !role.is_empty()).map(str::to_owned).collect()
}

fn conditions(object: &ApiUser, applied: &AppliedUser) -> Vec<DesiredCondition> {
    let mut desired = if let Some(Err(blocked)) = &applied.password {
        DesiredCondition::blocked(blocked)
    } else if applied.user.is_active {
        DesiredCondition::ready(Reason::Applied, "the user is as the spec says")
    } else {
        DesiredCondition::ready(Reason::Disabled, "the user is inactive; its sessions and keys are refused")
    };
    match &applied.password {
        Some(Ok(())) => desired.push(DesiredCondition::new(
            condition_type::PASSWORD_SYNCED,
            true,
            Reason::PasswordSet,
            "the user has a password, as spec.passwordPolicy says",
        )),
        Some(Err(blocked)) => desired.push(DesiredCondition::new(
            condition_type::PASSWORD_SYNCED,
            false,
            blocked.reason,
            blocked.message.as_str(),
        )),
        None => {}
    }
    if applied.user.overridden_at.is_some() && object.spec.active {
        let message =
            "an admin disabled the user through the API, which outranks spec.active until an admin enables it";
        desired.push(DesiredCondition::new(condition_type::OVERRIDDEN, true, Reason::SetByAdmin, message));
    }
    desired
}

/// Whether the keys of the user depend on what differs.
pub(crate) fn affects_keys(before: &ApiUserStatus, after: &ApiUserStatus) -> bool {
    let relevant = |status: &ApiUserStatus| {
        let ready = status.condition(condition_type::READY).map(|c| (c.status.clone(), c.reason.clone()));
        (status.observed_generation, status.user_id, status.effective_roles.clone(), ready)
    };
    relevant(before) != relevant(after)
}
