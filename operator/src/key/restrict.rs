//! Applies what a refused `ApiKey` takes away, and ends a key that its object may no longer have.

use std::time::Duration;

use paddock_accounts::{
    Error as AccountsError,
    credentials::{Credential, SecretState, SecretVersion},
    managed_resources::{DesiredKey, OnUidMismatch},
    types::Scopes,
};
use paddock_crds::ApiKey;
use paddock_store::clock::Timestamp;

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    key::{
        apply::{Applied, KeyState},
        plan, usability, validate,
    },
    narrowing::{narrower_limits, narrower_models},
    status::conditions::{Blocked, Reason},
    time::from_k8s_time,
    user::validate::convert_limits,
};

/// How long a key is accepted after its user stopped to allow keys from its namespace. It covers
/// objects of one commit that arrive in any order.
const END_GRACE: Duration = Duration::from_mins(1);

/// Takes the rights from the key of a refused object that its spec no longer grants, and ends the
/// key if its user does not allow it. Returns the refusal, with the rights that are still in force.
pub(crate) async fn restrict_key(
    context: &Context,
    object: &ApiKey,
    blocked: Blocked,
) -> Result<Applied, ReconcileError> {
    let (owner, managed) = (context.owner(object), context.accounts.managed());
    let audit = audit_context(object);
    // The row of a deleted object of the same name is left alone.
    let found = managed.find_key(&owner).await?.filter(|key| key.managed_by.as_ref() == Some(&owner));
    let Some(mut credential) = found.filter(|key| key.revoked_at.is_none()) else { return Ok(blocked.into()) };
    if blocked.reason == Reason::NamespaceNotAllowed {
        let why = "the user does not allow keys from the namespace of the object";
        managed.end_key(&audit, &owner, END_GRACE, why).await?;
    } else {
        let desired = narrowed(&credential, object);
        if !is_applied(&credential, &desired) {
            match managed.apply_key(&audit, &owner, &desired, OnUidMismatch::Reject).await {
                Ok(changed) => credential = changed,
                // The user is gone, or has lost the role of the scopes; both end more than the spec.
                Err(AccountsError::Invalid(_) | AccountsError::NoUser(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let versions = context.accounts.credentials().secrets(credential.id).await?;
    let user = context.accounts.users().find(credential.user_id).await?;
    let is_refused = user.is_none_or(|user| usability::refusal(&user, &credential).is_some());
    let state = if is_refused { NOT_ACCEPTED } else { in_force(&versions, credential.expires_at, context.now()) };
    let blocked = Blocked::new(blocked.reason, format!("{}; {state}", blocked.message));
    Ok(Applied::Blocked { blocked, key: Some(Box::new(KeyState { credential, versions })) })
}

/// Returns the key with the rights that both the row and the spec grant.
fn narrowed(before: &Credential, object: &ApiKey) -> DesiredKey {
    let spec = &object.spec;
    let wanted: Scopes = validate::scopes(spec);
    DesiredKey {
        user_id: before.user_id,
        label: before.label.clone(),
        scopes: before.scopes.iter().filter(|scope| wanted.has(*scope)).collect(),
        models: narrower_models(before.models.as_ref(), spec.models.as_deref()),
        limits: narrower_limits(before.limits, spec.limits.as_ref().map(convert_limits).unwrap_or_default()),
        priority: before.priority,
        expires_at: [before.expires_at, spec.expires_at.as_ref().map(from_k8s_time)].into_iter().flatten().min(),
    }
}

fn is_applied(key: &Credential, desired: &DesiredKey) -> bool {
    key.scopes == desired.scopes
        && key.models == desired.models
        && key.limits == desired.limits
        && key.expires_at == desired.expires_at
}

const NOT_ACCEPTED: &str = "no key of this object is accepted";

/// Says whether a key of a refused object is still accepted.
fn in_force(versions: &[SecretVersion], expires_at: Option<Timestamp>, now: Timestamp) -> &'static str {
    let is_accepted = |version: &&SecretVersion| {
        version.state != SecretState::Revoked
            && [version.not_after(), expires_at].into_iter().flatten().all(|end| end > now)
    };
    match plan::active_version(versions).filter(is_accepted) {
        Some(_) => {
            "until then the key in the Secret is accepted, with the rights that both the previous and the present spec grant"
        }
        None if versions.iter().any(|version| is_accepted(&version)) => {
            "the key is accepted until the notAfter of its versions in the status"
        }
        None => NOT_ACCEPTED,
    }
}

#[cfg(test)]
mod tests {
    use paddock_accounts::SecretId;

    use super::*;

    #[test]
    fn the_message_says_what_is_accepted() {
        let now = Timestamp::from_micros(1_000_000);
        let version = |state, retire_at| SecretVersion {
            id: SecretId(1),
            key_id: "key".to_owned(),
            state,
            issued_at: now,
            expires_at: None,
            retire_at,
            last_used_at: None,
        };
        let active = [version(SecretState::Active, None)];
        assert!(in_force(&active, None, now).contains("until then"));
        assert_eq!(in_force(&active, Some(now), now), NOT_ACCEPTED);
        assert!(in_force(&[version(SecretState::Retiring, Some(now + END_GRACE))], None, now).contains("notAfter"));
        assert_eq!(in_force(&[version(SecretState::Retiring, Some(now))], None, now), NOT_ACCEPTED);
        assert_eq!(in_force(&[], None, now), NOT_ACCEPTED);
    }
}
