//! Validates an `ApiUser`. Pure.

use std::collections::BTreeSet;

use paddock_accounts::{
    managed_resources::DesiredUser,
    types::{self, Email, Limits, ModelPatterns},
};
use paddock_crds::{ApiUser, Role};
use paddock_ollama::{ModelPattern, only_denies};

use crate::{
    object::namespace_of,
    status::conditions::{Blocked, Reason},
};

/// Returns the user that the spec describes.
pub(crate) fn desired_user(object: &ApiUser, admin_namespaces: &BTreeSet<String>) -> Result<DesiredUser, Blocked> {
    let spec = &object.spec;
    let email =
        Email::parse(&spec.email).map_err(|error| Blocked::new(Reason::InvalidSpec, format!("spec.email {error}")))?;
    if spec.roles.contains(&Role::Admin) && !may_grant_admin(object, admin_namespaces) {
        let namespace = namespace_of(object);
        let message = format!(
            "spec.roles: admin may be given only from the namespaces that ADMIN_NAMESPACES lists, and {namespace} is not \
             one of them; remove the role, or have the operator's configuration changed"
        );
        return Err(Blocked::new(Reason::RoleNotAllowed, message));
    }
    Ok(DesiredUser {
        email,
        display_name: spec.display_name.clone(),
        roles: spec.roles.iter().copied().map(convert_role).collect(),
        active: spec.active,
        models: spec.models.as_deref().map(parse_patterns).transpose()?,
        limits: spec.limits.as_ref().map(convert_limits).unwrap_or_default(),
    })
}

/// Whether the object may give its user the role `admin`.
pub(crate) fn may_grant_admin(object: &ApiUser, admin_namespaces: &BTreeSet<String>) -> bool {
    admin_namespaces.contains(&namespace_of(object))
}

/// Returns the canonical form of `spec.email`, or `None` if it is no e-mail address.
pub(crate) fn desired_email(object: &ApiUser) -> Option<Email> {
    Email::parse(&object.spec.email).ok()
}

/// Parses the patterns of `spec.models` into their canonical form.
pub(crate) fn parse_patterns(texts: &[String]) -> Result<ModelPatterns, Blocked> {
    let parse = |text: &String| match ModelPattern::parse(text) {
        Ok(pattern) => Ok(pattern.as_str().to_owned()),
        Err(error) => Err(Blocked::new(Reason::InvalidSpec, format!("spec.models: {text:?}: {error}"))),
    };
    let patterns: ModelPatterns = texts.iter().map(parse).collect::<Result<_, _>>()?;
    if only_denies(patterns.iter()) {
        let message = "spec.models has only patterns that deny, so it allows no model; add \"*\" to allow all others";
        return Err(Blocked::new(Reason::InvalidSpec, message));
    }
    Ok(patterns)
}

/// Checks that the user allows keys in the namespace.
pub(crate) fn check_key_namespace(user: &ApiUser, namespace: &str) -> Result<(), Blocked> {
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
    Err(Blocked::new(Reason::NamespaceNotAllowed, message))
}

pub(crate) fn convert_limits(limits: &paddock_crds::Limits) -> Limits {
    Limits {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
        tokens_per_day: limits.tokens_per_day,
        tokens_per_month: limits.tokens_per_month,
        max_concurrent: limits.max_concurrent,
    }
}

pub(crate) const fn convert_role(role: Role) -> types::Role {
    match role {
        Role::Admin => types::Role::Admin,
        Role::User => types::Role::User,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn object(namespace: &str, spec: &Value) -> ApiUser {
        serde_json::from_value(json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiUser",
            "metadata": {"name": "ada", "namespace": namespace}, "spec": spec,
        }))
        .unwrap()
    }

    fn check(namespace: &str, spec: &Value) -> Result<DesiredUser, Blocked> {
        desired_user(&object(namespace, spec), &BTreeSet::from(["platform".to_owned()]))
    }

    #[test]
    fn the_desired_user_is_canonical() {
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
    #[case::only_denials("platform", json!({"email": "a@b.c", "models": ["!m", "!n"]}), Reason::InvalidSpec, "add \"*\"")]
    #[case::admin("team-a", json!({"email": "a@b.c", "roles": ["admin"]}), Reason::RoleNotAllowed, "ADMIN_NAMESPACES")]
    fn an_invalid_field_is_named(
        #[case] namespace: &str,
        #[case] spec: Value,
        #[case] reason: Reason,
        #[case] word: &str,
    ) {
        let blocked = check(namespace, &spec).unwrap_err();
        assert_eq!(blocked.reason, reason);
        assert!(blocked.message.contains(word), "{}", blocked.message);
    }

    #[test]
    fn an_admin_namespace_may_grant_admin() {
        let desired = check("platform", &json!({"email": "a@b.c", "roles": ["admin", "user"]})).unwrap();
        assert_eq!(desired.roles.to_string(), "admin user");
    }
}
