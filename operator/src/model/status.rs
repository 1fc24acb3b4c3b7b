//! The status of an `OllamaModel`. Pure.

use paddock_accounts::managed_resources;
use paddock_crds::{BackendState, BackendStatus, ModelOrigin, OllamaModel, OllamaModelStatus, Progress};
use paddock_store::clock::Timestamp;

use crate::{
    model::{
        apply::{Applied, ObservedModel},
        plan::{self, ModelPresence, ObservedBackend, PullFailure},
    },
    status::conditions::{Blocked, DesiredCondition, Reason, condition_type, merge},
    time::to_k8s_time,
};

/// Builds the status that reports the result.
pub(crate) fn build(object: &OllamaModel, applied: &Applied, now: Timestamp) -> OllamaModelStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let (desired, mut status) = match applied {
        Applied::Observed(model) => (conditions(&model.backends), fields(model, &before)),
        Applied::Blocked(blocked) => (blocked_conditions(blocked), before.clone()),
    };
    status.observed_generation = generation;
    status.conditions = merge(&before.conditions, &desired, generation, &to_k8s_time(now));
    status
}

fn blocked_conditions(blocked: &Blocked) -> Vec<DesiredCondition> {
    let mut desired = DesiredCondition::blocked(blocked);
    desired.push(DesiredCondition::new(condition_type::PULLED, false, blocked.reason, blocked.message.as_str()));
    desired
}

/// `Ready` needs one backend with the model; `Pulled` needs all of them.
fn conditions(backends: &[ObservedBackend]) -> Vec<DesiredCondition> {
    let problem = worst_problem(backends);
    let is_present = plan::first_present(backends).is_some();
    let mut desired = match (&problem, is_present) {
        (Some(blocked), false) => DesiredCondition::blocked(blocked),
        (Some(Blocked { reason, message }), true) => {
            let mut desired = DesiredCondition::ready(Reason::Available, "a backend has the model");
            desired.push(DesiredCondition::new(condition_type::RECONCILING, true, *reason, message));
            desired
        }
        (None, _) => DesiredCondition::ready(Reason::Available, "every backend has the model"),
    };
    desired.push(match problem {
        Some(Blocked { reason, message }) => DesiredCondition::new(condition_type::PULLED, false, reason, message),
        None => DesiredCondition::new(condition_type::PULLED, true, Reason::Available, "every backend has the model"),
    });
    desired
}

/// Returns the worst problem of any backend: a failed or stalled pull, then a running pull, then an
/// unreachable server. `None` if every backend has the model.
fn worst_problem(backends: &[ObservedBackend]) -> Option<Blocked> {
    let failed = backends.iter().find_map(|backend| {
        let pull = backend.pull.as_ref()?;
        let name = &backend.name;
        Some(match pull.failure.as_ref()? {
            PullFailure::Stalled => Blocked::new(
                Reason::PullStalled,
                format!(
                    "the pull on {name} receives no new byte, and is tried again: {} of {} bytes are there",
                    pull.progress.completed_bytes, pull.progress.total_bytes
                ),
            ),
            PullFailure::Failed(error) => {
                Blocked::new(Reason::PullFailed, format!("the pull on {name} failed, and is tried again: {error}"))
            }
        })
    });
    let pulling = || {
        let backend = backends.iter().find(|backend| backend.pull.is_some())?;
        Some(Blocked::new(Reason::Pulling, format!("the model is being pulled on {}", backend.name)))
    };
    let unreachable = || {
        backends.iter().find_map(|backend| match &backend.presence {
            ModelPresence::Unreachable(error) => Some(Blocked::new(
                Reason::BackendUnreachable,
                format!("backend {} does not answer: {error}", backend.name),
            )),
            _ => None,
        })
    };
    failed.or_else(pulling).or_else(unreachable)
}

fn fields(model: &ObservedModel, before: &OllamaModelStatus) -> OllamaModelStatus {
    let present = plan::first_present(&model.backends);
    let ready =
        model.backends.iter().filter(|backend| matches!(backend.presence, ModelPresence::Present { .. })).count();
    OllamaModelStatus {
        digest: present.map(|(digest, _)| digest.to_owned()),
        size_bytes: present.and_then(|(_, bytes)| i64::try_from(bytes).ok()),
        origin: model.origin.map(convert_origin),
        progress: progress(model, before),
        backends: model.backends.iter().map(backend_status).collect(),
        ready_backends: i32::try_from(ready).ok(),
        ..OllamaModelStatus::default()
    }
}

const fn convert_origin(origin: managed_resources::ModelSource) -> ModelOrigin {
    match origin {
        managed_resources::ModelSource::Pulled => ModelOrigin::Pulled,
        managed_resources::ModelSource::Adopted => ModelOrigin::Adopted,
    }
}

fn backend_status(backend: &ObservedBackend) -> BackendStatus {
    let failure = backend.pull.as_ref().and_then(|pull| pull.failure.as_ref()).map(ToString::to_string);
    let (state, digest, message) = match &backend.presence {
        ModelPresence::Present { digest, .. } => (BackendState::Ready, Some(digest.clone()), None),
        ModelPresence::Unreachable(error) => (BackendState::Unreachable, None, Some(error.clone())),
        ModelPresence::Absent if failure.is_some() => (BackendState::Failed, None, failure),
        ModelPresence::Absent => (BackendState::Pulling, None, None),
    };
    BackendStatus { name: backend.name.clone(), state, digest, message }
}

/// Returns the progress of the pulls. It never decreases, and stays at 100 % after a pull. `None`
/// if no pull was needed.
fn progress(model: &ObservedModel, before: &OllamaModelStatus) -> Option<Progress> {
    let reported = before.progress;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    if model.is_on_all_backends() {
        let size = plan::first_present(&model.backends).map_or(0, |(_, size)| bytes(size));
        return reported.map(|reported| {
            let size = size.max(reported.total_bytes);
            Progress { percent: 100, completed_bytes: size, total_bytes: size }
        });
    }
    let Some(now) = plan::total_progress(&model.backends) else { return reported };
    let min = reported.filter(|reported| reported.percent < 100).unwrap_or(Progress {
        percent: 0,
        completed_bytes: 0,
        total_bytes: 0,
    });
    Some(Progress {
        percent: i32::from(now.percent).max(min.percent),
        completed_bytes: bytes(now.completed_bytes).max(min.completed_bytes),
        total_bytes: bytes(now.total_bytes).max(min.total_bytes),
    })
}
