//! The JSON forms of models and pulls.

use std::{borrow::Cow, collections::BTreeMap};

use paddock_accounts::pulls::PullState;
use paddock_ollama::ModelName;
use paddock_store::clock::Timestamp;
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    models::{BackendModel, Catalog, CatalogModel, PullSnapshot},
    routes::schemas::{OwnerView, words},
};

/// The OpenAPI schema of a pull's state.
pub(crate) struct PullStateName;

impl PartialSchema for PullStateName {
    fn schema() -> RefOr<Schema> {
        words::<PullState>("The state of a pull. `succeeded`, `failed` and `cancelled` are final.")
    }
}

impl ToSchema for PullStateName {
    fn name() -> Cow<'static, str> {
        "PullState".into()
    }
}

/// A pull of a model.
#[derive(Serialize, ToSchema)]
#[schema(as = Pull)]
pub(crate) struct PullView {
    /// The id.
    job: i64,
    /// The canonical name of the model.
    #[schema(example = "registry.ollama.ai/library/smollm2:135m")]
    model: String,
    /// The state.
    #[schema(value_type = PullStateName)]
    state: PullState,
    /// Why the pull failed.
    #[schema(required)]
    reason: Option<String>,
    /// The latest action of Ollama.
    #[schema(required, example = "pulling 797b70c4edf8")]
    status: Option<String>,
    /// The progress, from 0 to 100. It never decreases, and is 100 only after success.
    #[schema(minimum = 0, maximum = 100)]
    percent: i64,
    /// The received bytes of all known layers. It never decreases.
    completed_bytes: i64,
    /// The size of all known layers. It grows, because Ollama reports a layer when it begins it.
    total_bytes: i64,
    /// The speed of the last seconds. Null: no data arrives.
    #[schema(required)]
    bytes_per_second: Option<i64>,
    /// The user that requested the pull.
    user_id: i64,
    /// The API key that requested the pull. Null: a session did.
    #[schema(required)]
    credential_id: Option<i64>,
    /// When the pull was requested.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the pull first ran.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When the pull ended.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<PullSnapshot> for PullView {
    fn from(pull: PullSnapshot) -> Self {
        let status = pull.status().map(str::to_owned);
        let job = pull.job;
        Self {
            job: job.id.0,
            model: job.model,
            state: job.state,
            reason: job.reason,
            status,
            percent: job.progress.percent,
            completed_bytes: job.progress.completed_bytes,
            total_bytes: job.progress.total_bytes,
            bytes_per_second: job.progress.bytes_per_second,
            user_id: job.user_id.0,
            credential_id: job.credential_id.map(i64::from),
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

/// The models of all backends.
#[derive(Serialize, ToSchema)]
#[schema(as = Models)]
pub(crate) struct CatalogView {
    /// The backends: the Ollama servers.
    backends: Vec<BackendView>,
    /// The models that a backend has, that a Kubernetes object owns, or that are being pulled, in
    /// order of their names.
    models: Vec<ModelView>,
}

/// A backend.
#[derive(Serialize, ToSchema)]
#[schema(as = Backend)]
pub(crate) struct BackendView {
    /// The URL, which is the name of the backend.
    url: String,
    /// Whether the backend answered.
    reachable: bool,
    /// Why it did not.
    #[schema(required)]
    error: Option<String>,
}

/// A model.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct ModelView {
    /// The canonical name.
    #[schema(example = "registry.ollama.ai/library/smollm2:135m")]
    model: String,
    /// The name as Ollama prints it.
    #[schema(example = "smollm2:135m")]
    name: String,
    /// The Kubernetes objects that own the model. Empty: none does.
    managed_by: Vec<OwnerView>,
    /// The pull that is queued or running. Null: none is.
    #[schema(required)]
    pull: Option<PullView>,
    /// The model on each backend.
    backends: Vec<ModelBackendView>,
}

/// A model on one backend.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelBackend)]
pub(crate) struct ModelBackendView {
    /// The URL of the backend.
    url: String,
    /// Whether the backend answered.
    reachable: bool,
    /// Whether the backend has the model. Null: it did not answer.
    #[schema(required)]
    present: Option<bool>,
    /// The digest of the manifest.
    #[schema(required)]
    digest: Option<String>,
    /// The size on disk.
    #[schema(required)]
    size_bytes: Option<u64>,
    /// Whether the model is in memory.
    loaded: bool,
    /// When the backend unloads the model unless it is used, in RFC 3339.
    #[schema(required)]
    loaded_until: Option<String>,
    /// The part of the model in GPU memory.
    #[schema(required)]
    vram_bytes: Option<u64>,
}

impl From<Catalog> for CatalogView {
    fn from(Catalog { backends, models }: Catalog) -> Self {
        let models: BTreeMap<_, _> = models;
        let models = models.into_iter().map(|(name, model)| ModelView::new(name, model, &backends)).collect();
        let backends = backends.into_iter().map(|(url, error)| BackendView { url, reachable: error.is_none(), error });
        Self { backends: backends.collect(), models }
    }
}

impl ModelView {
    fn new(model: String, entry: CatalogModel, backends: &[(String, Option<String>)]) -> Self {
        let name = ModelName::parse(&model).map_or_else(|_| model.clone(), |name| name.short().to_owned());
        let states = backends.iter().zip(entry.backends);
        Self {
            model,
            name,
            managed_by: entry.managed_by.into_iter().map(OwnerView::from).collect(),
            pull: entry.pull.map(PullView::from),
            backends: states.map(|((url, error), found)| ModelBackendView::new(url, error.is_none(), found)).collect(),
        }
    }
}

impl ModelBackendView {
    fn new(url: &str, reachable: bool, found: Option<BackendModel>) -> Self {
        let present = reachable.then_some(found.is_some());
        let (digest, size_bytes, loaded) = match found {
            Some(found) => (Some(found.digest), Some(found.size_bytes), found.loaded),
            None => (None, None, None),
        };
        Self {
            url: url.to_owned(),
            reachable,
            present,
            digest,
            size_bytes,
            loaded: loaded.is_some(),
            vram_bytes: loaded.as_ref().map(|loaded| loaded.vram_bytes),
            loaded_until: loaded.and_then(|loaded| loaded.until),
        }
    }
}
