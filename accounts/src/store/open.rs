//! Opening a database, and whether it is ready to serve.

use std::sync::{Arc, atomic::Ordering};

use super::{Conn, OpenError, OpenOptions, Pool, Store, on, options::Engine, schema::Schema, sqlite};
use crate::{Accounts, Error, audit::Chain, clock::Clock, passwords::Policy, sessions::SessionKey};

impl Accounts {
    /// Opens a database. One that is behind, or whose schema does not fit, is refused. A PostgreSQL that is away is not:
    /// until it answers, every operation ends in [`Error::Unavailable`] and [`Accounts::ready`] says so.
    pub async fn open(
        options: &OpenOptions,
        chain: Chain,
        sessions: SessionKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let accounts = Self::over(options, chain, sessions, clock).await?;
        match accounts.met(options).await {
            Err(error) if error.is_away() => tracing::warn!(%error, "the database is away; waiting for it"),
            met => met?,
        }
        Ok(accounts)
    }

    /// The same for what has nothing to wait for: a database that is away is refused too.
    pub async fn open_now(
        options: &OpenOptions,
        chain: Chain,
        sessions: SessionKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let accounts = Self::over(options, chain, sessions, clock).await?;
        accounts.met(options).await?;
        Ok(accounts)
    }

    /// Opens the store, without a look at what is in it.
    async fn over(
        options: &OpenOptions,
        chain: Chain,
        sessions: SessionKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let head_file = options.audit_head_file.clone().filter(|_| !options.read_only);
        let policy = Policy::new(options.password_min_length);
        let chain = chain.followed_in(head_file);
        Ok(Self::new(Store::open(options).await?, chain, sessions, policy, clock, options))
    }

    /// Whether it is ready, and if it is not why, for whoever set it up.
    async fn met(&self, options: &OpenOptions) -> Result<(), OpenError> {
        match self.ready().await {
            Err(error) => Err(options.explain(error).await),
            Ok(()) => Ok(()),
        }
    }

    /// Whether the database answers and has the schema of this executable; and, unless it is only read, whether it takes
    /// changes and its log is sealed under our key.
    pub async fn ready(&self) -> Result<(), OpenError> {
        self.store().ping().await?;
        if !self.schema_fits().load(Ordering::Acquire) {
            if let Schema::Behind(by) = self.store().schema().await? {
                return Err(OpenError::Behind { by });
            }
            self.store().prepare_all().await?;
            self.schema_fits().store(true, Ordering::Release);
        }
        if self.reads_only() {
            return Ok(());
        }
        self.store().takes_changes().await?;
        if !self.chain().is_known_to_fit() {
            self.chain().must_fit(self.reader().await?.conn()).await?;
        }
        Ok(())
    }
}

impl Store {
    pub(super) async fn open(options: &OpenOptions) -> Result<Self, OpenError> {
        match options.engine()? {
            Engine::Postgres(connect) => Ok(Self::Pg(Pool::new(options, connect).map_err(Error::from)?)),
            Engine::Sqlite(connect, path) => sqlite::open(options, connect, &path).await,
        }
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        on!(self.reader().await?.conn(), |c| sqlx::query("SELECT 1").execute(c).await.map(|_| ()))?;
        Ok(())
    }

    /// That it is not a PostgreSQL that only answers: a standby, or one that was made read-only.
    async fn takes_changes(&self) -> Result<(), Error> {
        if let Conn::Pg(c) = self.reader().await?.conn() {
            let only_read: String = sqlx::query_scalar("SHOW transaction_read_only").fetch_one(c).await?;
            if only_read == "on" {
                let why = "the database takes no changes: transaction_read_only is on, as on a standby";
                return Err(Error::Unavailable(sqlx::Error::Protocol(why.to_owned())));
            }
        }
        Ok(())
    }
}
