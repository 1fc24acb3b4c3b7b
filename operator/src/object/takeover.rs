//! The takeover of a row from a deleted object of the same name, after a check that the calling
//! object is current.

use kube::{Api, Client, ResourceExt};
use paddock_accounts::{Error as AccountsError, managed_resources::OnUidMismatch};

use crate::{
    error::ReconcileError,
    object::{Object, namespace_of},
};

/// Calls `write` with [`OnUidMismatch::Reject`]. If the row belongs to an object of the same name
/// with another UID, asks the API server which UID is current, and calls `write` again with
/// [`OnUidMismatch::TakeOver`] if it is this object's. Fails with [`ReconcileError::Conflict`] if
/// this object is no longer the current one.
pub(crate) async fn with_uid_check<K, T, F>(
    client: &Client,
    object: &K,
    write: impl Fn(OnUidMismatch) -> F,
) -> Result<T, ReconcileError>
where
    K: Object,
    F: Future<Output = Result<T, AccountsError>>,
{
    match write(OnUidMismatch::Reject).await {
        Err(AccountsError::UidMismatch(_)) if is_current_uid(client, object).await? => {
            Ok(write(OnUidMismatch::TakeOver).await?)
        }
        Err(AccountsError::UidMismatch(_)) => Err(ReconcileError::Conflict("a younger object of the same name")),
        result => Ok(result?),
    }
}

/// Asks the API server whether the object is the current object of its name. The watch cache may be
/// outdated.
async fn is_current_uid<K: Object>(client: &Client, object: &K) -> Result<bool, kube::Error> {
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    let current = api.get_metadata_opt(&object.name_any()).await?;
    Ok(current.is_some_and(|current| current.metadata.uid.is_some() && current.metadata.uid == object.uid()))
}
