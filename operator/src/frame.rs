//! What every look at an object has around it: decoding, pause, finalizer, bounds, backoff, metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use paddock_crds::{HasConditions, annotation};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::backoff::spread;
use crate::conditions::of_type;
use crate::error::Failure;
use crate::object::{self, Object, Written};
use crate::shared::Shared;

/// An object, or its metadata and why the rest could not be read.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// The longest one look may take.
const LIMIT: Duration = Duration::from_mins(1);
/// How often a settled object is looked at, so that drift in the database is repaired; give or take a fifth.
const RECHECK: Duration = Duration::from_mins(10);
/// How soon after another writer was first.
const AFTER_OVERTAKEN: Duration = Duration::from_millis(50);

/// The controller of one kind.
pub(crate) trait Controller: Send + Sync + Sized + 'static {
    /// The kind.
    type Object: Object;

    /// What all controllers share.
    fn shared(&self) -> &Shared;

    /// One permit for each object that may be worked on at once.
    fn slots(&self) -> &Semaphore {
        &self.shared().slots
    }

    /// What this one has written to its objects.
    fn written(&self) -> &Written<Self::Object>;

    /// Brings the world in line with the object, and its status with the world.
    fn reconcile(self: Arc<Self>, object: Arc<Self::Object>) -> impl Future<Output = Result<Next, Failure>> + Send;

    /// Undoes what [`Controller::reconcile`] did, as far as the deletion policy wants. Tolerates that it never ran.
    fn clean_up(self: Arc<Self>, object: Arc<Self::Object>) -> impl Future<Output = Result<Cleanup, Failure>> + Send;
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// All is as it should be.
    Settled,
    /// All is as it should be until then.
    Within(Duration),
    /// Something outside has to change, which nobody may tell us of.
    Waiting,
    /// It is gone.
    Gone,
}

/// How far a clean-up has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    /// Nothing is left of it.
    Done,
    /// Something has to go first.
    Waiting,
}

/// One look at an object.
pub(crate) async fn look<C: Controller>(
    guarded: Arc<Guarded<C::Object>>,
    controller: Arc<C>,
) -> Result<Action, Infallible> {
    let shared = controller.shared();
    let uid = guarded.uid().unwrap_or_default();
    // What is deleted goes all the same: else whoever may pause could hold a namespace for ever.
    if guarded.meta().deletion_timestamp.is_none() && object::says_true(guarded.as_ref(), annotation::PAUSED) {
        return Ok(Action::await_change());
    }
    let Ok(_slot) = controller.slots().acquire().await else { return Ok(Action::await_change()) };
    let begun = Instant::now();
    let result = tokio::time::timeout(LIMIT, guard(guarded.as_ref(), &controller)).await;
    let result = result.unwrap_or(Err(Failure::TooSlow(LIMIT)));
    measure(C::Object::KIND, &result, begun.elapsed());
    Ok(match result {
        Ok(Next::Settled) => {
            shared.backoff.reset(&uid);
            Action::requeue(spread(RECHECK, &uid, 0))
        }
        Ok(Next::Within(time)) => {
            shared.backoff.reset(&uid);
            Action::requeue(time.min(spread(RECHECK, &uid, 0)))
        }
        Ok(Next::Waiting) => Action::requeue(shared.backoff.next(&uid)),
        Ok(Next::Gone) => {
            shared.backoff.reset(&uid);
            controller.written().forget(&uid);
            Action::await_change()
        }
        Err(Failure::Overtaken(by)) => {
            tracing::debug!(by, "overtaken, looking again");
            Action::requeue(AFTER_OVERTAKEN)
        }
        Err(failure) => {
            let delay = shared.backoff.next(&uid);
            tracing::warn!(error = %Chain(&failure), ?delay, "not in line yet");
            Action::requeue(delay)
        }
    })
}

/// Passes on an object that can be read. Of one that cannot, only its going can be allowed.
async fn guard<C: Controller>(guarded: &Guarded<C::Object>, controller: &Arc<C>) -> Result<Next, Failure> {
    match &guarded.0 {
        Ok(watched) => step(controller.written().freshest(watched), controller).await,
        Err(invalid) => {
            tracing::warn!(error = %invalid.error, "the object cannot be read; was it written for a newer version?");
            let deleting = guarded.meta().deletion_timestamp.is_some();
            if deleting && object::is_held(guarded) && object::skips_cleanup(guarded) {
                object::release(&controller.shared().client, guarded, C::Object::MANAGER).await?;
            }
            Ok(Next::Settled)
        }
    }
}

/// Holds an object before anything is done for it, and lets it go when nothing is left of that.
async fn step<C: Controller>(object: Arc<C::Object>, controller: &Arc<C>) -> Result<Next, Failure> {
    let client = &controller.shared().client;
    let deleting = object.meta().deletion_timestamp.is_some();
    match (deleting, object::is_held(object.as_ref())) {
        (true, false) => Ok(Next::Gone),
        (true, true) => {
            if object::skips_cleanup(object.as_ref()) {
                tracing::warn!("let go without a clean-up, as its annotation asks");
            } else if Arc::clone(controller).clean_up(Arc::clone(&object)).await? == Cleanup::Waiting {
                return Ok(Next::Waiting);
            }
            object::release(client, object.as_ref(), C::Object::MANAGER).await?;
            Ok(Next::Gone)
        }
        (false, true) => Arc::clone(controller).reconcile(object).await,
        (false, false) => match object::hold(client, object.as_ref()).await? {
            Some(held) => {
                controller.written().keep(held.clone());
                Arc::clone(controller).reconcile(Arc::new(held)).await
            }
            None => Ok(Next::Gone),
        },
    }
}

/// Writes the status if it differs, and tells of a changed `Ready` by an event. True: it differed.
pub(crate) async fn report<C: Controller>(
    controller: &C,
    object: &C::Object,
    status: <C::Object as kube::core::object::HasStatus>::Status,
) -> Result<bool, Failure> {
    let shared = controller.shared();
    let before = kube::core::object::HasStatus::status(object);
    if before == Some(&status) {
        return Ok(false);
    }
    if let Some(written) = object::write_status(&shared.client, object, &status).await? {
        controller.written().keep(written);
    }
    let seen = before.and_then(|before| before.condition(of_type::READY)).map(|c| (&c.status, &c.reason));
    if let Some(ready) = status.condition(of_type::READY)
        && seen != Some((&ready.status, &ready.reason))
    {
        if ready.status == "True" {
            shared.events.normal(object, &ready.reason, &ready.message).await;
        } else {
            shared.events.warning(object, &ready.reason, &ready.message).await;
        }
    }
    Ok(true)
}

fn measure(kind: &'static str, result: &Result<Next, Failure>, took: Duration) {
    let result = match result {
        Ok(Next::Settled | Next::Within(_)) => "settled",
        Ok(Next::Waiting) => "waiting",
        Ok(Next::Gone) => "gone",
        Err(Failure::Overtaken(_)) => "overtaken",
        Err(Failure::TooSlow(_)) => "too_slow",
        Err(_) => "failed",
    };
    metrics::counter!("paddock_reconcile_total", "kind" => kind, "result" => result).increment(1);
    metrics::histogram!("paddock_reconcile_duration_seconds", "kind" => kind).record(took.as_secs_f64());
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
