//! The password of a user, from a Secret in the namespace of its object.

use std::collections::HashMap;

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use paddock_accounts::{Error as AccountsError, UserId, passwords::generate_password, users::User};
use paddock_crds::{ApiUser, PasswordPolicy, label, password_data};
use paddock_store::clock::Timestamp;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    context::{Context, audit_context},
    error::{ReconcileError, is_conflict, is_not_found},
    object::{Object, namespace_of},
    status::conditions::{Blocked, Reason},
};

/// Passwords that were compared with their Secrets. A comparison costs as much as a sign-in, so an
/// unchanged password is compared once.
#[derive(Default)]
pub(crate) struct ComparedPasswords(Mutex<HashMap<UserId, (String, Timestamp)>>);

/// What the object says about the password.
enum Source<'a> {
    /// An entry of a Secret that the operator does not write.
    Entry { secret: &'a str, key: &'a str },
    /// A Secret that the operator writes.
    Generated { secret: &'a str },
}

/// A password, and the version of the Secret that it is from.
struct Wanted {
    password: SecretString,
    resource_version: String,
}

/// Sets the password of the user as the object says. Returns `None` if the object says nothing
/// about it, and the reason if the password cannot be set.
pub(crate) async fn apply_password(
    context: &Context,
    compared: &ComparedPasswords,
    object: &ApiUser,
    user: &User,
) -> Result<Option<Result<(), Blocked>>, ReconcileError> {
    let Some(source) = source(object) else { return Ok(None) };
    let passwords = context.accounts.passwords();
    let set_at = passwords.set_at(user.id).await?;
    if set_at.is_some() && object.spec.password_policy == PasswordPolicy::InitialOnly {
        return Ok(Some(Ok(())));
    }
    let wanted = match read_password(context, object, user, &source).await? {
        Ok(wanted) => wanted,
        Err(blocked) => return Ok(Some(Err(blocked))),
    };
    if let Some(set_at) = set_at {
        let state = (wanted.resource_version.clone(), set_at);
        if compared.0.lock().get(&user.id) == Some(&state) {
            return Ok(Some(Ok(())));
        }
        if passwords.matches(user.id, &wanted.password).await? {
            compared.0.lock().insert(user.id, state);
            return Ok(Some(Ok(())));
        }
    }
    match passwords.set(&audit_context(object), user.id, wanted.password).await {
        Ok(()) => Ok(Some(Ok(()))),
        Err(error @ AccountsError::Invalid(_)) => {
            let message = format!("Secret {} has a password that is refused: {error}", source.secret());
            Ok(Some(Err(Blocked::new(Reason::PasswordRefused, message))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes the Secret with the generated password of a deleted object.
pub(crate) async fn delete_generated(context: &Context, object: &ApiUser) -> Result<(), ReconcileError> {
    let Some(Source::Generated { secret: name }) = source(object) else { return Ok(()) };
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace_of(object));
    let Some(secret) = secrets.get_metadata_opt(name).await? else { return Ok(()) };
    if !is_owner(object, secret.owner_references()) {
        return Ok(());
    }
    let same_uid = Preconditions { uid: secret.uid(), resource_version: None };
    match secrets.delete(name, &DeleteParams::default().preconditions(same_uid)).await {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether the object names the Secret as one with its password.
pub(crate) fn uses_secret(object: &ApiUser, name: &str) -> bool {
    source(object).is_some_and(|source| source.secret() == name)
}

impl Source<'_> {
    const fn secret(&self) -> &str {
        match self {
            Self::Entry { secret, .. } | Self::Generated { secret } => secret,
        }
    }
}

fn source(object: &ApiUser) -> Option<Source<'_>> {
    let spec = &object.spec;
    match (&spec.password_secret_ref, &spec.generate_password) {
        (Some(reference), _) => Some(Source::Entry { secret: &reference.name, key: &reference.key }),
        (None, Some(generate)) => Some(Source::Generated { secret: &generate.secret_name }),
        (None, None) => None,
    }
}

/// Reads the password from its Secret, or generates it.
async fn read_password(
    context: &Context,
    object: &ApiUser,
    user: &User,
    source: &Source<'_>,
) -> Result<Result<Wanted, Blocked>, ReconcileError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace_of(object));
    let found = secrets.get_opt(source.secret()).await?;
    let (secret, key) = match (source, found) {
        (Source::Entry { key, .. }, Some(secret)) => (secret, *key),
        (Source::Entry { secret, .. }, None) => {
            let message = format!("there is no Secret {secret}, which spec.passwordSecretRef names; create it");
            return Ok(Err(Blocked::new(Reason::PasswordSecretNotFound, message)));
        }
        (Source::Generated { secret }, Some(found)) => {
            if !is_owner(object, found.owner_references()) {
                let message = format!(
                    "there is a Secret {secret} already, which this object does not own; remove it, or name another \
                     Secret in spec.generatePassword"
                );
                return Ok(Err(Blocked::new(Reason::SecretConflict, message)));
            }
            (found, password_data::PASSWORD)
        }
        (Source::Generated { secret }, None) => {
            let params = PostParams { field_manager: Some(ApiUser::FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match secrets.create(&params, &generated_secret(object, user, secret)).await {
                Ok(created) => (created, password_data::PASSWORD),
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    let message = format!("the API server refuses Secret {secret}: {}", status.message);
                    return Ok(Err(Blocked::new(Reason::SecretRefused, message)));
                }
                Err(error) if is_conflict(&error) => {
                    return Err(ReconcileError::Conflict("another writer made the Secret"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    Ok(entry(&secret, key).ok_or_else(|| {
        let message = format!("Secret {} has no text in its entry {key}; add the password there", source.secret());
        Blocked::new(Reason::PasswordRefused, message)
    }))
}

/// Returns the password in an entry, without a line break at its end.
fn entry(secret: &Secret, key: &str) -> Option<Wanted> {
    let bytes = &secret.data.as_ref()?.get(key)?.0;
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let resource_version = secret.resource_version().unwrap_or_default();
    (!text.is_empty()).then(|| Wanted { password: text.into(), resource_version })
}

/// Builds the Secret with a new password. The object owns it without `blockOwnerDeletion`, which would
/// need another right.
fn generated_secret(object: &ApiUser, user: &User, name: &str) -> Secret {
    let owner = object.controller_owner_ref(&()).map(|owner| OwnerReference { block_owner_deletion: None, ..owner });
    let labels = [label::MANAGED, label::PASSWORD].map(|name| (name.to_owned(), "true".to_owned()));
    let password = generate_password().expose_secret().to_owned();
    let data = [(password_data::USERNAME, user.email.to_string()), (password_data::PASSWORD, password)];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: object.namespace(),
            labels: Some(labels.into()),
            owner_references: Some(owner.into_iter().collect()),
            ..ObjectMeta::default()
        },
        string_data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        ..Secret::default()
    }
}

fn is_owner(object: &ApiUser, owners: &[OwnerReference]) -> bool {
    let uid = object.meta().uid.as_ref();
    owners.iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("secret", Some("secret"))]
    #[case("secret\n", Some("secret"))]
    #[case("secret\r\n", Some("secret"))]
    #[case("two\nlines", Some("two\nlines"))]
    #[case("\n", None)]
    fn a_line_break_at_the_end_is_no_part_of_the_password(#[case] content: &str, #[case] expected: Option<&str>) {
        let data = json!({"password": k8s_openapi::ByteString(content.as_bytes().to_vec())});
        let secret: Secret = serde_json::from_value(json!({"data": data})).unwrap();
        let wanted = entry(&secret, "password");
        assert_eq!(wanted.as_ref().map(|wanted| wanted.password.expose_secret()), expected);
    }

    #[test]
    fn only_the_named_secret_is_used() {
        let object: ApiUser = serde_json::from_value(json!({
            "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiUser", "metadata": {"name": "ada"},
            "spec": {"email": "a@b.c", "passwordSecretRef": {"name": "pw"}},
        }))
        .unwrap();
        assert!(uses_secret(&object, "pw") && !uses_secret(&object, "other"));
    }
}
