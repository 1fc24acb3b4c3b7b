//! What all controllers work with.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource};
use paddock_accounts::{Accounts, types::ManagedBy};
use paddock_crds::{ApiKey, ApiUser, OllamaModel};
use paddock_store::{
    clock::Timestamp,
    context::{Actor, AuditContext},
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

use crate::author;
use crate::backoff::Backoff;
use crate::config::ModelRegistry;
use crate::events::Events;
use crate::frame::Guarded;

/// A time as the API server keeps it: whole seconds.
pub(crate) type Stamp = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What all controllers work with.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) accounts: Accounts,
    /// See [`crate::access::cluster_uid`].
    pub(crate) cluster: String,
    pub(crate) settings: Settings,
    pub(crate) events: Events,
    pub(crate) backoff: Backoff,
    /// One permit for each object worked on.
    pub(crate) slots: Semaphore,
    pub(crate) users: Objects<ApiUser>,
    pub(crate) keys: Objects<ApiKey>,
    pub(crate) models: Objects<OllamaModel>,
    /// Users whose keys have changed, by namespace and name; handed on at leisure.
    pub(crate) key_counts: UnboundedSender<(String, String)>,
}

/// The part of the configuration that reconciling needs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) admin_namespaces: BTreeSet<String>,
    pub(crate) public_url: String,
    pub(crate) model_registries: Vec<ModelRegistry>,
}

impl Shared {
    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        self.accounts.now()
    }

    /// The object as the owner of a row.
    pub(crate) fn owner(&self, meta: &ObjectMeta) -> ManagedBy {
        ManagedBy {
            cluster: self.cluster.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

/// The circumstances of a mutation that an object causes.
pub(crate) fn context<K: Resource<DynamicType = ()>>(kind: &'static str, object: &K) -> AuditContext {
    let meta = object.meta();
    AuditContext {
        actor: Actor::Operator {
            manager: author::of(meta),
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        },
        ip: None,
        user_agent: None,
        request_id: None,
    }
}

/// The time as the API server keeps it, rounded down.
pub(crate) fn stamp(time: Timestamp) -> Stamp {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::from_second(time.seconds()).unwrap_or_default(),
    )
}

/// The objects of one kind, wherever they are watched, and the way to have one looked at.
pub(crate) struct Objects<K: Resource<DynamicType = ()> + 'static> {
    watches: Vec<Watch<K>>,
}

/// One watch: of a namespace, or of all.
pub(crate) struct Watch<K: Resource<DynamicType = ()> + 'static> {
    pub(crate) namespace: Option<String>,
    pub(crate) store: Store<Guarded<K>>,
    /// Whether the store is whole. The store's own way to wait for that is for one waiter only, which is the controller.
    pub(crate) synced: watch::Receiver<bool>,
    pub(crate) wake: UnboundedSender<ObjectRef<Guarded<K>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Objects<K> {
    pub(crate) fn new(watches: Vec<Watch<K>>) -> Self {
        Self { watches }
    }

    /// Waits until every object that exists is known.
    pub(crate) async fn synced(&self) {
        for watch in &self.watches {
            // Fails only when the watch has ended, as at a shutdown.
            let _ = watch.synced.clone().wait_for(|synced| *synced).await;
        }
    }

    /// The object of that name, as last seen; `None` also when it cannot be read.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Guarded<K>>> {
        self.watch(namespace)?.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Every object that the predicate holds for.
    pub(crate) fn filter(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<Guarded<K>>> {
        let mut found = Vec::new();
        for watch in &self.watches {
            found.extend(watch.store.state_filter(|object| object.0.as_ref().is_ok_and(&predicate)));
        }
        found
    }

    /// Has the object looked at soon.
    pub(crate) fn wake(&self, namespace: &str, name: &str) {
        if let Some(watch) = self.watch(namespace) {
            // Nobody listens any more during a shutdown.
            let _ = watch.wake.send(ObjectRef::new(name).within(namespace));
        }
    }

    fn watch(&self, namespace: &str) -> Option<&Watch<K>> {
        self.watches.iter().find(|watch| watch.namespace.as_deref().is_none_or(|watched| watched == namespace))
    }
}
