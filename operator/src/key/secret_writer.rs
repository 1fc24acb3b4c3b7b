//! Reads and writes the Secret of an `ApiKey`.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use paddock_accounts::SecretId;
use paddock_crds::{ApiKey, annotation};
use serde_json::json;

use crate::{
    error::{ReconcileError, is_conflict, is_not_found},
    key::secret_content::{self, ObservedSecret, SecretOwnership},
    object::{Object, namespace_of},
};

const SECRET_CHANGED: &str = "another writer changed the Secret";

/// Access to the Secret of one object. A write fails with a conflict if the Secret has changed
/// since it was read.
pub(crate) struct SecretWriter<'a> {
    object: &'a ApiKey,
    name: String,
    api: Api<Secret>,
}

impl<'a> SecretWriter<'a> {
    pub(crate) fn new(client: &Client, object: &'a ApiKey, name: String) -> Self {
        Self { object, name, api: Api::namespaced(client.clone(), &namespace_of(object)) }
    }

    /// Reads the Secret.
    pub(crate) async fn observe(&self) -> Result<SecretOwnership, kube::Error> {
        Ok(secret_content::observe(self.object, self.api.get_opt(&self.name).await?))
    }

    /// Creates the Secret, or patches the observed one. Returns the written Secret, for
    /// [`Self::read_own`].
    pub(crate) async fn write(
        &self,
        observed: Option<&ObservedSecret>,
        desired: &Secret,
    ) -> Result<Secret, ReconcileError> {
        self.send(observed, desired, false).await
    }

    /// Asks the API server whether it would accept [`Self::write`]. Changes nothing.
    pub(crate) async fn check_write(
        &self,
        observed: Option<&ObservedSecret>,
        desired: &Secret,
    ) -> Result<(), ReconcileError> {
        match self.send(observed, desired, true).await {
            // An admission webhook may refuse every dry run.
            Err(ReconcileError::Kube(kube::Error::Api(status))) if status.message.contains("dry run") => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Whether the Secret holds the version. Asks the API server.
    pub(crate) async fn holds_version(&self, version: SecretId) -> Result<bool, kube::Error> {
        let found = self.api.get_metadata_opt(&self.name).await?;
        let annotation = found.and_then(|secret| secret.annotations().get(annotation::VERSION_ID).cloned());
        Ok(annotation == Some(version.to_string()))
    }

    async fn send(
        &self,
        observed: Option<&ObservedSecret>,
        desired: &Secret,
        dry_run: bool,
    ) -> Result<Secret, ReconcileError> {
        let result = match observed.map(|observed| secret_content::merge_patch(observed, desired)) {
            None => {
                let field_manager = Some(ApiKey::FIELD_MANAGER.to_owned());
                let params = PostParams { field_manager, dry_run };
                self.api.create(&params, desired).await
            }
            Some(patch) => {
                let patch = Patch::Merge(patch.unwrap_or_else(|| json!({})));
                let params = PatchParams { dry_run, ..patch_params() };
                self.api.patch(&self.name, &params, &patch).await
            }
        };
        match result {
            Err(error) if is_conflict(&error) || is_not_found(&error) => Err(ReconcileError::Conflict(SECRET_CHANGED)),
            other => Ok(other?),
        }
    }

    /// Reads the Secret that [`Self::write`] returned. Fails with a conflict if the object does not
    /// own it.
    pub(crate) fn read_own(&self, written: Secret) -> Result<ObservedSecret, ReconcileError> {
        match secret_content::observe(self.object, Some(written)) {
            SecretOwnership::Own(observed) => Ok(*observed),
            _ => Err(ReconcileError::Conflict("another writer changed the Secret's owner")),
        }
    }

    /// Deletes the Secret if the object owns it.
    pub(crate) async fn delete(&self) -> Result<(), ReconcileError> {
        let SecretOwnership::Own(observed) = self.observe().await? else { return Ok(()) };
        let same_uid = Preconditions { uid: observed.uid(), resource_version: None };
        match self.api.delete(&self.name, &DeleteParams::default().preconditions(same_uid)).await {
            Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes the object from the Secret's owners, so that garbage collection keeps the Secret.
    pub(crate) async fn orphan(&self) -> Result<(), ReconcileError> {
        let found = self.api.get_opt(&self.name).await?;
        let owners: Vec<_> = found.iter().flat_map(ResourceExt::owner_references).cloned().collect();
        let SecretOwnership::Own(observed) = secret_content::observe(self.object, found) else { return Ok(()) };
        let uid = self.object.meta().uid.as_ref();
        let others: Vec<_> = owners.into_iter().filter(|owner| Some(&owner.uid) != uid).collect();
        let patch = json!({"metadata": {"resourceVersion": observed.resource_version, "ownerReferences": others}});
        match self.api.patch(&self.name, &patch_params(), &Patch::Merge(&patch)).await {
            Err(error) if is_conflict(&error) => Err(ReconcileError::Conflict(SECRET_CHANGED)),
            Err(error) if !is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(ApiKey::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
