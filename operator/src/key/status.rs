//! The status of an `ApiKey`. Pure.

use paddock_accounts::credentials::{SecretState, SecretVersion};
use paddock_crds::{ApiKey, ApiKeyStatus, VersionState};
use paddock_store::clock::Timestamp;

use crate::{
    key::{
        apply::{Applied, Delivered, KeyState},
        expiry, plan,
    },
    status::conditions::{Blocked, DesiredCondition, Reason, condition_type, merge},
    time::{K8sTime, to_k8s_time},
};

/// Most versions that the status lists.
const MAX_LISTED_VERSIONS: usize = 5;

/// Builds the status that reports the result.
pub(crate) fn build(object: &ApiKey, applied: &Applied, now: Timestamp) -> ApiKeyStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let (desired, mut status) = match applied {
        Applied::Delivered(delivered) => {
            (delivered_conditions(delivered, now), delivered_fields(delivered, &before, now))
        }
        Applied::Blocked { blocked, key } => {
            let key = key.as_deref();
            (blocked_conditions(blocked, key), blocked_fields(key, &before, now))
        }
    };
    status.observed_generation = generation;
    status.conditions = merge(&before.conditions, &desired, generation, &to_k8s_time(now));
    keep_expired_versions(&mut status, before, now);
    status
}

/// Returns the conditions of a delivered key, which the gateway may refuse.
fn delivered_conditions(delivered: &Delivered, now: Timestamp) -> Vec<DesiredCondition> {
    let mut desired = match &delivered.refusal {
        None => DesiredCondition::ready(Reason::Issued, "the key is in its Secret and is accepted"),
        Some(refusal) => DesiredCondition::blocked(refusal),
    };
    desired.push(DesiredCondition::new(
        condition_type::SECRET_SYNCED,
        true,
        Reason::Issued,
        "the Secret holds the active version",
    ));
    if let Some(notice) = expiry_notice(delivered, now) {
        desired.push(DesiredCondition::new(condition_type::EXPIRING, true, notice, EXPIRING));
    }
    desired
}

/// The message of a key that ends soon.
pub(crate) const EXPIRING: &str = "the key in the Secret ends at status.expiresAt, and no rotation comes before; raise spec.expiresAt, \
                                   or ask for a new version with the annotation paddock.dev/rotate-requested-at";

/// Returns when the key in the Secret ends although no rotation replaces it.
pub(crate) fn unreplaced_end(delivered: &Delivered) -> Option<Timestamp> {
    let next_rotation = plan::next_rotation(&delivered.spec, &delivered.versions);
    expiry::unreplaced_end(plan::active_version(&delivered.versions)?, delivered.credential.expires_at, next_rotation)
}

/// Returns the notice of a key that ends soon.
pub(crate) fn expiry_notice(delivered: &Delivered, now: Timestamp) -> Option<Reason> {
    let active = plan::active_version(&delivered.versions)?;
    expiry::notice(active.issued_at, unreplaced_end(delivered)?, now)
}

fn blocked_conditions(blocked: &Blocked, key: Option<&KeyState>) -> Vec<DesiredCondition> {
    let mut desired = DesiredCondition::blocked(blocked);
    let message = "the Secret does not hold an accepted key that follows the spec";
    desired.push(DesiredCondition::new(condition_type::SECRET_SYNCED, false, blocked.reason, message));
    if key.is_some_and(|key| key.credential.overridden_at.is_some()) {
        let message = "an admin revoked the key through the API";
        desired.push(DesiredCondition::new(condition_type::OVERRIDDEN, true, Reason::SetByAdmin, message));
    }
    desired
}

fn delivered_fields(delivered: &Delivered, before: &ApiKeyStatus, now: Timestamp) -> ApiKeyStatus {
    let Delivered { credential, versions, spec, handled_request, .. } = delivered;
    let active = plan::active_version(versions);
    let expires_at = [credential.expires_at, active.and_then(|version| version.expires_at)].into_iter().flatten().min();
    ApiKeyStatus {
        credential_id: Some(credential.id.into()),
        prefix: active.map(SecretVersion::prefix),
        secret_name: Some(spec.secret_name.clone()),
        secret_versions: listed_versions(versions, credential.expires_at, now),
        issued_at: active.map(|version| to_k8s_time(version.issued_at)),
        expires_at: expires_at.map(to_k8s_time),
        next_rotation_time: plan::next_rotation(spec, versions).map(to_k8s_time),
        last_handled_rotate_at: handled_request.clone().or_else(|| before.last_handled_rotate_at.clone()),
        ..ApiKeyStatus::default()
    }
}

/// Returns the fields that remain true of a blocked key.
fn blocked_fields(key: Option<&KeyState>, before: &ApiKeyStatus, now: Timestamp) -> ApiKeyStatus {
    let mut status = before.clone();
    status.secret_versions = key.map_or_else(Vec::new, |key| {
        status.credential_id = Some(key.credential.id.into());
        listed_versions(&key.versions, key.credential.expires_at, now)
    });
    if status.secret_versions.is_empty() {
        status.next_rotation_time = None;
    }
    status
}

/// Returns the versions that are still accepted, newest first.
fn listed_versions(
    versions: &[SecretVersion],
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Vec<paddock_crds::SecretVersion> {
    let mut listed: Vec<_> = versions
        .iter()
        .filter_map(|version| {
            let state = match version.state {
                SecretState::Staged => VersionState::Staged,
                SecretState::Active => VersionState::Active,
                SecretState::Retiring => VersionState::Retiring,
                SecretState::Revoked => return None,
            };
            let not_after = [version.not_after(), expires_at].into_iter().flatten().min();
            let is_accepted = not_after.is_none_or(|end| end > now);
            is_accepted.then(|| paddock_crds::SecretVersion {
                id: version.id.into(),
                prefix: version.prefix(),
                state,
                not_after: not_after.map(to_k8s_time),
            })
        })
        .collect();
    listed.sort_by_key(|version| std::cmp::Reverse(version.id));
    listed.truncate(MAX_LISTED_VERSIONS);
    listed
}

/// Restores the previous status if it differs only by expired versions, because an expired version
/// does not justify a write.
fn keep_expired_versions(status: &mut ApiKeyStatus, before: ApiKeyStatus, now: Timestamp) {
    let now = to_k8s_time(now);
    let is_expired =
        |version: &paddock_crds::SecretVersion| version.not_after.as_ref().is_some_and(|end: &K8sTime| *end <= now);
    let mut live = before.clone();
    live.secret_versions.retain(|version| !is_expired(version));
    if live == *status {
        *status = before;
    }
}
