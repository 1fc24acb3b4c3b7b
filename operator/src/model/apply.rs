//! Has the model pulled where it is missing, and records it; removes it when the last object goes.

use futures_util::future::join_all;
use kube::{Resource, ResourceExt};
use paddock_accounts::managed_resources::{Model, ModelSource, Removal};
use paddock_crds::{BackendState, OllamaModel};
use paddock_ollama::{ClientError, ModelName};

use crate::conditions::Refusal;
use crate::error::Failure;
use crate::model::plan::{self, Pull, Seen, Sight};
use crate::model::validate::Wanted;
use crate::model::{Backend, ModelController, is_named_elsewhere};
use crate::object::{Object, namespace_of};
use crate::shared::context;

/// What came of it; only this module makes a `Looked`.
pub(crate) enum Outcome {
    Looked(Looked),
    Refused(Refusal),
}

/// Where the model is, every pull that is needed under way.
pub(crate) struct Looked {
    pub(crate) sights: Vec<Sight>,
    /// How the model came, once it is there.
    pub(crate) origin: Option<ModelSource>,
    _sealed: (),
}

impl Looked {
    /// Whether every backend has the model.
    pub(crate) fn is_everywhere(&self) -> bool {
        self.sights.iter().all(|sight| matches!(sight.seen, Seen::Present { .. }))
    }

    /// Whether a pull goes on that will have the object looked at.
    pub(crate) fn is_under_way(&self) -> bool {
        self.sights.iter().any(|sight| sight.pull.is_some())
            && !self.sights.iter().any(|sight| matches!(sight.seen, Seen::Unreachable(_)))
    }
}

/// Looks at every backend, begins the pulls that are missing, and records a model that is there.
pub(crate) async fn bring(
    controller: &ModelController,
    object: &OllamaModel,
    wanted: &Wanted,
) -> Result<Outcome, Failure> {
    let waiter = (namespace_of(object), object.name_any());
    let looks = controller.backends.iter().map(async |backend| {
        // Before the backend is asked: a pull that ends in between is then seen as one that is still under way.
        let pull = controller.pulls.join(&wanted.model, &backend.name, &waiter);
        let seen = look(backend, &wanted.model).await;
        let pull = pull.filter(|_| !matches!(seen, Seen::Present { .. }));
        Sight { backend: backend.name.clone(), seen, pull }
    });
    let mut sights = join_all(looks).await;
    for place in plan::to_begin(&sights) {
        controller.pulls.begin(wanted, &controller.backends[place], &waiter);
        sights[place].pull = Some(Pull::default());
    }
    let origin = match plan::present(&sights) {
        Some((digest, bytes)) => Some(record(controller, object, wanted, digest, bytes).await?),
        None => None,
    };
    Ok(Outcome::Looked(Looked { sights, origin, _sealed: () }))
}

async fn look(backend: &Backend, model: &ModelName) -> Seen {
    let tags = backend.client.tags().await;
    count(tags.as_ref().err());
    match tags {
        Ok(tags) => match tags.iter().find(|tag| tag.model().is_ok_and(|name| name == *model)) {
            Some(tag) => Seen::Present { digest: format!("sha256:{}", tag.digest), bytes: tag.size },
            None => Seen::Absent,
        },
        Err(error) => Seen::Unreachable(error.to_string()),
    }
}

/// Records the model, and gives how it came: as recorded before; else pulled, if the status shows that a pull of ours was
/// under way; else it was there.
async fn record(
    controller: &ModelController,
    object: &OllamaModel,
    wanted: &Wanted,
    digest: &str,
    bytes: u64,
) -> Result<ModelSource, Failure> {
    let accounts = &controller.shared.accounts;
    let owner = controller.shared.owner(object.meta());
    let recorded = accounts.managed().find_model(&owner).await?;
    let was_pulling = object
        .status
        .iter()
        .flat_map(|status| &status.backends)
        .any(|backend| matches!(backend.state, BackendState::Pulling | BackendState::Failed));
    let origin = match recorded {
        // An earlier life of the name may have been about another model.
        Some(model) if model.model == wanted.model.as_str() => model.origin,
        _ if was_pulling => ModelSource::Pulled,
        _ => ModelSource::Adopted,
    };
    let model = Model {
        model: wanted.model.as_str().to_owned(),
        origin,
        digest: Some(digest.to_owned()),
        size_bytes: i64::try_from(bytes).ok(),
    };
    accounts.managed().record_model(&context(OllamaModel::KIND, object), &owner, model).await?;
    let recorded = accounts.managed().find_model(&owner).await?;
    Ok(recorded.map_or(origin, |model| model.origin))
}

/// Removes the model from every backend if that is ours to do, and forgets it.
pub(crate) async fn remove(controller: &ModelController, object: &OllamaModel) -> Result<(), Failure> {
    let accounts = &controller.shared.accounts;
    let owner = controller.shared.owner(object.meta());
    let Ok(model) = ModelName::parse(&object.spec.model) else { return Ok(()) };
    let removal = match accounts.managed().plan_model_removal(&owner, model.as_str()).await? {
        Removal::Delete if is_named_elsewhere(&controller.shared, object) => Removal::Keep,
        other => other,
    };
    let detail = match removal {
        Removal::Gone => return Ok(()),
        Removal::Keep => "left in Ollama: it was there before, or another object names it",
        Removal::Delete => {
            for backend in &controller.backends {
                let deleted = backend.client.delete(&model).await;
                count(deleted.as_ref().err());
                deleted?;
            }
            "removed from Ollama"
        }
    };
    accounts.managed().forget_model(&context(OllamaModel::KIND, object), &owner, detail).await?;
    Ok(())
}

fn count(error: Option<&ClientError>) {
    let result = if error.is_some() { "failed" } else { "ok" };
    metrics::counter!("paddock_external_calls_total", "target" => "ollama", "result" => result).increment(1);
}
