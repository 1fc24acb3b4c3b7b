//! The status of an `OllamaModel`. Pure.

use paddock_accounts::managed_resources;
use paddock_crds::{BackendState, BackendStatus, OllamaModel, OllamaModelStatus, Origin, Progress};
use paddock_store::clock::Timestamp;

use crate::conditions::{Reason, Refusal, Wanted, merge, of_type};
use crate::model::apply::{Looked, Outcome};
use crate::model::plan::{self, Seen, Sight};
use crate::shared::stamp;

/// The status that says what came of the object.
pub(crate) fn of(object: &OllamaModel, outcome: &Outcome, now: Timestamp) -> OllamaModelStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let (wanted, mut status) = match outcome {
        Outcome::Looked(looked) => (conditions(&looked.sights), filled(looked, &before)),
        Outcome::Refused(refusal) => (refused(refusal), before.clone()),
    };
    status.observed_generation = generation;
    status.conditions = merge(&before.conditions, &wanted, generation, &stamp(now));
    status
}

fn refused(refusal: &Refusal) -> Vec<Wanted> {
    let mut wanted = Wanted::refused(refusal);
    wanted.push(Wanted::new(of_type::PULLED, false, refusal.reason, refusal.message.as_str()));
    wanted
}

/// One backend that has the model is enough for `Ready`; `Pulled` wants all of them.
fn conditions(sights: &[Sight]) -> Vec<Wanted> {
    let lacking = lacking(sights);
    let is_there = plan::present(sights).is_some();
    let mut wanted = match (&lacking, is_there) {
        (Some(refusal), false) => Wanted::refused(refusal),
        (Some(refusal), true) => {
            let mut wanted = Wanted::ready(Reason::Available, "a backend has the model");
            wanted.push(Wanted::new(of_type::RECONCILING, true, refusal.reason, refusal.message.as_str()));
            wanted
        }
        (None, _) => Wanted::ready(Reason::Available, "every backend has the model"),
    };
    wanted.push(match lacking {
        Some(refusal) => Wanted::new(of_type::PULLED, false, refusal.reason, refusal.message),
        None => Wanted::new(of_type::PULLED, true, Reason::Available, "every backend has the model"),
    });
    wanted
}

/// The worst that a backend lacks; `None` when all have the model.
fn lacking(sights: &[Sight]) -> Option<Refusal> {
    let failed = sights.iter().find_map(|sight| {
        let failure = sight.pull.as_ref()?.failure.as_ref()?;
        Some(Refusal::new(
            Reason::PullFailed,
            format!("the pull on {} failed, and is tried again: {failure}", sight.backend),
        ))
    });
    let pulling = || {
        let sight = sights.iter().find(|sight| sight.pull.is_some())?;
        Some(Refusal::new(Reason::Pulling, format!("the model is being pulled on {}", sight.backend)))
    };
    let unreachable = || {
        sights.iter().find_map(|sight| match &sight.seen {
            Seen::Unreachable(why) => Some(Refusal::new(
                Reason::BackendUnreachable,
                format!("backend {} does not answer: {why}", sight.backend),
            )),
            _ => None,
        })
    };
    failed.or_else(pulling).or_else(unreachable)
}

fn filled(looked: &Looked, before: &OllamaModelStatus) -> OllamaModelStatus {
    let present = plan::present(&looked.sights);
    let ready = looked.sights.iter().filter(|sight| matches!(sight.seen, Seen::Present { .. })).count();
    OllamaModelStatus {
        digest: present.map(|(digest, _)| digest.to_owned()),
        size_bytes: present.and_then(|(_, bytes)| i64::try_from(bytes).ok()),
        origin: looked.origin.map(origin),
        progress: progress(looked, before),
        backends: looked.sights.iter().map(backend).collect(),
        ready_backends: i32::try_from(ready).ok(),
        ..OllamaModelStatus::default()
    }
}

const fn origin(source: managed_resources::ModelSource) -> Origin {
    match source {
        managed_resources::ModelSource::Pulled => Origin::Pulled,
        managed_resources::ModelSource::Adopted => Origin::Adopted,
    }
}

fn backend(sight: &Sight) -> BackendStatus {
    let failure = sight.pull.as_ref().and_then(|pull| pull.failure.clone());
    let (state, digest, message) = match &sight.seen {
        Seen::Present { digest, .. } => (BackendState::Ready, Some(digest.clone()), None),
        Seen::Unreachable(why) => (BackendState::Unreachable, None, Some(why.clone())),
        Seen::Absent if failure.is_some() => (BackendState::Failed, None, failure),
        Seen::Absent => (BackendState::Pulling, None, None),
    };
    BackendStatus { name: sight.backend.clone(), state, digest, message }
}

/// The progress of the pulls; it never goes back, and stays at 100 after a pull of ours. None where none was needed.
fn progress(looked: &Looked, before: &OllamaModelStatus) -> Option<Progress> {
    let reported = before.progress;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    if looked.is_everywhere() {
        let size = plan::present(&looked.sights).map_or(0, |(_, size)| bytes(size));
        return reported.map(|reported| {
            let size = size.max(reported.total_bytes);
            Progress { percent: 100, completed_bytes: size, total_bytes: size }
        });
    }
    let Some(now) = plan::progress(&looked.sights) else { return reported };
    let least = reported.filter(|reported| reported.percent < 100).unwrap_or(Progress {
        percent: 0,
        completed_bytes: 0,
        total_bytes: 0,
    });
    Some(Progress {
        percent: i32::from(now.percent).max(least.percent),
        completed_bytes: bytes(now.completed_bytes).max(least.completed_bytes),
        total_bytes: bytes(now.total_bytes).max(least.total_bytes),
    })
}
