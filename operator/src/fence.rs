//! Which life of a name is the present one.

use kube::{Api, ResourceExt};

use crate::object::{Object, namespace_of};

/// Asks the API server whether the object is the one that now has its name: a cache may lag behind. A row of an earlier
/// life may then be taken over, because that life is certain to be over.
pub(crate) async fn is_present<K: Object>(client: &kube::Client, object: &K) -> Result<bool, kube::Error> {
    let api: Api<K> = Api::namespaced(client.clone(), &namespace_of(object));
    let present = api.get_metadata_opt(&object.name_any()).await?;
    Ok(present.is_some_and(|present| present.metadata.uid.is_some() && present.metadata.uid == object.uid()))
}
