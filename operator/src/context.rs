//! The context that all reconcilers share.

use std::{collections::BTreeSet, time::Duration};

use kube::{Client, Resource};
use paddock_accounts::{Accounts, types::ManagedBy};
use paddock_crds::{ApiKey, ApiUser, OllamaModel};
use paddock_ollama::ModelRegistry;
use paddock_store::{
    clock::Timestamp,
    context::{Actor, AuditContext},
};
use tokio::sync::{Semaphore, mpsc::UnboundedSender};

use crate::{
    backoff::{Backoff, ObjectName},
    object::{Object, field_manager::last_spec_manager, namespace_of, store::ObjectStore},
    status::events::EventRecorder,
};

/// The clients, caches, queues and settings that all reconcilers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) accounts: Accounts,
    /// See [`crate::client::fetch_cluster_uid`].
    pub(crate) cluster_uid: String,
    pub(crate) settings: Settings,
    pub(crate) events: EventRecorder,
    pub(crate) backoff: Backoff,
    /// One permit per running reconcile of a user or key.
    pub(crate) permits: Semaphore,
    pub(crate) users: ObjectStore<ApiUser>,
    pub(crate) keys: ObjectStore<ApiKey>,
    pub(crate) models: ObjectStore<OllamaModel>,
    /// Namespaces and names of users whose number of keys has changed.
    pub(crate) key_count_changes: UnboundedSender<(String, String)>,
}

/// The part of the configuration that reconcilers read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) admin_namespaces: BTreeSet<String>,
    pub(crate) adoption_namespaces: BTreeSet<String>,
    pub(crate) public_url: String,
    pub(crate) model_registries: Vec<ModelRegistry>,
    /// See [`crate::Config::pull_stall_timeout`].
    pub(crate) pull_stall_timeout: Duration,
}

impl Context {
    /// Returns the current time of the accounts' clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.accounts.now()
    }

    /// Waits until the caches have every object that the operator may list.
    pub(crate) async fn wait_until_synced(&self) {
        tokio::join!(self.users.wait_until_synced(), self.keys.wait_until_synced(), self.models.wait_until_synced());
    }

    /// Forgets the failures of an object that succeeded or is gone, and reconciles the objects that
    /// waited for the same cure.
    pub(crate) fn wake_cured(&self, uid: &str) {
        for ObjectName { kind, namespace, name } in self.backoff.succeed(uid) {
            match kind {
                ApiUser::KIND => self.users.enqueue(&namespace, &name),
                ApiKey::KIND => self.keys.enqueue(&namespace, &name),
                _ => self.models.enqueue(&namespace, &name),
            }
        }
    }

    /// Returns the object as the owner of a database row.
    pub(crate) fn owner<K: Resource>(&self, object: &K) -> ManagedBy {
        let meta = object.meta();
        ManagedBy {
            cluster: self.cluster_uid.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

/// Returns the audit context of a write that the object causes.
pub(crate) fn audit_context<K: Object>(object: &K) -> AuditContext {
    AuditContext {
        actor: Actor::Operator {
            manager: last_spec_manager(object.meta()),
            kind: K::KIND,
            namespace: namespace_of(object),
            name: object.meta().name.clone().unwrap_or_default(),
        },
        ip: None,
        user_agent: None,
        request_id: None,
    }
}
