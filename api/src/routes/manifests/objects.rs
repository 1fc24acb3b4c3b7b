//! Kubernetes objects that declare what was made over the API.

use std::fmt::Write as _;

use paddock_accounts::{
    credentials::{KeyState, ListedKey},
    types::{self, ManagedBy, ModelPatterns, TextEnum},
    users::User,
};
use paddock_crds::{
    AdoptionPolicy, ApiKey, ApiKeySpec, ApiUser, ApiUserSpec, KeyPriority, Limits, ModelDeletionPolicy, OllamaModel,
    OllamaModelSpec, PasswordPolicy, Role, UserDeletionPolicy,
};
use serde::{Serialize, de::Error as _};
use serde_json::json;

/// The longest part of an object's name that comes from a text, in characters.
const MAX_NAME_PART: usize = 150;
/// The beginning of the names of models in the default registry.
const DEFAULT_REGISTRY: &str = "registry.ollama.ai/library/";

/// A YAML stream of objects, with comments about them.
pub(super) struct Manifests {
    namespace: Option<String>,
    text: String,
}

impl Manifests {
    /// Begins a stream. The objects have this namespace, or none.
    pub(super) fn new(namespace: Option<String>, comment: &str) -> Self {
        let mut text = String::new();
        for line in comment.lines() {
            let _ = writeln!(text, "# {line}");
        }
        Self { namespace, text }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Adds the object of a user. Applied, it takes the user over; deleted, it leaves the user.
    pub(super) fn push_user(&mut self, user: &User) -> Result<(), serde_yaml_ng::Error> {
        let spec = ApiUserSpec {
            password_secret_ref: None,
            generate_password: None,
            password_policy: PasswordPolicy::default(),
            email: user.email.to_string(),
            display_name: user.display_name.clone(),
            roles: user.roles.iter().map(role).collect(),
            active: user.is_active,
            models: patterns(user.models.as_ref()),
            limits: limits(&user.limits),
            allow_keys_from: None,
            adoption_policy: AdoptionPolicy::IfUnmanaged,
            deletion_policy: UserDeletionPolicy::Retain,
        };
        let mut object = ApiUser::new(&user_name(user.email.as_str(), user.id.0), spec);
        object.metadata.namespace.clone_from(&self.namespace);
        self.push(&object)
    }

    /// Adds the object of a key. A key that no object can declare becomes a comment.
    pub(super) fn push_key(&mut self, key: &ListedKey, owner: Option<&ManagedBy>) -> Result<(), serde_yaml_ng::Error> {
        let credential = &key.credential;
        let id = credential.id.0;
        if matches!(key.state, KeyState::Revoked | KeyState::Expired) {
            return Ok(());
        }
        if credential.scopes.is_empty() {
            let _ = writeln!(self.text, "# Key {id} has no scope, which no object can declare.");
            return Ok(());
        }
        let scopes: Vec<_> = credential.scopes.iter().map(TextEnum::text).collect();
        // By its JSON form: a time of Kubernetes is of another library than Paddock's.
        let mut spec: ApiKeySpec = serde_json::from_value(json!({
            "userRef": self.user_reference(key, owner),
            "label": credential.label,
            "scopes": scopes,
            "expiresAt": credential.expires_at.map(|at| at.to_string()),
        }))
        .map_err(|error| serde_yaml_ng::Error::custom(error.to_string()))?;
        spec.models = patterns(credential.models.as_ref());
        spec.limits = limits(&credential.limits);
        if credential.priority == types::Priority::Batch {
            spec.priority = Some(KeyPriority::Batch);
        }
        let mut object = ApiKey::new(&numbered_name(&credential.label, "key", id), spec);
        object.metadata.namespace.clone_from(&self.namespace);
        self.push(&object)
    }

    /// Adds the object of a model.
    pub(super) fn push_model(&mut self, model: &str) -> Result<(), serde_yaml_ng::Error> {
        let spec = OllamaModelSpec {
            model: model.to_owned(),
            insecure_registry: false,
            deletion_policy: ModelDeletionPolicy::Retain,
        };
        let name = name_part(model.strip_prefix(DEFAULT_REGISTRY).unwrap_or(model), "model");
        let mut object = OllamaModel::new(&name, spec);
        object.metadata.namespace.clone_from(&self.namespace);
        self.push(&object)
    }

    /// Refers to the object that owns the user of a key, or to the object that [`Self::push_user`]
    /// makes for it.
    fn user_reference(&self, key: &ListedKey, owner: Option<&ManagedBy>) -> serde_json::Value {
        match owner {
            Some(owner) if self.namespace.as_ref() == Some(&owner.namespace) => json!({"name": owner.name}),
            Some(owner) => json!({"name": owner.name, "namespace": owner.namespace}),
            None => {
                let email = key.owner.email.as_deref().unwrap_or_default();
                json!({"name": user_name(email, key.credential.user_id.0)})
            }
        }
    }

    fn push(&mut self, object: &impl Serialize) -> Result<(), serde_yaml_ng::Error> {
        self.text.push_str("---\n");
        self.text.push_str(&serde_yaml_ng::to_string(object)?);
        Ok(())
    }
}

/// The name of a user's object. It contains the id, because two addresses may have the same letters.
fn user_name(email: &str, id: i64) -> String {
    numbered_name(email.split('@').next().unwrap_or_default(), "user", id)
}

fn numbered_name(text: &str, otherwise: &str, id: i64) -> String {
    format!("{}-{id}", name_part(text, otherwise))
}

/// Returns the letters and digits of a text as part of an object's name.
fn name_part(text: &str, otherwise: &str) -> String {
    let words: Vec<_> = text
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let part: String = words.join("-").chars().take(MAX_NAME_PART).collect();
    let part = part.trim_end_matches('-');
    if part.is_empty() { otherwise.to_owned() } else { part.to_owned() }
}

const fn role(role: types::Role) -> Role {
    match role {
        types::Role::Admin => Role::Admin,
        types::Role::User => Role::User,
    }
}

fn patterns(models: Option<&ModelPatterns>) -> Option<Vec<String>> {
    models.map(|models| models.iter().map(str::to_owned).collect())
}

/// Returns the limits; `None` if there are none.
fn limits(limits: &types::Limits) -> Option<Limits> {
    let declared = Limits {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
        tokens_per_day: limits.tokens_per_day,
        tokens_per_month: limits.tokens_per_month,
        max_concurrent: limits.max_concurrent,
    };
    (declared != Limits::default()).then_some(declared)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Ada.Lovelace", "ada-lovelace")]
    #[case("smollm2:135m", "smollm2-135m")]
    #[case("--x--", "x")]
    #[case("\u{e4}\u{f6}", "key")]
    #[case("", "key")]
    fn names_have_only_what_kubernetes_allows(#[case] text: &str, #[case] name: &str) {
        assert_eq!(name_part(text, "key"), name);
        assert_eq!(name_part(&"a-".repeat(200), "key").len(), MAX_NAME_PART - 1);
    }
}
