//! The lookup of the user that a key names.

use std::time::Duration;

use kube::Resource;
use paddock_accounts::users::User;
use paddock_crds::{ApiKey, ApiUserStatus, HasConditions};
use paddock_store::clock::Timestamp;

use crate::{
    context::Context,
    error::ReconcileError,
    object::namespace_of,
    status::conditions::{Blocked, Reason, condition_type},
    time::from_k8s_time,
    user::validate::check_key_namespace,
};

/// The result of [`find_user`].
pub(crate) enum UserLookup {
    /// The user exists and may have the key.
    Found(Box<User>),
    Blocked(Blocked),
    /// The user may still appear, because the key or the user is new.
    Pending,
}

/// Grace period before a missing `ApiUser` is reported, because objects of one `kubectl apply`
/// arrive in any order.
const MISSING_USER_GRACE: Duration = Duration::from_secs(5);

/// Finds the user that the key names.
pub(crate) async fn find_user(context: &Context, key: &ApiKey) -> Result<UserLookup, ReconcileError> {
    let (namespace, name) = user_reference(key);
    let found = context.users.get(&namespace, &name);
    let user = match found.as_ref().map(|guarded| &guarded.0) {
        Some(Ok(user)) if user.meta().deletion_timestamp.is_none() => user,
        _ if is_new(key, context.now()) => return Ok(UserLookup::Pending),
        _ => return Ok(UserLookup::Blocked(not_found(&namespace, &name))),
    };
    if let Err(blocked) = check_key_namespace(user, &namespace_of(key)) {
        return Ok(UserLookup::Blocked(blocked));
    }
    let row = context.accounts.managed().find_user(&context.owner(user)).await?;
    // A row with another UID belongs to a deleted object of the same name.
    let own = row.filter(|row| row.managed_by.as_ref().map(|owner| &owner.uid) == user.meta().uid.as_ref());
    Ok(match own {
        Some(row) => UserLookup::Found(Box::new(row)),
        // The user's next status enqueues the key: the user is new, or the database has lost it.
        None if user.status.as_ref().is_none_or(|status| status.conditions.is_empty() || is_expected(status)) => {
            UserLookup::Pending
        }
        None => {
            let message = format!("ApiUser {namespace}/{name} is not applied; its own conditions say why");
            UserLookup::Blocked(Blocked::new(Reason::UserNotReady, message))
        }
    })
}

/// Whether the status says that the database has the user, or that the operator is about to create
/// it again.
fn is_expected(status: &ApiUserStatus) -> bool {
    let ready = status.condition(condition_type::READY);
    ready.is_some_and(|ready| ready.status == "True" || ready.reason == Reason::DatabaseReplaced.as_str())
}

/// Whether the key was created within [`MISSING_USER_GRACE`] and has no status yet.
fn is_new(key: &ApiKey, now: Timestamp) -> bool {
    let created = key.meta().creation_timestamp.as_ref().map_or(Timestamp::from_micros(0), from_k8s_time);
    let has_no_status = key.status.as_ref().is_none_or(|status| status.conditions.is_empty());
    has_no_status && now.since(created) < MISSING_USER_GRACE
}

fn user_reference(key: &ApiKey) -> (String, String) {
    let reference = &key.spec.user_ref;
    (reference.namespace.clone().unwrap_or_else(|| namespace_of(key)), reference.name.clone())
}

fn not_found(namespace: &str, name: &str) -> Blocked {
    let message = format!("there is no ApiUser {namespace}/{name}; create it, or delete this ApiKey");
    Blocked::new(Reason::UserNotFound, message)
}
