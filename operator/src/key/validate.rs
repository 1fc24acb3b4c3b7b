//! Validates an `ApiKey`. Pure.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use kube::ResourceExt;
use paddock_accounts::types::{self, Limits, ModelPatterns, Priority, Scopes};
use paddock_crds::{
    ApiKey, ApiKeySpec, GoDuration, KeyPriority, Rotation, Scope, SecretTemplate, annotation, metadata,
};
use paddock_store::clock::Timestamp;

use crate::{
    object::annotation_value,
    status::conditions::{Blocked, Reason},
    time::from_k8s_time,
    user::validate::{convert_limits, parse_patterns},
};

const MIN_ROTATION_INTERVAL: Duration = Duration::from_hours(1);
/// How long a replaced version stays valid by default.
pub(crate) const DEFAULT_GRACE_PERIOD: Duration = Duration::from_hours(24);

/// A validated spec.
#[derive(Clone, Debug)]
pub(crate) struct KeySpec {
    pub(crate) label: String,
    pub(crate) scopes: Scopes,
    pub(crate) models: Option<ModelPatterns>,
    pub(crate) limits: Limits,
    pub(crate) priority: Priority,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) valid_for: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) request: Option<RotationRequest>,
    pub(crate) secret_name: String,
    pub(crate) template: SecretTemplate,
}

/// A request for a new version now, by annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RotationRequest {
    /// Any text that differs from the text of the previous request.
    pub(crate) value: String,
    /// How long the old version stays valid.
    pub(crate) grace: Duration,
}

/// Validates the spec and the annotations.
pub(crate) fn key_spec(object: &ApiKey) -> Result<KeySpec, Blocked> {
    let spec = &object.spec;
    let (interval, grace) = rotation(spec.rotation.as_ref(), spec.valid_for)?;
    if spec.expires_at.is_some() && spec.valid_for.is_some() {
        return Err(invalid("spec.expiresAt and spec.validFor exclude each other; set one of them"));
    }
    Ok(KeySpec {
        label: spec.label.clone().unwrap_or_else(|| object.name_any()).chars().take(100).collect(),
        scopes: scopes(spec),
        models: spec.models.as_deref().map(parse_patterns).transpose()?,
        limits: spec.limits.as_ref().map(convert_limits).unwrap_or_default(),
        priority: match spec.priority {
            None | Some(KeyPriority::Interactive) => Priority::Interactive,
            Some(KeyPriority::Batch) => Priority::Batch,
        },
        expires_at: spec.expires_at.as_ref().map(from_k8s_time),
        valid_for: spec.valid_for.map(GoDuration::get),
        interval: interval.map(|interval| spread(interval, &object.uid().unwrap_or_default())),
        grace,
        request: rotation_request(object, grace)?,
        secret_name: secret_name(object),
        template: template(spec)?,
    })
}

/// Returns the scopes of the key.
pub(crate) fn scopes(spec: &ApiKeySpec) -> Scopes {
    let of_spec = |scopes: &Vec<Scope>| scopes.iter().copied().map(convert_scope).collect();
    spec.scopes.as_ref().map_or_else(Scopes::default_for_keys, of_spec)
}

/// Shortens the interval by up to 5 %, by an amount that is derived from the UID of the object. Keys
/// that were applied together then do not rotate together.
fn spread(interval: Duration, uid: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 501).expect("a remainder below 501");
    interval * (10_000 - part) / 10_000
}

/// Returns the template of the Secret, if the API server accepts its labels and annotations.
fn template(spec: &ApiKeySpec) -> Result<SecretTemplate, Blocked> {
    let template = spec.secret.as_ref().and_then(|secret| secret.template.clone()).unwrap_or_default();
    for (part, entries) in [("labels", &template.labels), ("annotations", &template.annotations)] {
        if let Some((name, rule)) = entries.keys().find_map(|name| Some((name, metadata::name_violation(name)?))) {
            return Err(invalid(format!("spec.secret.template.{part}: the name {name:?} {rule}")));
        }
    }
    if let Some((name, _)) = template.labels.iter().find(|(_, value)| !metadata::is_label_value(value)) {
        let rule =
            "must be empty, or at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit";
        return Err(invalid(format!("spec.secret.template.labels: the value of {name:?} {rule}")));
    }
    Ok(template)
}

/// Returns the name of the object's Secret.
pub(crate) fn secret_name(object: &ApiKey) -> String {
    let named = object.spec.secret.as_ref().and_then(|secret| secret.name.clone());
    named.unwrap_or_else(|| format!("{}-apikey", object.name_any()))
}

fn rotation(
    rotation: Option<&Rotation>,
    valid_for: Option<GoDuration>,
) -> Result<(Option<Duration>, Duration), Blocked> {
    let Some(rotation) = rotation else { return Ok((None, DEFAULT_GRACE_PERIOD)) };
    let (interval, grace) = (rotation.interval.get(), rotation.grace_period.get());
    if interval < MIN_ROTATION_INTERVAL {
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

fn rotation_request(object: &ApiKey, default_grace: Duration) -> Result<Option<RotationRequest>, Blocked> {
    let Some(value) = annotation_value(object, annotation::ROTATE_REQUESTED_AT).filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    let grace = match annotation_value(object, annotation::ROTATE_GRACE) {
        Some(text) => {
            let parsed = text.parse::<GoDuration>();
            parsed.map_err(|error| invalid(format!("annotation {}: {error}", annotation::ROTATE_GRACE)))?.get()
        }
        None => default_grace,
    };
    Ok(Some(RotationRequest { value: value.to_owned(), grace }))
}

fn invalid(message: impl Into<String>) -> Blocked {
    Blocked::new(Reason::InvalidSpec, message)
}

const fn convert_scope(scope: Scope) -> types::Scope {
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
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: &Value, annotations: &Value) -> Result<KeySpec, Blocked> {
        let mut object = json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey",
            "metadata": {"name": "ci", "namespace": "team-a", "annotations": annotations},
            "spec": {"userRef": {"name": "ada"}},
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        key_spec(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn intervals_are_spread_over_5_percent() {
        let day = Duration::from_hours(24);
        let spreads: Vec<_> = (0..1000).map(|number| spread(day, &format!("uid-{number}"))).collect();
        assert!(spreads.iter().all(|spread| (day * 95 / 100..=day).contains(spread)));
        let first_half = spreads.iter().filter(|spread| **spread < day * 975 / 1000).count();
        assert!((400..600).contains(&first_half), "{first_half}");
    }

    #[test]
    fn absent_fields_have_defaults() {
        let spec = check(&json!({}), &json!({})).unwrap();
        assert_eq!(spec.label, "ci");
        assert_eq!(spec.secret_name, "ci-apikey");
        assert_eq!(spec.scopes.to_string(), "chat embed generate models:read");
        assert_eq!(spec.grace, DEFAULT_GRACE_PERIOD);
        assert_eq!((spec.interval, spec.request, spec.expires_at), (None, None, None));
    }

    #[test]
    fn a_request_may_set_its_own_grace() {
        let asked = json!({"paddock.dev/rotate-requested-at": "now", "paddock.dev/rotate-grace": "0s"});
        let request = check(&json!({"rotation": {"interval": "48h"}}), &asked).unwrap().request.unwrap();
        assert_eq!(request, RotationRequest { value: "now".to_owned(), grace: Duration::ZERO });
    }

    #[rstest]
    #[case(json!({"rotation": {"interval": "59m", "gracePeriod": "1m"}}), json!({}), "interval must be at least 1h")]
    #[case(json!({"rotation": {"interval": "12h"}}), json!({}), "gracePeriod (24h when absent)")]
    #[case(json!({"validFor": "24h", "rotation": {"interval": "48h"}}), json!({}), "validFor")]
    #[case(json!({"validFor": "24h", "expiresAt": "2030-01-01T00:00:00Z"}), json!({}), "exclude each other")]
    #[case(json!({"models": [":"]}), json!({}), "spec.models")]
    #[case(json!({"secret": {"template": {"labels": {"bad key!": "x"}}}}), json!({}), "bad key!")]
    #[case(json!({"secret": {"template": {"labels": {"team": "a b"}}}}), json!({}), "the value of \"team\"")]
    #[case(json!({"secret": {"template": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}}}), json!({}), "GitOps")]
    #[case(json!({"secret": {"template": {"labels": {"app.kubernetes.io/instance": "x"}}}}), json!({}), "GitOps")]
    #[case(json!({}), json!({"paddock.dev/rotate-requested-at": "1", "paddock.dev/rotate-grace": "soon"}), "rotate-grace")]
    fn an_invalid_field_is_named(#[case] spec: Value, #[case] annotations: Value, #[case] words: &str) {
        let blocked = check(&spec, &annotations).unwrap_err();
        assert_eq!(blocked.reason, Reason::InvalidSpec);
        assert!(blocked.message.contains(words), "{}", blocked.message);
    }
}
