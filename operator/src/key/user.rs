//! The user that a key names: whether there is one, and whether it allows the key.

use std::time::Duration;

use kube::Resource;
use paddock_accounts::UserId;
use paddock_crds::ApiKey;
use paddock_store::clock::Timestamp;

use crate::conditions::{Reason, Refusal};
use crate::error::Failure;
use crate::object::namespace_of;
use crate::shared::Shared;

/// What is known of the user.
pub(crate) enum Found {
    /// It may have the key.
    User(UserId),
    /// Why the key has to wait.
    Refused(Refusal),
    /// Nothing worth telling yet: both objects are new, and the user's turn comes.
    TooSoon,
}

/// Objects that are applied together come in any order; so old is one that nothing more is coming for.
const TOGETHER: Duration = Duration::from_secs(5);

/// The user that the key names.
pub(crate) async fn find(shared: &Shared, key: &ApiKey) -> Result<Found, Failure> {
    let (namespace, name) = reference(key);
    let found = shared.users.get(&namespace, &name);
    let user = match found.as_ref().map(|guarded| &guarded.0) {
        Some(Ok(user)) if user.meta().deletion_timestamp.is_none() => user,
        _ if is_new(key, shared.now()) => return Ok(Found::TooSoon),
        _ => return Ok(Found::Refused(not_found(&namespace, &name))),
    };
    if let Err(refusal) = crate::user::validate::allows(user, &namespace_of(key)) {
        return Ok(Found::Refused(refusal));
    }
    let row = shared.accounts.managed().find_user(&shared.owner(user.meta())).await?;
    // The row of an earlier life of the name is not this user.
    let own = row.filter(|row| row.managed_by.as_ref().map(|owner| &owner.uid) == user.meta().uid.as_ref());
    Ok(match own {
        Some(row) => Found::User(row.id),
        // Its first status wakes the key.
        None if user.status.as_ref().is_none_or(|status| status.conditions.is_empty()) => Found::TooSoon,
        None => {
            let message = format!("ApiUser {namespace}/{name} is not applied; its own conditions say why");
            Found::Refused(Refusal::new(Reason::UserNotReady, message))
        }
    })
}

/// Whether the key was made a moment ago, and nothing has been said of it.
fn is_new(key: &ApiKey, now: Timestamp) -> bool {
    let created = key.meta().creation_timestamp.as_ref().map_or(0, |at| at.0.as_microsecond());
    let untold = key.status.as_ref().is_none_or(|status| status.conditions.is_empty());
    untold && now.since(Timestamp::from_micros(created)) < TOGETHER
}

fn reference(key: &ApiKey) -> (String, String) {
    let reference = &key.spec.user_ref;
    (reference.namespace.clone().unwrap_or_else(|| namespace_of(key)), reference.name.clone())
}

fn not_found(namespace: &str, name: &str) -> Refusal {
    let message = format!("there is no ApiUser {namespace}/{name}; create it, or delete this ApiKey");
    Refusal::new(Reason::UserNotFound, message)
}
