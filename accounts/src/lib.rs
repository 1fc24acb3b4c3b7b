//! Users, passwords, API keys, sessions, access rules, usage and audit: the rules of Paddock, and the only writer of its
//! database. Knows nothing of HTTP, Kubernetes or Ollama.

pub mod access;
pub mod audit;
pub mod authenticate;
mod cache;
pub mod clock;
pub mod context;
pub mod credentials;
pub mod email;
pub mod error;
pub mod gitops;
mod hasher;
mod ids;
pub mod limits;
pub mod managed;
pub mod models;
pub mod passwords;
pub mod patterns;
pub mod secrets;
pub mod seed;
pub mod sessions;
pub mod sets;
mod store;
pub mod text;
pub mod token;
pub mod usage;
pub mod users;

use std::sync::{Arc, atomic::AtomicBool};

use audit::{Chain, Event, EventType, Fold, Folding};
use cache::Cache;
pub use cache::{RightsChanged, RightsChanges};
use clock::{Clock, Time};
use context::Context;
pub use error::{Error, Violation};
use hasher::Hasher;
use passwords::Policy;
use sessions::SessionKey;
pub use store::{Connections, OpenError, OpenOptions, Unusable, migrate};
use store::{Mutation, Reader, Sealing, Store, Tx};

/// Everything the rules need. Cheap to clone; every clone shares the pools.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    chain: Chain,
    sessions: SessionKey,
    hasher: Hasher,
    passwords: Policy,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    folding: Folding,
    audit_retention_days: Option<u32>,
    reads_only: bool,
    last_used: usage::LastUsed,
    /// Set once the schema was seen to fit, so that readiness does not look again.
    schema_fits: AtomicBool,
}

/// Every statement with a text of its own: what the database must understand.
pub fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [authenticate::STATEMENTS, models::STATEMENTS, secrets::STATEMENTS, passwords::STATEMENTS, seed::STATEMENTS]
        .into_iter()
        .flatten()
        .chain(audit::statements())
        .chain(credentials::statements())
        .chain(sessions::statements())
        .chain(usage::statements())
        .chain(users::statements())
}

impl Accounts {
    /// Over an open store.
    pub(crate) fn new(
        store: Store,
        chain: Chain,
        sessions: SessionKey,
        passwords: Policy,
        clock: Arc<dyn Clock>,
        options: &OpenOptions,
    ) -> Self {
        let inner = Inner {
            store,
            chain,
            sessions,
            hasher: Hasher::new(),
            passwords,
            cache: Arc::new(Cache::new()),
            clock,
            folding: Folding::default(),
            audit_retention_days: options.audit_retention_days,
            reads_only: options.read_only,
            last_used: usage::LastUsed::default(),
            schema_fits: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The present, by the clock the rules go by.
    #[must_use]
    pub fn now(&self) -> Time {
        self.inner.clock.now()
    }

    /// How many connections to the database there are.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.store().connections()
    }

    /// Ends every connection; what is under way ends first, and what was only counted is recorded.
    pub async fn close(&self) {
        self.settle_audit().await;
        self.store().close().await;
    }

    /// Records that a known principal was refused what it asked for. Repeats within a minute are counted in one event.
    pub async fn access_denied(
        &self,
        context: &Context,
        principal: &access::Principal,
        target: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let mut event = Event::new(EventType::AccessDenied).user(principal.user_id).target(target).detail(detail);
        event.credential_id = principal.credential_id();
        self.fold(context, Fold::denial(context, target), event).await
    }

    async fn write<'e, T: Send + 'static>(
        &self,
        context: &Context,
        f: impl for<'t> Fn(&'t mut Tx) -> Mutation<'e, 't, T> + Sync,
    ) -> Result<T, Error> {
        let Inner { store, chain, cache, clock, .. } = &*self.inner;
        store.write(&Sealing { chain, cache, clock }, context, f).await
    }

    async fn write_events(&self, events: Vec<(Event, Context)>) -> Result<(), Error> {
        let Inner { store, chain, cache, clock, .. } = &*self.inner;
        store.write_events(&Sealing { chain, cache, clock }, events).await
    }

    async fn reader(&self) -> Result<Reader, Error> {
        self.store().reader().await
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Whether it was opened to read only.
    fn reads_only(&self) -> bool {
        self.inner.reads_only
    }

    fn schema_fits(&self) -> &AtomicBool {
        &self.inner.schema_fits
    }

    fn chain(&self) -> &Chain {
        &self.inner.chain
    }

    fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    fn folding(&self) -> &Folding {
        &self.inner.folding
    }

    fn audit_retention_days(&self) -> Option<u32> {
        self.inner.audit_retention_days
    }

    fn last_used(&self) -> &usage::LastUsed {
        &self.inner.last_used
    }

    fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    fn password_policy(&self) -> Policy {
        self.inner.passwords
    }

    fn sessions_key(&self) -> &SessionKey {
        &self.inner.sessions
    }
}
