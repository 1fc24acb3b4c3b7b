//! What an `ApiUser` asks for, checked. Pure.

use std::collections::BTreeSet;

use paddock_accounts::{
    managed_resources::DesiredUser,
    types::{self, Email, Limits, ModelPatterns},
};
use paddock_crds::{ApiUser, Role};
use paddock_ollama::ModelPattern;

use crate::conditions::{Reason, Refusal};
use crate::object::namespace_of;

/// The user that the object asks for.
pub(crate) fn desired(object: &ApiUser, admin_namespaces: &BTreeSet<String>) -> Result<DesiredUser, Refusal> {
    let spec = &object.spec;
    let email =
        Email::parse(&spec.email).map_err(|error| Refusal::new(Reason::InvalidSpec, format!("spec.email {error}")))?;
    let namespace = namespace_of(object);
    if spec.roles.contains(&Role::Admin) && !admin_namespaces.contains(&namespace) {
        let message = format!(
            "spec.roles: admin may be given only from the namespaces that ADMIN_NAMESPACES lists, and {namespace} is not \
             one of them; remove the role, or have the operator's configuration changed"
        );
        return Err(Refusal::new(Reason::RoleNotAllowed, message));
    }
    Ok(DesiredUser {
        email,
        display_name: spec.display_name.clone(),
        roles: spec.roles.iter().copied().map(role).collect(),
        active: spec.active,
        models: spec.models.as_deref().map(patterns).transpose()?,
        limits: spec.limits.as_ref().map(limits).unwrap_or_default(),
    })
}

/// The address that the object asks for, canonical; `None` when it is none.
pub(crate) fn email(object: &ApiUser) -> Option<Email> {
    Email::parse(&object.spec.email).ok()
}

/// The patterns in canonical form.
pub(crate) fn patterns(texts: &[String]) -> Result<ModelPatterns, Refusal> {
    texts
        .iter()
        .map(|text| match ModelPattern::parse(text) {
            Ok(pattern) => Ok(pattern.as_str().to_owned()),
            Err(error) => Err(Refusal::new(Reason::InvalidSpec, format!("spec.models: {text:?}: {error}"))),
        })
        .collect()
}

/// Whether the user allows keys from the namespace.
pub(crate) fn allows(user: &ApiUser, namespace: &str) -> Result<(), Refusal> {
    let own = namespace_of(user);
    let listed = user.spec.allow_keys_from.as_ref().is_some_and(|from| from.namespaces.iter().any(|n| n == namespace));
    if own == namespace || listed {
        return Ok(());
    }
    let message = format!(
        "ApiUser {own}/{} allows no keys from namespace {namespace}; add it to the user's allowKeysFrom.namespaces, or \
         create the ApiKey in {own}",
        user.metadata.name.clone().unwrap_or_default()
    );
    Err(Refusal::new(Reason::NamespaceNotAllowed, message))
}

pub(crate) fn limits(limits: &paddock_crds::Limits) -> Limits {
    Limits {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
        tokens_per_day: limits.tokens_per_day,
        tokens_per_month: limits.tokens_per_month,
        max_concurrent: limits.max_concurrent,
    }
}

const fn role(role: Role) -> types::Role {
    match role {
        Role::Admin => types::Role::Admin,
        Role::User => types::Role::User,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn object(namespace: &str, spec: &Value) -> ApiUser {
        serde_json::from_value(json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiUser",
            "metadata": {"name": "ada", "namespace": namespace}, "spec": spec,
        }))
        .unwrap()
    }

    fn check(namespace: &str, spec: &Value) -> Result<DesiredUser, Refusal> {
        desired(&object(namespace, spec), &BTreeSet::from(["platform".to_owned()]))
    }

    #[test]
    fn what_is_asked_for_becomes_canonical() {
        let desired = check(
            "team-a",
            &json!({"email": "Ada@EXAMPLE.com", "models": ["smollm2", "*"], "limits": {"tokensPerDay": 5}}),
        )
        .unwrap();
        assert_eq!(desired.email.as_str(), "ada@example.com");
        assert!(desired.active);
        assert_eq!(desired.roles.to_string(), "user");
        assert!(desired.models.unwrap().iter().any(|pattern| pattern == "*"));
        assert_eq!(desired.limits.tokens_per_day, Some(5));
    }

    #[rstest]
    #[case::email("platform", json!({"email": "ada@.com"}), Reason::InvalidSpec, "spec.email")]
    #[case::pattern("platform", json!({"email": "a@b.c", "models": ["a/b/c/d/e"]}), Reason::InvalidSpec, "spec.models")]
    #[case::admin("team-a", json!({"email": "a@b.c", "roles": ["admin"]}), Reason::RoleNotAllowed, "ADMIN_NAMESPACES")]
    fn what_breaks_a_rule_is_refused_by_name(
        #[case] namespace: &str,
        #[case] spec: Value,
        #[case] reason: Reason,
        #[case] word: &str,
    ) {
        let refusal = check(namespace, &spec).unwrap_err();
        assert_eq!(refusal.reason, reason);
        assert!(refusal.message.contains(word), "{}", refusal.message);
    }

    #[test]
    fn admins_come_from_listed_namespaces() {
        let desired = check("platform", &json!({"email": "a@b.c", "roles": ["admin", "user"]})).unwrap();
        assert_eq!(desired.roles.to_string(), "admin user");
    }
}
