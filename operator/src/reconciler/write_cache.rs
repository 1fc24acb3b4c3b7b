//! Read-your-writes for the objects of one kind.

use std::{collections::HashMap, sync::Arc};

use kube::{Resource, ResourceExt};
use parking_lot::Mutex;

/// Holds the operator's writes to objects until the watch delivers them. Without it, a reconcile
/// right after another would repeat the writes and events of the first.
pub(crate) struct WriteCache<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for WriteCache<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource + Clone> WriteCache<K> {
    /// Returns the newer of the watched object and the written one. Removes a written one that is
    /// not newer.
    pub(super) fn latest(&self, watched: &K) -> Arc<K> {
        let mut written = self.0.lock();
        let uid = watched.uid().unwrap_or_default();
        match written.get(&uid) {
            Some(ours) if version(ours.as_ref()) > version(watched) => Arc::clone(ours),
            Some(_) => {
                written.remove(&uid);
                Arc::new(watched.clone())
            }
            None => Arc::new(watched.clone()),
        }
    }

    pub(super) fn insert(&self, object: K) {
        self.0.lock().insert(object.uid().unwrap_or_default(), Arc::new(object));
    }

    pub(super) fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// Returns the resource version as a number. Within one kind, a newer version is greater.
fn version<K: Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}
