//! What ends the operator, and what makes one object wait.

use std::time::Duration;

use paddock_accounts::Error as AccountsError;
use paddock_ollama::ClientError;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig, or the pod's service account, cannot be used.
    #[error("no usable access to Kubernetes: {0}")]
    Access(String),
    /// Another instance holds the lease now, or it could not be renewed in time. The process has to end, so that nothing
    /// of it writes any more.
    #[error("the leader lease is lost")]
    LeaseLost,
}

/// Why one object could not be brought in line just now. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("Kubernetes")]
    Kube(#[from] kube::Error),
    #[error("accounts")]
    Accounts(#[from] AccountsError),
    #[error("Ollama")]
    Ollama(#[from] ClientError),
    /// Someone else wrote at the same time. Nothing is wrong, and the next look shows what they wrote.
    #[error("overtaken: {0}")]
    Overtaken(&'static str),
    #[error("not done within {}s", .0.as_secs())]
    TooSlow(Duration),
}

/// Whether the API server refused because the object there is not the one we meant.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether there is no such object.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
