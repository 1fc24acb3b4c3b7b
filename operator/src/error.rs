//! The errors that end the operator, and those that make one reconcile fail.

use std::time::Duration;

use paddock_accounts::Error as AccountsError;
use paddock_ollama::ClientError;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig or the pod's service account cannot be used.
    #[error("no usable access to Kubernetes: {0}")]
    KubeConfig(String),
    /// The clients of the Ollamas cannot be set up.
    #[error("OLLAMA_BASE_URL: {0}")]
    Ollama(#[from] ClientError),
    /// Another instance holds the lease, or the lease was not renewed in time. The process must
    /// exit, so that it stops writing.
    #[error("the leader lease is lost")]
    LeaseLost,
    /// A watch has received nothing for so long that this instance cannot be a good leader. It has
    /// given the lease up.
    #[error("the watch of {resource} has received nothing for {}s; the leader lease was given up", silence.as_secs())]
    Deaf {
        /// The plural name of the watched resource.
        resource: String,
        /// How long the watch has been silent.
        silence: Duration,
    },
}

/// Why a reconcile failed. The object is requeued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("Kubernetes")]
    Kube(#[from] kube::Error),
    #[error("accounts")]
    Accounts(#[from] AccountsError),
    #[error("Ollama")]
    Ollama(#[from] ClientError),
    /// `OLLAMA_DISCOVERY=dns` has found no backend yet.
    #[error("no Ollama is known")]
    NoBackend,
    /// Another writer changed the same row or object first. The next reconcile sees its change.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    #[error("the reconcile took longer than {}s", .0.as_secs())]
    Timeout(Duration),
}

/// Whether the API server answered 409: the object has another UID or resource version than the
/// request.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the API server answered 404: the object does not exist.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
