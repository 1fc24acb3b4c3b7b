//! The watch caches of one kind, and its reconcile queues.

use std::sync::Arc;

use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::{mpsc::UnboundedSender, watch};

use crate::object::Guarded;

/// The objects of one kind in all watched namespaces.
pub(crate) struct ObjectStore<K: Resource<DynamicType = ()> + 'static> {
    watches: Vec<Watch<K>>,
}

/// Whether a store has every existing object of its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncState {
    /// The first list is not complete.
    Syncing,
    /// The store is complete.
    Synced,
    /// The operator may not list the objects. Nothing waits for them.
    Forbidden,
}

/// The watch of one namespace, or of all.
pub(crate) struct Watch<K: Resource<DynamicType = ()> + 'static> {
    /// The watched namespace. `None` stands for all.
    pub(crate) namespace: Option<String>,
    pub(crate) store: Store<Guarded<K>>,
    /// Whether the store is complete. The store's own `wait_until_ready` wakes one waiter only, and
    /// the controller is that waiter.
    pub(crate) state: watch::Receiver<SyncState>,
    /// Objects to reconcile soon.
    pub(crate) queue: UnboundedSender<ObjectRef<Guarded<K>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> ObjectStore<K> {
    pub(crate) fn new(watches: Vec<Watch<K>>) -> Self {
        Self { watches }
    }

    /// Waits until the store has every existing object that the operator may list.
    pub(crate) async fn wait_until_synced(&self) {
        for watch in &self.watches {
            // Fails only if the watch has ended, as during a shutdown.
            let _ = watch.state.clone().wait_for(|state| *state != SyncState::Syncing).await;
        }
    }

    /// Returns the object as last watched.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Guarded<K>>> {
        self.watch_of(namespace)?.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Returns the decodable objects for which the predicate holds.
    pub(crate) fn filter(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<Guarded<K>>> {
        let mut found = Vec::new();
        for watch in &self.watches {
            found.extend(watch.store.state_filter(|object| object.0.as_ref().is_ok_and(&predicate)));
        }
        found
    }

    /// Queues the object for a reconcile.
    pub(crate) fn enqueue(&self, namespace: &str, name: &str) {
        if let Some(watch) = self.watch_of(namespace) {
            // Fails only if the controller has stopped, as during a shutdown.
            let _ = watch.queue.send(ObjectRef::new(name).within(namespace));
        }
    }

    fn watch_of(&self, namespace: &str) -> Option<&Watch<K>> {
        self.watches.iter().find(|watch| watch.namespace.as_deref().is_none_or(|watched| watched == namespace))
    }
}
