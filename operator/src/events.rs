//! Kubernetes events: what happened, for `kubectl describe`. Only transitions make one.

use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// An event is not worth waiting longer for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The API server takes 1 KiB.
const LONGEST_NOTE: usize = 1000;

/// The recorder that all controllers share.
pub(crate) struct Events(Recorder);

impl Events {
    pub(crate) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: "paddock.dev/operator".to_owned(), instance: Some(instance.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Something went as it should.
    pub(crate) async fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: &str) {
        self.publish(object, EventType::Normal, reason, note).await;
    }

    /// Something needs a look.
    pub(crate) async fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: &str) {
        self.publish(object, EventType::Warning, reason, note).await;
    }

    /// A lost event is logged, and fails nothing.
    async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(LONGEST_NOTE).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(PATIENCE, self.0.publish(&event, &object.object_ref(&()))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_namespace_going(&error) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason, "an event was not recorded"),
            Err(_) => tracing::warn!(reason, "an event was not recorded in time"),
        }
    }
}

/// Whether the namespace takes nothing new, because it is being deleted.
fn is_namespace_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
