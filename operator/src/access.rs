//! What the API server forbids to the operator, and the binding that grants it.

use kube::core::Status;

/// Returns the API server's status if it answered 403.
pub(crate) fn forbidden(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) if status.code == 403 => Some(status),
        _ => None,
    }
}

/// Describes a missing grant: the API server's message, which names the verb and the resource, and
/// the binding that grants it in the namespace. `None` stands for all namespaces.
pub(crate) fn describe(status: &Status, role: &str, namespace: Option<&str>) -> String {
    let message = status.message.trim();
    let subject = subject_of(message).unwrap_or("--user USER".to_owned());
    let binding = match namespace {
        Some(namespace) => format!("kubectl --namespace {namespace} create rolebinding {role} --clusterrole {role}"),
        None => format!("kubectl create clusterrolebinding {role} --clusterrole {role}"),
    };
    format!("{message}; grant it with: {binding} {subject}")
}

/// Returns the subject that the message of a 403 names, as an option of `kubectl create
/// rolebinding`.
fn subject_of(message: &str) -> Option<String> {
    let (_, after) = message.split_once("User \"")?;
    let (user, _) = after.split_once('"')?;
    Some(match user.strip_prefix("system:serviceaccount:") {
        Some(account) => format!("--serviceaccount {account}"),
        None => format!("--user {user}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(user: &str) -> Status {
        let message = format!(
            "apikeys.paddock.dev is forbidden: User \"{user}\" cannot list resource \"apikeys\" in API group \
             \"paddock.dev\" in the namespace \"b\""
        );
        Status { message, code: 403, ..Status::default() }
    }

    #[test]
    fn a_missing_grant_names_its_binding() {
        let text = describe(&status("system:serviceaccount:paddock:operator"), "paddock-operator", Some("b"));
        assert!(text.contains("cannot list resource \"apikeys\""), "{text}");
        let cure = "kubectl --namespace b create rolebinding paddock-operator --clusterrole paddock-operator \
                    --serviceaccount paddock:operator";
        assert!(text.ends_with(cure), "{text}");
        let text = describe(&status("ada"), "paddock-operator-cluster", None);
        assert!(text.ends_with(
            "create clusterrolebinding paddock-operator-cluster --clusterrole paddock-operator-cluster --user ada"
        ));
    }
}
