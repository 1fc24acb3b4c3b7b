//! The user that a key names: whether there is one, and whether it allows the key. Pure, but for the look-ups.

use kube::Resource;
use paddock_accounts::users::UserId;
use paddock_crds::{ApiKey, ApiUser};

use crate::conditions::{Reason, Refusal};
use crate::error::Failure;
use crate::object::namespace_of;
use crate::shared::Shared;

/// The user's id, or why the key has to wait.
pub(crate) async fn find(shared: &Shared, key: &ApiKey) -> Result<Result<UserId, Refusal>, Failure> {
    let (namespace, name) = reference(key);
    let found = shared.users.get(&namespace, &name);
    let user = match found.as_ref().map(|guarded| &guarded.0) {
        Some(Ok(user)) if user.meta().deletion_timestamp.is_none() => user,
        _ => return Ok(Err(not_found(&namespace, &name))),
    };
    if let Err(refusal) = allows(user, &namespace_of(key)) {
        return Ok(Err(refusal));
    }
    let row = shared.accounts.owned_user(&shared.owner(user.meta())).await?;
    Ok(row.map(|row| row.id).ok_or_else(|| {
        let message = format!("ApiUser {namespace}/{name} is not applied yet; its own conditions say why");
        Refusal::new(Reason::UserNotReady, message)
    }))
}

fn reference(key: &ApiKey) -> (String, String) {
    let reference = &key.spec.user_ref;
    (reference.namespace.clone().unwrap_or_else(|| namespace_of(key)), reference.name.clone())
}

fn not_found(namespace: &str, name: &str) -> Refusal {
    let message = format!("there is no ApiUser {namespace}/{name}; create it, or delete this ApiKey");
    Refusal::new(Reason::UserNotFound, message)
}

/// Whether the user allows keys from the namespace.
fn allows(user: &ApiUser, namespace: &str) -> Result<(), Refusal> {
    let own = namespace_of(user);
    let listed = user.spec.allow_keys_from.as_ref().is_some_and(|from| from.namespaces.iter().any(|n| n == namespace));
    if own == namespace || listed {
        return Ok(());
    }
    let message = format!(
        "ApiUser {own}/{} allows no keys from namespace {namespace}; add it to the user's allowKeysFrom.namespaces, or \
         create the ApiKey in {own}",
        user.meta().name.clone().unwrap_or_default()
    );
    Err(Refusal::new(Reason::NamespaceNotAllowed, message))
}
