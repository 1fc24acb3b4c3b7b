//! Wrapper around every reconcile: decoding, pause, finalizer, timeout, backoff, metrics, status.

mod failure;
pub(crate) mod finalizer;
mod patch;
mod reconcile;
mod status;
mod write_cache;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

pub(crate) use self::{reconcile::reconcile, status::report_status, write_cache::WriteCache};
use crate::{context::Context, error::ReconcileError, object::Object, status::conditions::Blocked};

/// The reconciler of one kind.
pub(crate) trait Reconciler: Send + Sync + Sized + 'static {
    /// The kind.
    type Object: Object;

    /// Returns the context that all reconcilers share.
    fn context(&self) -> &Context;

    /// Returns the permits that limit how many objects of this kind are reconciled at once.
    fn permits(&self) -> &Semaphore {
        &self.context().permits
    }

    /// Returns the cache of this reconciler's writes to its objects.
    fn write_cache(&self) -> &WriteCache<Self::Object>;

    /// Applies the spec and reports the status.
    fn reconcile(
        self: Arc<Self>,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Requeue, ReconcileError>> + Send;

    /// Undoes the effects of [`Reconciler::reconcile`] that the deletion policy names. The object
    /// may never have been reconciled.
    fn clean_up(
        self: Arc<Self>,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Cleanup, ReconcileError>> + Send;
}

/// When the object is reconciled again, if it does not change before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// After the usual interval, because the object is settled.
    Settled,
    /// After this duration, or after the usual interval if that is shorter. The object is settled
    /// until then.
    Within(Duration),
    /// With backoff, because the object waits for a change elsewhere that may cause no event. The
    /// status says so.
    Backoff,
    /// With backoff, for the given reason, which is reported only if it lasts.
    Waiting(Blocked),
    /// Never, because the object is gone.
    Never,
}

/// The progress of a clean-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    /// The finalizer can be removed.
    Done,
    /// Something else must happen first, which the reason names.
    Waiting(Blocked),
}
