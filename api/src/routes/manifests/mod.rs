//! Users, keys and models as Kubernetes objects, for moving them into Git.

#![expect(unused_qualifications, reason = "utoipa writes the type of the parameters with its path")]

mod objects;

use std::collections::{HashMap, hash_map::Entry};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use paddock_accounts::{
    Accounts, CredentialId, Error, UserId, Violation,
    access::Permission,
    credentials::{KeySearch, ListedKey},
    types::{ManagedBy, Scope},
    users::{User, UserSearch},
};
use paddock_ollama::ModelName;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::{ApiError, Kind},
        extract::{
            Query,
            deserialize::{number, parsed},
        },
        openapi_problems::{CallerErrors, CommonErrors, ConflictResponse, NotFoundResponse},
    },
    models::Models,
};
use objects::Manifests;

/// How many rows are read at once.
const PAGE: u16 = 500;

/// The user or key to export, and the namespace of the objects.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ManifestQuery {
    /// Only the user or key with this id. Absent: all that no Kubernetes object owns.
    #[serde(default, deserialize_with = "number")]
    id: Option<i64>,
    /// The namespace of the objects. Absent: the objects name none.
    #[serde(default, deserialize_with = "parsed")]
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: Option<String>,
}

/// The model to export, and the namespace of the objects.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ModelManifestQuery {
    /// Only this model, in any spelling. Absent: all that a backend has and no Kubernetes object
    /// owns.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    model: Option<ModelName>,
    /// The namespace of the objects. Absent: the objects name none.
    #[serde(default, deserialize_with = "parsed")]
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: Option<String>,
}

/// Exports users as `ApiUser` objects.
///
/// An applied object takes its user over, with its keys and its password. An admin needs a namespace
/// that the operator's `ADMIN_NAMESPACES` lists. A deleted object leaves its user as it is.
#[utoipa::path(
    get, path = "/manifests/users", operation_id = "export_user_manifests", tag = "users", params(ManifestQuery),
    responses(
        (status = 200, description = "A stream of YAML documents.", content((String = "application/yaml")),
         headers(("Content-Disposition" = String, description = "`attachment` with a file name."))),
        CommonErrors, CallerErrors, NotFoundResponse, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn users(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::UsersRead)).await?;
    let asked: ManifestQuery = query.read()?;
    let mut manifests = Manifests::new(
        namespace(asked.namespace)?,
        "Users of Paddock. An applied object takes its user over. Deleting it leaves the user.",
    );
    let users = match asked.id.map(UserId) {
        None => unmanaged_users(&accounts).await?,
        Some(id) => {
            let user = with_db_timeout(accounts.users().find(id)).await?.ok_or(Error::NoUser(id))?;
            refuse_managed("ApiUser", user.managed_by.as_ref())?;
            vec![user]
        }
    };
    for user in &users {
        manifests.push_user(user).map_err(|_| ApiError::internal())?;
    }
    yaml(manifests, "users")
}

/// Exports keys as `ApiKey` objects, without their secrets.
///
/// An object cannot take over the secret of a key: applied, it issues a new key in a Secret. Revoke
/// the old key when its clients use the new one. Keys that are revoked or expired are left out.
#[utoipa::path(
    get, path = "/manifests/keys", operation_id = "export_key_manifests", tag = "credentials", params(ManifestQuery),
    responses(
        (status = 200, description = "A stream of YAML documents.", content((String = "application/yaml")),
         headers(("Content-Disposition" = String, description = "`attachment` with a file name."))),
        CommonErrors, CallerErrors, NotFoundResponse, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn keys(
    State(accounts): State<Accounts>,
    mut caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::KeysRead)).await?;
    let asked: ManifestQuery = query.read()?;
    let mut manifests = Manifests::new(
        namespace(asked.namespace)?,
        "Keys of Paddock, without their secrets. An applied object issues a new key, in a Secret.\n\
         Revoke the old key when its clients use the new one.",
    );
    let keys = match asked.id.map(CredentialId) {
        None => unmanaged_keys(&accounts).await?,
        Some(id) => {
            let key = with_db_timeout(accounts.credentials().show(id)).await?.ok_or(Error::NoCredential(id))?;
            refuse_managed("ApiKey", key.credential.managed_by.as_ref())?;
            vec![key]
        }
    };
    let mut owners: HashMap<UserId, Option<ManagedBy>> = HashMap::new();
    for key in &keys {
        let user_id = key.credential.user_id;
        if let Entry::Vacant(unknown) = owners.entry(user_id) {
            let user = with_db_timeout(accounts.users().find(user_id)).await?;
            unknown.insert(user.and_then(|user| user.managed_by));
        }
        let owner = owners.get(&user_id).and_then(Option::as_ref);
        manifests.push_key(key, owner).map_err(|_| ApiError::internal())?;
    }
    yaml(manifests, "keys")
}

/// Exports models as `OllamaModel` objects.
///
/// A deleted object leaves its model. The operator's `MODEL_REGISTRIES` must list the registry of a
/// model.
#[utoipa::path(
    get, path = "/manifests/models", operation_id = "export_model_manifests", tag = "models", params(ModelManifestQuery),
    responses(
        (status = 200, description = "A stream of YAML documents.", content((String = "application/yaml")),
         headers(("Content-Disposition" = String, description = "`attachment` with a file name."))),
        CommonErrors, CallerErrors, NotFoundResponse, ConflictResponse
    ),
    security(("bearer" = []), ("api_key" = []))
)]
pub(crate) async fn models(
    State(models): State<Models>,
    mut caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require(Permission::Manage(Scope::ModelsRead)).await?;
    let asked: ModelManifestQuery = query.read()?;
    let comment = "Models of Paddock. Deleting an object leaves its model.";
    let mut manifests = Manifests::new(namespace(asked.namespace)?, comment);
    let catalog = models.catalog().await?;
    if let Some(name) = asked.model {
        let model = catalog.models.get(name.as_str()).filter(|model| model.backends.iter().any(Option::is_some));
        let not_found = || ApiError::new(Kind::NotFound, "no backend that answers has this model");
        refuse_managed("OllamaModel", model.ok_or_else(not_found)?.managed_by.first())?;
        manifests.push_model(name.as_str()).map_err(|_| ApiError::internal())?;
        return yaml(manifests, "models");
    }
    for (name, model) in &catalog.models {
        if model.managed_by.is_empty() && model.backends.iter().any(Option::is_some) {
            manifests.push_model(name).map_err(|_| ApiError::internal())?;
        }
    }
    yaml(manifests, "models")
}

async fn unmanaged_users(accounts: &Accounts) -> Result<Vec<User>, ApiError> {
    let search = UserSearch { is_managed: Some(false), ..UserSearch::default() };
    let mut all = Vec::new();
    loop {
        let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let (users, _) = with_db_timeout(accounts.users().list(&search, PAGE, offset)).await?;
        let is_last = users.len() < usize::from(PAGE);
        all.extend(users);
        if is_last {
            return Ok(all);
        }
    }
}

async fn unmanaged_keys(accounts: &Accounts) -> Result<Vec<ListedKey>, ApiError> {
    let search = KeySearch { is_managed: Some(false), ..KeySearch::default() };
    let mut all = Vec::new();
    loop {
        let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let (keys, _) = with_db_timeout(accounts.credentials().search(&search, PAGE, offset)).await?;
        let is_last = keys.len() < usize::from(PAGE);
        all.extend(keys);
        if is_last {
            return Ok(all);
        }
    }
}

/// Fails if an object owns the row: that object is its manifest.
fn refuse_managed(kind: &'static str, owner: Option<&ManagedBy>) -> Result<(), ApiError> {
    owner.map_or(Ok(()), |owner| Err(Error::Managed { kind, owner: owner.clone() }.into()))
}

/// Checks the name of a namespace, which is a DNS label.
fn namespace(name: Option<String>) -> Result<Option<String>, ApiError> {
    let is_label = |name: &str| {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = (name.bytes().next(), name.bytes().next_back());
        name.len() <= 63
            && name.bytes().all(|byte| is_letter(byte) || byte == b'-')
            && matches!(ends, (Some(first), Some(last)) if is_letter(first) && is_letter(last))
    };
    match name {
        Some(name) if !is_label(&name) => {
            let rule = "must be a namespace: at most 63 lower-case letters, digits and hyphens, such as team-a";
            Err(ApiError::invalid(vec![Violation::new("?namespace", rule)]))
        }
        name => Ok(name),
    }
}

fn yaml(manifests: Manifests, name: &str) -> Result<Response, ApiError> {
    let disposition = format!("attachment; filename=\"paddock-{name}.yaml\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/yaml")),
        (header::CONTENT_DISPOSITION, HeaderValue::try_from(disposition).map_err(|_| ApiError::internal())?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, manifests.into_text()).into_response())
}
