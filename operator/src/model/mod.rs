//! `OllamaModel` -> the model on every backend.

mod apply;
mod plan;
mod pulls;
mod status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt};
use paddock_crds::{ModelDeletionPolicy, OllamaModel};
use paddock_ollama::Client;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::DropGuard;

use crate::error::Failure;
use crate::frame::{self, Cleanup, Controller, Next};
use crate::model::pulls::Pulls;
use crate::object::{Written, namespace_of};
use crate::shared::Shared;

/// How soon a model that is under way is looked at again, should its pull have nothing to tell.
const UNDER_WAY: Duration = Duration::from_secs(30);

pub(crate) struct ModelController {
    shared: Arc<Shared>,
    written: Written<OllamaModel>,
    backends: Vec<Backend>,
    pulls: Arc<Pulls>,
    /// Removals go one by one: of two objects that name one model, the second has to see that the first is gone.
    removing: Mutex<()>,
    slots: Semaphore,
}

/// One Ollama.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// Its base URL, which is how status names it.
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl ModelController {
    /// `concurrency` is how many models are worked on at once, apart from users and keys: an Ollama that hangs must not hold
    /// those up.
    pub(crate) fn new(shared: Arc<Shared>, clients: Vec<Client>, concurrency: usize) -> Self {
        let backends = clients
            .into_iter()
            .map(|client| Backend { name: client.base_url().as_str().trim_end_matches('/').to_owned(), client })
            .collect();
        Self {
            pulls: Arc::new(Pulls::new(Arc::clone(&shared))),
            shared,
            written: Written::default(),
            backends,
            removing: Mutex::default(),
            slots: Semaphore::new(concurrency),
        }
    }

    /// See [`Pulls::stop_on_drop`].
    pub(crate) fn stop_pulls_on_drop(&self) -> DropGuard {
        self.pulls.stop_on_drop()
    }
}

impl Controller for ModelController {
    type Object = OllamaModel;

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn slots(&self) -> &Semaphore {
        &self.slots
    }

    fn written(&self) -> &Written<OllamaModel> {
        &self.written
    }

    async fn reconcile(self: Arc<Self>, object: Arc<OllamaModel>) -> Result<Next, Failure> {
        let object = object.as_ref();
        let outcome = match validate::wanted(object, &self.shared.settings.model_registries) {
            Ok(wanted) => apply::bring(&self, object, &wanted).await?,
            Err(refusal) => apply::Outcome::Refused(refusal),
        };
        let next = match &outcome {
            apply::Outcome::Looked(looked) if looked.is_everywhere() => Next::Settled,
            apply::Outcome::Looked(looked) if looked.is_under_way() => Next::Within(UNDER_WAY),
            apply::Outcome::Looked(_) | apply::Outcome::Refused(_) => Next::Waiting,
        };
        frame::report(self.as_ref(), object, status::of(object, &outcome, self.shared.now())).await?;
        Ok(next)
    }

    async fn clean_up(self: Arc<Self>, object: Arc<OllamaModel>) -> Result<Cleanup, Failure> {
        let object = object.as_ref();
        self.pulls.leave(&(namespace_of(object), object.name_any()));
        if object.spec.deletion_policy == ModelDeletionPolicy::Delete {
            self.shared.models.synced().await;
            let _one_by_one = self.removing.lock().await;
            apply::remove(&self, object).await?;
        }
        Ok(Cleanup::Done)
    }
}

/// Another object that names the same model and stays.
fn is_named_elsewhere(shared: &Shared, object: &OllamaModel) -> bool {
    let model = paddock_ollama::ModelName::parse(&object.spec.model).ok();
    let names_it = |other: &OllamaModel| {
        other.uid() != object.uid()
            && other.meta().deletion_timestamp.is_none()
            && paddock_ollama::ModelName::parse(&other.spec.model).ok() == model
    };
    !shared.models.filter(names_it).is_empty()
}
