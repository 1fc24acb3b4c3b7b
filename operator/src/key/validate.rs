//! What an `ApiKey` asks for, checked. Pure.

use std::time::Duration;

use kube::ResourceExt;
use paddock_accounts::types::{self, Limits, ModelPatterns, Scopes};
use paddock_crds::{ApiKey, GoDuration, Rotation, Scope, SecretTemplate, annotation};
use paddock_store::clock::Timestamp;

use crate::conditions::{Reason, Refusal};
use crate::object::annotation_of;
use crate::user::validate as user;

const SHORTEST_INTERVAL: Duration = Duration::from_hours(1);
/// How long a replaced version stays valid where nothing else is said.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_hours(24);

/// A key as the object asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) label: String,
    pub(crate) scopes: Scopes,
    pub(crate) models: Option<ModelPatterns>,
    pub(crate) limits: Limits,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) valid_for: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) request: Option<Request>,
    pub(crate) secret_name: String,
    pub(crate) template: SecretTemplate,
}

/// Someone asks for a new version now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What tells this request from the one before.
    pub(crate) value: String,
    /// How long the old version stays valid.
    pub(crate) grace: Duration,
}

/// The key that the object asks for.
pub(crate) fn wanted(object: &ApiKey) -> Result<Wanted, Refusal> {
    let spec = &object.spec;
    let (interval, grace) = rotation(spec.rotation.as_ref(), spec.valid_for)?;
    if spec.expires_at.is_some() && spec.valid_for.is_some() {
        return Err(invalid("spec.expiresAt and spec.validFor exclude each other; set one of them"));
    }
    Ok(Wanted {
        label: spec.label.clone().unwrap_or_else(|| object.name_any()).chars().take(100).collect(),
        scopes: spec
            .scopes
            .as_ref()
            .map_or_else(Scopes::default_for_keys, |scopes| scopes.iter().copied().map(scope).collect()),
        models: spec.models.as_deref().map(user::patterns).transpose()?,
        limits: spec.limits.as_ref().map(user::limits).unwrap_or_default(),
        expires_at: spec.expires_at.as_ref().map(|at| Timestamp::from_micros(at.0.as_microsecond())),
        valid_for: spec.valid_for.map(GoDuration::get),
        interval,
        grace,
        request: request(object, grace)?,
        secret_name: secret_name(object),
        template: spec.secret.as_ref().and_then(|secret| secret.template.clone()).unwrap_or_default(),
    })
}

/// The name of the object's Secret.
pub(crate) fn secret_name(object: &ApiKey) -> String {
    let named = object.spec.secret.as_ref().and_then(|secret| secret.name.clone());
    named.unwrap_or_else(|| format!("{}-apikey", object.name_any()))
}

fn rotation(
    rotation: Option<&Rotation>,
    valid_for: Option<GoDuration>,
) -> Result<(Option<Duration>, Duration), Refusal> {
    let Some(rotation) = rotation else { return Ok((None, DEFAULT_GRACE)) };
    let (interval, grace) = (rotation.interval.get(), rotation.grace_period.get());
    if interval < SHORTEST_INTERVAL {
        return Err(invalid("spec.rotation.interval must be at least 1h"));
    }
    if grace >= interval {
        return Err(invalid("spec.rotation.gracePeriod (24h when absent) must be shorter than spec.rotation.interval"));
    }
    if valid_for.is_some_and(|valid_for| valid_for.get() < interval) {
        return Err(invalid("spec.validFor must not be shorter than spec.rotation.interval"));
    }
    Ok((Some(interval), grace))
}

fn request(object: &ApiKey, default: Duration) -> Result<Option<Request>, Refusal> {
    let Some(value) = annotation_of(object, annotation::ROTATE_REQUESTED_AT).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let grace = match annotation_of(object, annotation::ROTATE_GRACE) {
        Some(text) => {
            let parsed = text.parse::<GoDuration>();
            parsed.map_err(|error| invalid(format!("annotation {}: {error}", annotation::ROTATE_GRACE)))?.get()
        }
        None => default,
    };
    Ok(Some(Request { value: value.to_owned(), grace }))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidSpec, message)
}

const fn scope(scope: Scope) -> types::Scope {
    match scope {
        Scope::Chat => types::Scope::Chat,
        Scope::Generate => types::Scope::Generate,
        Scope::Embed => types::Scope::Embed,
        Scope::ModelsRead => types::Scope::ModelsRead,
        Scope::ModelsWrite => types::Scope::ModelsWrite,
        Scope::UsersRead => types::Scope::UsersRead,
        Scope::UsersWrite => types::Scope::UsersWrite,
        Scope::KeysRead => types::Scope::KeysRead,
        Scope::KeysWrite => types::Scope::KeysWrite,
        Scope::AuditRead => types::Scope::AuditRead,
        Scope::UsageRead => types::Scope::UsageRead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn check(spec: &Value, annotations: &Value) -> Result<Wanted, Refusal> {
        let mut object = json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey",
            "metadata": {"name": "ci", "namespace": "team-a", "annotations": annotations},
            "spec": {"userRef": {"name": "ada"}},
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        wanted(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_is_absent_has_a_default() {
        let wanted = check(&json!({}), &json!({})).unwrap();
        assert_eq!(wanted.label, "ci");
        assert_eq!(wanted.secret_name, "ci-apikey");
        assert_eq!(wanted.scopes.to_string(), "chat embed generate models:read");
        assert_eq!(wanted.grace, DEFAULT_GRACE);
        assert_eq!((wanted.interval, wanted.request, wanted.expires_at), (None, None, None));
    }

    #[test]
    fn a_request_may_bring_its_own_grace() {
        let asked = json!({"paddock.dev/rotate-requested-at": "now", "paddock.dev/rotate-grace": "0s"});
        let request = check(&json!({"rotation": {"interval": "48h"}}), &asked).unwrap().request.unwrap();
        assert_eq!(request, Request { value: "now".to_owned(), grace: Duration::ZERO });
    }

    #[rstest]
    #[case(json!({"rotation": {"interval": "59m", "gracePeriod": "1m"}}), json!({}), "interval must be at least 1h")]
    #[case(json!({"rotation": {"interval": "12h"}}), json!({}), "gracePeriod (24h when absent)")]
    #[case(json!({"validFor": "24h", "rotation": {"interval": "48h"}}), json!({}), "validFor")]
    #[case(json!({"validFor": "24h", "expiresAt": "2030-01-01T00:00:00Z"}), json!({}), "exclude each other")]
    #[case(json!({"models": [":"]}), json!({}), "spec.models")]
    #[case(json!({}), json!({"paddock.dev/rotate-requested-at": "1", "paddock.dev/rotate-grace": "soon"}), "rotate-grace")]
    fn what_breaks_a_rule_is_refused_by_name(#[case] spec: Value, #[case] annotations: Value, #[case] words: &str) {
        let refusal = check(&spec, &annotations).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidSpec);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
}
