//! Pulls the model where it is missing, and records it.

use std::sync::Arc;

use futures_util::future::join_all;
use kube::ResourceExt;
use paddock_accounts::managed_resources::{Model, ModelSource};
use paddock_crds::{BackendState, OllamaModel};

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    model::{
        backend::Backend,
        plan::{self, ModelPresence, ObservedBackend, Pull},
        pulls::Pulls,
        validate::ModelSpec,
    },
    object::namespace_of,
    status::conditions::Blocked,
};

/// The result of [`ensure_pulled`].
pub(crate) enum Applied {
    Observed(ObservedModel),
    Blocked(Blocked),
}

/// The model on every backend, with every missing pull started. Only this module can build one, so
/// that a status cannot report a model that was not looked up.
pub(crate) struct ObservedModel {
    pub(crate) backends: Vec<ObservedBackend>,
    /// How the model came to the backends. `None` until a backend has it.
    pub(crate) origin: Option<ModelSource>,
    _sealed: (),
}

impl ObservedModel {
    /// Whether every backend has the model.
    pub(crate) fn is_on_all_backends(&self) -> bool {
        self.backends.iter().all(|backend| matches!(backend.presence, ModelPresence::Present { .. }))
    }

    /// Whether a pull is running that will enqueue the object, and every backend answers.
    pub(crate) fn is_being_pulled(&self) -> bool {
        self.backends.iter().any(|backend| backend.pull.is_some())
            && !self.backends.iter().any(|backend| matches!(backend.presence, ModelPresence::Unreachable(_)))
    }
}

/// Asks every backend for the model, starts the missing pulls, and records a model that is present.
pub(crate) async fn ensure_pulled(
    context: &Context,
    backends: &[Arc<Backend>],
    pulls: &Arc<Pulls>,
    object: &OllamaModel,
    spec: &ModelSpec,
) -> Result<Applied, ReconcileError> {
    let subscriber = (namespace_of(object), object.name_any());
    pulls.leave_vanished(&subscriber, |name| backends.iter().any(|backend| backend.name == name));
    let observations = backends.iter().map(async |backend| {
        // Before the backend is asked: a pull that ends in between then counts as running.
        let pull = pulls.subscribe(spec, &backend.name, &subscriber);
        let presence = backend.find_model(&spec.model).await;
        let pull = pull.filter(|_| !matches!(presence, ModelPresence::Present { .. }));
        ObservedBackend { name: backend.name.clone(), presence, pull }
    });
    let mut observed = join_all(observations).await;
    for index in plan::pulls_to_start(&observed) {
        pulls.start(spec, &backends[index], &subscriber);
        observed[index].pull = Some(Pull::default());
    }
    if observed.iter().all(|backend| matches!(backend.presence, ModelPresence::Present { .. })) {
        // Another object may have pulled the model, while the pull for this one fails.
        pulls.unsubscribe(&subscriber);
    }
    let origin = match plan::first_present(&observed) {
        Some((digest, bytes)) => Some(record_model(context, object, spec, digest, bytes).await?),
        None => None,
    };
    Ok(Applied::Observed(ObservedModel { backends: observed, origin, _sealed: () }))
}

/// Records the model and returns its origin: the recorded origin if there is one; otherwise
/// `Pulled` if the status shows a pull by the operator, and `Adopted` if it does not.
async fn record_model(
    context: &Context,
    object: &OllamaModel,
    spec: &ModelSpec,
    digest: &str,
    bytes: u64,
) -> Result<ModelSource, ReconcileError> {
    let accounts = &context.accounts;
    let owner = context.owner(object);
    let recorded = accounts.managed().find_model(&owner).await?;
    let was_being_pulled = object
        .status
        .iter()
        .flat_map(|status| &status.backends)
        .any(|backend| matches!(backend.state, BackendState::Pulling | BackendState::Failed));
    let origin = match &recorded {
        // A deleted object of the same name may have named another model.
        Some(model) if model.model == spec.model.as_str() => model.origin,
        _ if was_being_pulled => ModelSource::Pulled,
        _ => ModelSource::Adopted,
    };
    let model = Model {
        model: spec.model.as_str().to_owned(),
        origin,
        digest: Some(digest.to_owned()),
        size_bytes: i64::try_from(bytes).ok(),
    };
    // The record of a deleted object of the same name has another UID, so it is written again.
    let is_reported = object.status.as_ref().is_some_and(|status| status.digest == model.digest);
    if is_reported && recorded.as_ref() == Some(&model) {
        return Ok(origin);
    }
    accounts.managed().record_model(&audit_context(object), &owner, model).await?;
    let recorded = accounts.managed().find_model(&owner).await?;
    Ok(recorded.map_or(origin, |model| model.origin))
}
