//! Kubernetes events, as `kubectl describe` shows them. Only a changed state publishes an event.

use std::time::Duration;

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// The longest time that a reconcile waits for the API server to accept an event.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest note, in characters. The API server accepts 1 KiB.
const MAX_NOTE_CHARS: usize = 1000;

/// Publishes events. All reconcilers share one recorder, because the recorder merges repeated
/// events.
pub(crate) struct EventRecorder(Recorder);

impl EventRecorder {
    pub(crate) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: "paddock.dev/operator".to_owned(), instance: Some(instance.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Publishes an event of type `Normal`.
    pub(crate) async fn publish_normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: &str) {
        self.publish(object, EventType::Normal, reason, note).await;
    }

    /// Publishes an event of type `Warning`.
    pub(crate) async fn publish_warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: &str) {
        self.publish(object, EventType::Warning, reason, note).await;
    }

    /// Publishes the event. A failure is logged and does not fail the reconcile.
    async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(MAX_NOTE_CHARS).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(PUBLISH_TIMEOUT, self.0.publish(&event, &object.object_ref(&()))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_namespace_terminating(&error) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason, "cannot publish an event"),
            Err(_) => tracing::warn!(error = "timeout", reason, "cannot publish an event"),
        }
    }
}

/// Whether the API server refused the event because the namespace is being deleted.
fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
