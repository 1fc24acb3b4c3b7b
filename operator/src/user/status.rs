//! The status of an `ApiUser`. Pure.

use paddock_crds::{ApiUser, ApiUserStatus, StatusExt};
use paddock_store::clock::Timestamp;

use crate::conditions::{Reason, Wanted, merge, of_type};
use crate::shared::stamp;
use crate::user::apply::{Applied, Outcome};

/// The status that says what came of the object.
pub(crate) fn of(object: &ApiUser, outcome: &Outcome, now: Timestamp) -> ApiUserStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let (wanted, mut status) = match outcome {
        Outcome::Applied(applied) => (conditions(object, applied), filled(applied)),
        Outcome::Refused(refusal) => (Wanted::refused(refusal), before.clone()),
    };
    status.observed_generation = generation;
    status.conditions = merge(&before.conditions, &wanted, generation, &stamp(now));
    status
}

fn filled(applied: &Applied) -> ApiUserStatus {
    ApiUserStatus {
        user_id: Some(applied.user.id.into()),
        effective_roles: applied
            .user
            .roles
            .to_string()
            .split(' ')
            .filter(|r| !r.is_empty())
            .map(str::to_owned)
            .collect(),
        key_count: Some(applied.keys),
        ..ApiUserStatus::default()
    }
}

fn conditions(object: &ApiUser, applied: &Applied) -> Vec<Wanted> {
    let mut wanted = if applied.user.is_active {
        Wanted::ready(Reason::Applied, "the user is as the spec says")
    } else {
        Wanted::ready(Reason::Disabled, "the user is inactive; its sessions and keys are refused")
    };
    if applied.user.overridden_at.is_some() && object.spec.active {
        let message =
            "an admin disabled the user through the API, which outranks spec.active until an admin enables it";
        wanted.push(Wanted::new(of_type::OVERRIDDEN, true, Reason::SetByAdmin, message));
    }
    wanted
}

/// Whether the difference matters to the user's keys.
pub(crate) fn concerns_keys(before: &ApiUserStatus, after: &ApiUserStatus) -> bool {
    let of = |status: &ApiUserStatus| {
        let ready = status.condition(of_type::READY).map(|c| (c.status.clone(), c.reason.clone()));
        (status.observed_generation, status.user_id, status.effective_roles.clone(), ready)
    };
    of(before) != of(after)
}
