//! Readiness: whether this process can serve, for `/readyz` and the probe listener.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use paddock_accounts::Accounts;
use paddock_store::{OpenError, error_chain};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{sleep, timeout};
use utoipa::ToSchema;

/// The pause between two probes of the database.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a probe of the database may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The readiness of this process. Cheap to clone; every clone shares the same state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<State>,
}

/// Everything counts as unavailable until it has been probed.
#[derive(Debug, Default)]
struct State {
    has_database: AtomicBool,
    has_schema: AtomicBool,
    has_ollama: AtomicBool,
    has_cache: AtomicBool,
    /// Whether this process counts requests alone although `REDIS_URL` is set.
    has_local_limits: AtomicBool,
    is_stopping: AtomicBool,
    backends: Mutex<Vec<BackendProblem>>,
    /// The last error of a database that no waiting makes usable, which was logged.
    logged_error: Mutex<Option<String>>,
}

/// A backend that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackendProblem {
    /// The URL of the Ollama; with `OLLAMA_DISCOVERY=dns`, also the URL whose host cannot be resolved.
    pub backend: String,
    /// Why it is not used: it does not answer, it is no Ollama, it is too old, or its host cannot be
    /// resolved.
    pub problem: String,
}

/// The readiness at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What keeps the process from serving: `database`, `schema` while the database has not been
    /// migrated, `shutdown` once that has begun. Empty: the process is ready.
    pub missing: Vec<&'static str>,
    /// What is unavailable without keeping the process from serving: `ollama`; `cache` while
    /// changes of rights cannot be received and every request asks the database; `limits` while
    /// each process counts requests alone although `REDIS_URL` is set.
    pub degraded: Vec<&'static str>,
    /// The backends that are not used. `degraded` has `ollama` if no backend is left.
    pub backends: Vec<BackendProblem>,
}

impl Report {
    /// Whether the process can serve requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Readiness {
    /// Reports the state of the last probes. It performs no I/O.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut missing = Vec::new();
        if !self.state.has_database.load(Relaxed) {
            missing.push("database");
        } else if !self.state.has_schema.load(Relaxed) {
            missing.push("schema");
        }
        if self.state.is_stopping.load(Relaxed) {
            missing.push("shutdown");
        }
        let parts = [("ollama", &self.state.has_ollama), ("cache", &self.state.has_cache)];
        let unavailable = parts.into_iter().filter(|(_, available)| !available.load(Relaxed)).map(|(name, _)| name);
        let degraded = unavailable.chain(self.state.has_local_limits.load(Relaxed).then_some("limits")).collect();
        Report { missing, degraded, backends: self.state.backends.lock().clone() }
    }

    pub(crate) fn set_stopping(&self) {
        self.state.is_stopping.store(true, Relaxed);
    }

    pub(crate) fn set_ollama(&self, is_available: bool) {
        if self.state.has_ollama.swap(is_available, Relaxed) != is_available {
            tracing::info!(is_available, "Ollama availability changed");
        }
    }

    pub(crate) fn set_backend_problems(&self, problems: Vec<BackendProblem>) {
        *self.state.backends.lock() = problems;
    }

    pub(crate) fn set_limits_shared(&self, are_shared: bool) {
        self.state.has_local_limits.store(!are_shared, Relaxed);
    }

    fn set_database(&self, is_available: bool, has_schema: bool) {
        self.state.has_schema.store(has_schema, Relaxed);
        if self.state.has_database.swap(is_available, Relaxed) != is_available {
            tracing::info!(is_available, "database availability changed");
        }
    }

    /// Probes the database once.
    pub(crate) async fn probe_database(&self, accounts: &Accounts) {
        self.state.has_cache.store(accounts.authentication().is_cache_enabled(), Relaxed);
        match timeout(PROBE_TIMEOUT, accounts.ready()).await {
            Ok(Ok(())) => {
                *self.state.logged_error.lock() = None;
                self.set_database(true, true);
            }
            Ok(Err(OpenError::Behind { .. })) => self.set_database(true, false),
            Ok(Err(error)) => {
                self.log_probe_error(&error);
                self.set_database(false, false);
            }
            Err(_) => self.set_database(false, false),
        }
    }

    /// Logs why a probe failed. An outage ends by itself, so it is only a detail; anything else is
    /// logged once.
    fn log_probe_error(&self, error: &OpenError) {
        if error.is_unavailable() {
            tracing::debug!(%error, "database probe failed");
            return;
        }
        let error = error_chain(error);
        let mut logged = self.state.logged_error.lock();
        if logged.as_ref() != Some(&error) {
            tracing::error!(error, "the database cannot be used");
            *logged = Some(error);
        }
    }

    /// Probes the database at every interval. Never returns.
    pub(crate) async fn run_database_probes(self, accounts: Accounts) {
        loop {
            sleep(PROBE_INTERVAL).await;
            self.probe_database(&accounts).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_required_part_keeps_the_process_from_being_ready() {
        let readiness = Readiness::default();
        let report = readiness.report();
        assert_eq!((report.missing, report.degraded), (vec!["database"], vec!["ollama", "cache"]));
        readiness.set_database(true, false);
        assert_eq!(readiness.report().missing, ["schema"]);
        readiness.set_database(true, true);
        assert!(readiness.report().is_ready(), "without Ollama it is degraded, and ready");
        readiness.set_ollama(true);
        assert_eq!(readiness.report().degraded, ["cache"]);
        readiness.set_stopping();
        assert_eq!(readiness.report().missing, ["shutdown"]);
    }
}
