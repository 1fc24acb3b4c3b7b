//! Checks of the database and the cluster after all objects have settled: each object has what it
//! declares, and no row and no Secret is without an object.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource as _, ResourceExt as _,
    api::ListParams,
    runtime::{WatchStreamExt as _, watcher},
};
use paddock_crds::{ApiKey, ApiUser, OllamaModel, data, label};
use paddock_tests::eventually::eventually;
use tokio::task::AbortHandle;

use super::{ClusterFixture, EVENT_TIMEOUT, Kind};

/// The ids of all keys that a Secret of the namespace has ever held, so that somebody may hold them.
pub(super) struct DeliveredKeys {
    ids: Arc<Mutex<BTreeSet<String>>>,
    watch: AbortHandle,
}

impl DeliveredKeys {
    /// Begins to watch the Secrets of the namespace.
    pub(super) fn watch(cluster: &ClusterFixture) -> Self {
        let ids = Arc::<Mutex<BTreeSet<String>>>::default();
        let (secrets, seen) = (cluster.secrets(), Arc::clone(&ids));
        let watch = tokio::spawn(async move {
            let secrets = watcher(secrets, watcher::Config::default()).default_backoff().applied_objects();
            let _ = secrets
                .try_for_each(async |secret: Secret| {
                    let id = secret.data.and_then(|mut entries| entries.remove(data::KEY_ID));
                    let id = id.and_then(|id| String::from_utf8(id.0).ok());
                    seen.lock().unwrap_or_else(PoisonError::into_inner).extend(id);
                    Ok(())
                })
                .await;
        });
        Self { ids, watch: watch.abort_handle() }
    }

    fn has(&self, id: &str) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

impl Drop for DeliveredKeys {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl ClusterFixture {
    /// Waits until every row and Secret of the namespace belongs to an object, every object has its
    /// row, and every accepted version of a key was in a Secret.
    pub(super) async fn wait_until_nothing_leaks(&self, delivered: &DeliveredKeys) -> Result<()> {
        eventually("nothing to leak", EVENT_TIMEOUT, async || {
            self.assert_rows::<ApiUser>("users", "deleted_at IS NULL").await?;
            self.assert_rows::<ApiKey>("credentials", "revoked_at IS NULL").await?;
            self.assert_rows::<OllamaModel>("models", "TRUE").await?;
            self.assert_owned_secrets().await?;
            let unheld: Vec<_> = self.accepted_key_ids().await?.into_iter().filter(|id| !delivered.has(id)).collect();
            ensure!(unheld.is_empty(), "accepted keys that nobody holds: {unheld:?}");
            Ok(())
        })
        .await
    }

    /// The ids of all keys of the namespace that are accepted now.
    pub(super) async fn accepted_key_ids(&self) -> Result<Vec<String>> {
        let query = format!(
            "SELECT s.key_id FROM credential_secrets s JOIN credentials c ON c.id = s.credential_id \
             WHERE c.managed_namespace = '{}' AND c.revoked_at IS NULL AND s.state <> 'revoked' \
             AND coalesce(s.expires_at, 'infinity') > now() AND coalesce(s.retire_at, 'infinity') > now()",
            self.namespace
        );
        self.database.texts(&query).await
    }

    /// Asserts that the table has one row for each object, and no other row of the namespace.
    async fn assert_rows<K: Kind>(&self, table: &str, is_live: &str) -> Result<()> {
        let query = format!(
            "SELECT managed_name || ' ' || managed_uid FROM {table} WHERE managed_namespace = '{}' AND {is_live}",
            self.namespace
        );
        let rows: BTreeSet<String> = self.database.texts(&query).await?.into_iter().collect();
        let objects = self.api::<K>().list(&ListParams::default()).await?.items;
        let owners: BTreeSet<String> =
            objects.iter().map(|o| format!("{} {}", o.name_any(), o.uid().unwrap_or_default())).collect();
        ensure!(rows == owners, "rows of {table}: {rows:?}; objects: {owners:?}");
        Ok(())
    }

    /// Asserts that each Secret of the operator belongs to an object that exists.
    async fn assert_owned_secrets(&self) -> Result<()> {
        let every = ListParams::default();
        let keys = self.api::<ApiKey>().list(&every).await?.items.into_iter().filter_map(|key| key.uid());
        let users = self.api::<ApiUser>().list(&every).await?.items.into_iter().filter_map(|user| user.uid());
        let owners: BTreeSet<String> = keys.chain(users).collect();
        let labelled = ListParams::default().labels(&format!("{}=true", label::MANAGED));
        for secret in self.secrets().list(&labelled).await?.items {
            let references = secret.owner_references();
            let is_owned = references.iter().any(|reference| owners.contains(&reference.uid));
            ensure!(is_owned, "an orphan: {:?}", secret.meta().name);
        }
        Ok(())
    }
}
