//! One Ollama, and its models.

use std::{collections::HashMap, time::Duration};

use paddock_ollama::{Backend, Client, ClientError, LoadedModel, ModelName, Tag, Timeouts};
use tokio::time::timeout;

/// How long an Ollama may take to list its models. After that it counts as unreachable.
const LIST_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// One Ollama, with its client.
pub(super) struct BackendClient {
    pub(super) url: String,
    pub(super) client: Client,
}

/// A model on one backend.
#[derive(Clone, Debug)]
pub(crate) struct BackendModel {
    /// The digest of the manifest, `sha256:...`.
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    /// `None` if the model is not loaded.
    pub(crate) loaded: Option<LoadedUntil>,
}

/// A loaded model.
#[derive(Clone, Debug)]
pub(crate) struct LoadedUntil {
    /// When Ollama unloads the model, in RFC 3339.
    pub(crate) until: Option<String>,
    pub(crate) vram_bytes: u64,
}

impl BackendClient {
    pub(super) fn new(backend: &Backend) -> Result<Self, ClientError> {
        let timeouts = Timeouts { connect: CONNECT_TIMEOUT, ..Timeouts::default() };
        Ok(Self { url: backend.name(), client: Client::new(backend.clone(), timeouts)? })
    }

    /// Lists the models by canonical name. Keeps a name unchanged if Ollama lists it but does not
    /// accept it in a request.
    pub(super) async fn models(&self) -> Result<HashMap<String, BackendModel>, ClientError> {
        let lists = async { tokio::join!(self.client.tags(), self.client.loaded_models()) };
        let (tags, loaded) = timeout(LIST_TIMEOUT, lists).await.map_err(|_| ClientError::Timeout)?;
        // Without the list of loaded models, the models are still known.
        let loaded = loaded.unwrap_or_default();
        let mut loaded: HashMap<String, LoadedModel> =
            loaded.into_iter().map(|model| (canonical(&model.name), model)).collect();
        let models = tags?.into_iter().map(|tag| {
            let name = canonical(&tag.name);
            let loaded = loaded.remove(&name);
            (name, BackendModel::new(&tag, loaded))
        });
        Ok(models.collect())
    }

    /// Whether this Ollama has the model.
    pub(super) async fn has(&self, model: &ModelName) -> Result<bool, ClientError> {
        let tags = timeout(LIST_TIMEOUT, self.client.tags()).await.map_err(|_| ClientError::Timeout)??;
        Ok(tags.iter().any(|tag| tag.model_name().is_ok_and(|name| name == *model)))
    }
}

impl BackendModel {
    fn new(tag: &Tag, loaded: Option<LoadedModel>) -> Self {
        Self {
            digest: format!("sha256:{}", tag.digest),
            size_bytes: tag.size,
            loaded: loaded.map(|loaded| LoadedUntil { until: loaded.expires_at, vram_bytes: loaded.size_vram }),
        }
    }
}

fn canonical(name: &str) -> String {
    ModelName::parse(name).map_or_else(|_| name.to_owned(), |name| name.as_str().to_owned())
}
