//! The pulls that this process runs.

use std::{collections::HashMap, ops::Deref, sync::Arc};

use paddock_accounts::PullJobId;
use paddock_ollama::{Progress, PullEvent, PullProgress};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{snapshot::PullSnapshot, speed::Speed};

/// The pulls that this process runs. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct RunningPulls(Arc<Mutex<HashMap<PullJobId, Arc<RunningPull>>>>);

/// A pull that this process runs.
pub(super) struct RunningPull {
    cancel: CancellationToken,
    snapshots: watch::Sender<PullSnapshot>,
    meter: Mutex<Meter>,
}

struct Meter {
    progress: PullProgress,
    speed: Speed,
}

/// Removes its pull when it is dropped. That ends the subscriptions of the pull.
pub(super) struct RunningGuard {
    id: PullJobId,
    pulls: RunningPulls,
    pull: Arc<RunningPull>,
}

impl RunningPulls {
    /// Adds a pull.
    pub(super) fn add(&self, snapshot: PullSnapshot) -> RunningGuard {
        let id = snapshot.job.id;
        let pull = Arc::new(RunningPull::new(snapshot));
        self.0.lock().insert(id, Arc::clone(&pull));
        RunningGuard { id, pulls: self.clone(), pull }
    }

    /// Stops a pull, if this process runs it.
    pub(super) fn cancel(&self, id: PullJobId) {
        // Removed immediately, so that no caller sees a cancelled pull as running.
        if let Some(pull) = self.0.lock().remove(&id) {
            pull.cancel.cancel();
        }
    }

    /// Follows a pull, if this process runs it.
    pub(super) fn subscribe(&self, id: PullJobId) -> Option<watch::Receiver<PullSnapshot>> {
        self.0.lock().get(&id).map(|pull| pull.snapshots.subscribe())
    }

    /// Returns the present state of a pull, if this process runs it.
    pub(super) fn snapshot(&self, id: PullJobId) -> Option<PullSnapshot> {
        self.0.lock().get(&id).map(|pull| pull.snapshot())
    }
}

impl RunningPull {
    fn new(snapshot: PullSnapshot) -> Self {
        let stored = &snapshot.job.progress;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let reported = Progress {
            percent: u8::try_from(stored.percent).unwrap_or(0),
            completed_bytes: unsigned(stored.completed_bytes),
            total_bytes: unsigned(stored.total_bytes),
        };
        let progress = PullProgress::resume(reported, snapshot.steps.layers());
        let meter = Mutex::new(Meter { progress, speed: Speed::default() });
        Self { cancel: CancellationToken::new(), snapshots: watch::Sender::new(snapshot), meter }
    }

    /// Waits until the pull is cancelled through this process.
    pub(super) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Returns the present state.
    pub(super) fn snapshot(&self) -> PullSnapshot {
        self.snapshots.borrow().clone()
    }

    /// Applies an event of Ollama.
    pub(super) fn update(&self, event: &PullEvent) {
        let mut meter = self.meter.lock();
        meter.speed.update(event, Instant::now());
        let progress = meter.progress.update(event);
        self.snapshots.send_modify(|snapshot| {
            snapshot.steps.update(event);
            let stored = &mut snapshot.job.progress;
            stored.percent = progress.percent.into();
            stored.completed_bytes = i64::try_from(progress.completed_bytes).unwrap_or(i64::MAX);
            stored.total_bytes = i64::try_from(progress.total_bytes).unwrap_or(i64::MAX);
        });
    }

    /// Measures the speed.
    pub(super) fn measure(&self) {
        let speed = self.meter.lock().speed.bytes_per_second(Instant::now());
        self.snapshots.send_if_modified(|snapshot| {
            let stored = &mut snapshot.job.progress.bytes_per_second;
            std::mem::replace(stored, speed) != speed
        });
    }
}

impl Deref for RunningGuard {
    type Target = RunningPull;

    fn deref(&self) -> &RunningPull {
        &self.pull
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let mut pulls = self.pulls.0.lock();
        // The same job may already run again, under another claim.
        if pulls.get(&self.id).is_some_and(|pull| Arc::ptr_eq(pull, &self.pull)) {
            pulls.remove(&self.id);
        }
    }
}
