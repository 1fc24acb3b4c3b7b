//! Whether this process can do its work, as load balancers and people ask it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use paddock_accounts::Accounts;
use paddock_store::OpenError;
use serde::Serialize;
use tokio::time::{sleep, timeout};

/// How often the database is asked whether it is there.
const EVERY: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the parts that the API needs. Cheap to clone; every clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Parts>,
}

/// Nothing is there until it has been seen.
#[derive(Debug, Default)]
struct Parts {
    database: AtomicBool,
    schema: AtomicBool,
    ollama: AtomicBool,
    cache: AtomicBool,
    /// Whether requests should be counted together, and are not.
    limits_apart: AtomicBool,
    stopping: AtomicBool,
}

/// An answer to "are you ready".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What keeps the process from serving: `database`, `schema` where the database has not been migrated, `shutdown` once
    /// that has begun. Empty: it is ready.
    pub missing: Vec<&'static str>,
    /// What is away without keeping the rest from serving: `ollama`, `cache` while changes of rights cannot be heard and
    /// every request asks the database, and `limits` while each process counts requests by itself that all should count
    /// together.
    pub degraded: Vec<&'static str>,
}

impl Report {
    /// Whether requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Readiness {
    /// How things stand. Asks nobody, so it may be called as often as one likes.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut missing = Vec::new();
        if !self.parts.database.load(Relaxed) {
            missing.push("database");
        } else if !self.parts.schema.load(Relaxed) {
            missing.push("schema");
        }
        if self.parts.stopping.load(Relaxed) {
            missing.push("shutdown");
        }
        let parts = [("ollama", &self.parts.ollama), ("cache", &self.parts.cache)];
        let away = parts.into_iter().filter(|(_, there)| !there.load(Relaxed)).map(|(name, _)| name);
        let degraded = away.chain(self.parts.limits_apart.load(Relaxed).then_some("limits")).collect();
        Report { missing, degraded }
    }

    pub(crate) fn stopping(&self) {
        self.parts.stopping.store(true, Relaxed);
    }

    pub(crate) fn ollama(&self, answers: bool) {
        if self.parts.ollama.swap(answers, Relaxed) != answers {
            tracing::info!(answers, "Ollama");
        }
    }

    pub(crate) fn limits(&self, are_shared: bool) {
        self.parts.limits_apart.store(!are_shared, Relaxed);
    }

    fn database(&self, answers: bool, has_schema: bool) {
        self.parts.schema.store(has_schema, Relaxed);
        if self.parts.database.swap(answers, Relaxed) != answers {
            tracing::info!(answers, "database");
        }
    }

    /// Looks once whether the database is there.
    pub(crate) async fn look(&self, accounts: &Accounts) {
        self.parts.cache.store(accounts.access().is_cache_enabled(), Relaxed);
        match timeout(PATIENCE, accounts.ready()).await {
            Ok(Ok(())) => self.database(true, true),
            Ok(Err(OpenError::Behind { .. })) => self.database(true, false),
            Ok(Err(error)) => {
                tracing::debug!(%error, "database");
                self.database(false, false);
            }
            Err(_) => self.database(false, false),
        }
    }

    /// Keeps looking.
    pub(crate) async fn watch(self, accounts: Accounts) {
        loop {
            sleep(EVERY).await;
            self.look(&accounts).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_keeps_it_from_being_ready() {
        let readiness = Readiness::default();
        assert_eq!(readiness.report(), Report { missing: vec!["database"], degraded: vec!["ollama", "cache"] });
        readiness.database(true, false);
        assert_eq!(readiness.report().missing, ["schema"]);
        readiness.database(true, true);
        assert!(readiness.report().is_ready(), "without Ollama it is degraded, and ready");
        readiness.ollama(true);
        assert_eq!(readiness.report().degraded, ["cache"]);
        readiness.stopping();
        assert_eq!(readiness.report().missing, ["shutdown"]);
    }
}
