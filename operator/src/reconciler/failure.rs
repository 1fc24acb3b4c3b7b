//! What a failed reconcile tells the object: the cause, in words for the author of the object. Pure.

use paddock_accounts::Error as AccountsError;
use paddock_store::Error as StoreError;

use crate::{
    access,
    backoff::Cause,
    error::ReconcileError,
    status::conditions::{Blocked, Reason},
};

/// The `ClusterRole` that a watched namespace needs a binding for.
const ROLE: &str = "paddock-operator";

/// Returns what the condition says about the error of a reconcile in the namespace.
pub(super) fn describe(error: &ReconcileError, namespace: &str) -> Blocked {
    let (reason, cause) = match error {
        ReconcileError::Kube(kube::Error::Api(status)) if status.code == 403 => {
            let text = if status.message.contains("cannot ") {
                access::describe(status, ROLE, Some(namespace))
            } else {
                status.message.clone()
            };
            (Reason::PermissionDenied, format!("the API server refuses a request of the operator: {text}"))
        }
        ReconcileError::Kube(kube::Error::Api(status)) => {
            (Reason::ApiServerError, format!("the API server answers {}: {}", status.code, status.message))
        }
        ReconcileError::Kube(_) => (Reason::ApiServerError, "the API server does not answer".to_owned()),
        ReconcileError::Accounts(AccountsError::Store(error)) if is_unavailable(error) => database(),
        ReconcileError::Accounts(_) => (Reason::InternalError, "the operator failed; its log has the error".to_owned()),
        ReconcileError::Ollama(error) => (Reason::BackendUnreachable, error.to_string()),
        ReconcileError::NoBackend => (Reason::BackendUnreachable, error.to_string()),
        ReconcileError::Conflict(with) => (Reason::WriteConflict, (*with).to_owned()),
        ReconcileError::Timeout(_) => slow(),
    };
    retried(reason, &cause)
}

/// Returns what the condition says about a reconcile that does not end, and whether the database
/// answers meanwhile.
pub(super) fn describe_slow(has_database: bool) -> Blocked {
    let (reason, cause) = if has_database { slow() } else { database() };
    retried(reason, &cause)
}

/// Returns what all objects with the same error wait for.
pub(super) fn cause(error: &ReconcileError, namespace: &str) -> Option<Cause> {
    match error {
        ReconcileError::Kube(_) => Some(Cause::ApiServer { namespace: namespace.to_owned() }),
        ReconcileError::Accounts(AccountsError::Store(error)) if is_unavailable(error) => Some(Cause::Database),
        ReconcileError::Ollama(_) | ReconcileError::NoBackend => Some(Cause::Ollama),
        _ => None,
    }
}

fn database() -> (Reason, String) {
    (Reason::DatabaseUnavailable, "the database does not answer".to_owned())
}

fn slow() -> (Reason, String) {
    let cause = "Ollama, or an admission webhook of the API server, has not answered for 10 s";
    (Reason::TimedOut, cause.to_owned())
}

fn retried(reason: Reason, cause: &str) -> Blocked {
    Blocked::new(reason, format!("{cause}; the next try is within 15 s"))
}

fn is_unavailable(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::InDoubt(_) | StoreError::Audit(_) | StoreError::Stopping)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;

    use super::*;

    fn refused(code: u16, message: &str) -> ReconcileError {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        kube::Error::Api(Box::new(status)).into()
    }

    #[rstest]
    #[case(refused(500, "failed calling webhook"), Reason::ApiServerError, "failed calling webhook")]
    #[case(refused(403, "denied by policy p"), Reason::PermissionDenied, "policy p; the next try")]
    #[case(refused(403, "User \"ada\" cannot get resource \"secrets\""), Reason::PermissionDenied, "--user ada")]
    #[case(AccountsError::Store(StoreError::Stopping).into(), Reason::DatabaseUnavailable, "database")]
    #[case(ReconcileError::Ollama(paddock_ollama::ClientError::Timeout), Reason::BackendUnreachable, "Ollama")]
    #[case(ReconcileError::Conflict("another writer"), Reason::WriteConflict, "another writer")]
    fn a_failure_names_its_cause(#[case] error: ReconcileError, #[case] reason: Reason, #[case] words: &str) {
        let blocked = describe(&error, "team-a");
        assert_eq!(blocked.reason, reason);
        assert!(blocked.reason.is_transient());
        assert!(blocked.message.contains(words), "{}", blocked.message);
        assert!(blocked.message.ends_with("the next try is within 15 s"), "{}", blocked.message);
    }
}
