//! The status of an `ApiKey`. Pure.

use paddock_accounts::credentials::{Credential, SecretState, SecretVersion};
use paddock_crds::{ApiKey, ApiKeyStatus, VersionState};
use paddock_store::clock::Timestamp;

use crate::conditions::{Reason, Refusal, Wanted, merge, of_type};
use crate::key::apply::{Delivered, Outcome};
use crate::key::plan;
use crate::shared::{Stamp, stamp};

/// Most versions shown.
const MOST_VERSIONS: usize = 5;

/// The status that says what came of the object.
pub(crate) fn of(object: &ApiKey, outcome: &Outcome, now: Timestamp) -> ApiKeyStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let (wanted, mut status) = match outcome {
        Outcome::Delivered(delivered) => (in_secret(), filled(delivered, &before, now)),
        Outcome::Refused { refusal, credential } => {
            (refused(refusal, credential.as_deref()), kept(refusal, credential.as_deref(), &before))
        }
    };
    status.observed_generation = generation;
    status.conditions = merge(&before.conditions, &wanted, generation, &stamp(now));
    keep_ended_versions(&mut status, before, now);
    status
}

fn in_secret() -> Vec<Wanted> {
    let mut wanted = Wanted::ready(Reason::Issued, "the key is in its Secret and is accepted");
    wanted.push(Wanted::new(of_type::SECRET_SYNCED, true, Reason::Issued, "the Secret holds the active version"));
    wanted
}

fn refused(refusal: &Refusal, credential: Option<&Credential>) -> Vec<Wanted> {
    let mut wanted = Wanted::refused(refusal);
    wanted.push(Wanted::new(of_type::SECRET_SYNCED, false, refusal.reason, refusal.message.as_str()));
    if credential.is_some_and(|credential| credential.overridden_at.is_some()) {
        let message = "an admin revoked the key through the API";
        wanted.push(Wanted::new(of_type::OVERRIDDEN, true, Reason::SetByAdmin, message));
    }
    wanted
}

fn filled(delivered: &Delivered, before: &ApiKeyStatus, now: Timestamp) -> ApiKeyStatus {
    let Delivered { credential, versions, wanted, answered, .. } = delivered;
    let active = plan::active(versions);
    let expires_at = [credential.expires_at, active.and_then(|version| version.expires_at)].into_iter().flatten().min();
    ApiKeyStatus {
        credential_id: Some(credential.id.into()),
        prefix: active.map(SecretVersion::prefix),
        secret_name: Some(wanted.secret_name.clone()),
        secret_versions: shown(versions, credential.expires_at, now),
        issued_at: active.map(|version| stamp(version.issued_at)),
        expires_at: expires_at.map(stamp),
        next_rotation_time: plan::next_rotation(wanted, versions).map(stamp),
        last_handled_rotate_at: answered.clone().or_else(|| before.last_handled_rotate_at.clone()),
        ..ApiKeyStatus::default()
    }
}

/// What remains true of a key that was not delivered just now.
fn kept(refusal: &Refusal, credential: Option<&Credential>, before: &ApiKeyStatus) -> ApiKeyStatus {
    let mut status = before.clone();
    if let Some(credential) = credential {
        status.credential_id = Some(credential.id.into());
    }
    if matches!(refusal.reason, Reason::Revoked | Reason::Expired) {
        status.secret_versions.clear();
        status.next_rotation_time = None;
    }
    status
}

/// The versions that are still accepted, newest first.
fn shown(versions: &[SecretVersion], end: Option<Timestamp>, now: Timestamp) -> Vec<paddock_crds::SecretVersion> {
    let mut shown: Vec<_> = versions
        .iter()
        .filter_map(|version| {
            let state = match version.state {
                SecretState::Staged => VersionState::Staged,
                SecretState::Active => VersionState::Active,
                SecretState::Retiring => VersionState::Retiring,
                SecretState::Revoked => return None,
            };
            let not_after = [version.not_after(), end].into_iter().flatten().min();
            let accepted = not_after.is_none_or(|end| end > now);
            accepted.then(|| paddock_crds::SecretVersion {
                id: version.id.into(),
                prefix: version.prefix(),
                state,
                not_after: not_after.map(stamp),
            })
        })
        .collect();
    shown.sort_by_key(|version| std::cmp::Reverse(version.id));
    shown.truncate(MOST_VERSIONS);
    shown
}

/// A version that has ended leaves with the next write, and is no reason for one.
fn keep_ended_versions(status: &mut ApiKeyStatus, before: ApiKeyStatus, now: Timestamp) {
    let now = stamp(now);
    let ended =
        |version: &paddock_crds::SecretVersion| version.not_after.as_ref().is_some_and(|end: &Stamp| *end <= now);
    let mut live = before.clone();
    live.secret_versions.retain(|version| !ended(version));
    if live == *status {
        *status = before;
    }
}
