//! Opening a database: which engine, how many connections, and whether its schema is ours.

use std::{
    fs::{File, OpenOptions as FileOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection,
    migrate::{Migrate, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::timeout;

use super::{Conn, Store, Unusable};
use crate::{
    Accounts, Error,
    audit::Chain,
    clock::Clock,
    passwords::{PASSWORD_MIN_LENGTH, Policy},
    sessions::SessionKey,
};

static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| forward(sqlx::migrate!("../migrations/postgres")));
static SQLITE: LazyLock<Migrator> = LazyLock::new(|| forward(sqlx::migrate!("../migrations/sqlite")));

/// A database that a newer executable migrated serves this one too.
fn forward(mut migrator: Migrator) -> Migrator {
    migrator.set_ignore_missing(true);
    migrator
}

/// How long a request waits for a connection before the database counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long ago a connection may have been in use to be taken for a live one.
const TRUSTED: Duration = Duration::from_millis(500);

/// Which database, and how to use it.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `postgres://user:password@host:port/name` or `sqlite:path`.
    pub url: SecretString,
    /// How many connections at the most, at least 2.
    pub max_connections: u32,
    /// Open SQLite without the lock of the serving process, only to read.
    pub read_only: bool,
    /// `AUDIT_HEAD_FILE`: where the end of the audit log is told, for this process alone.
    pub audit_head_file: Option<PathBuf>,
    /// `AUDIT_RETENTION_DAYS`: how long audit rows are kept; for ever where it is not said.
    pub audit_retention_days: Option<u32>,
    /// How many characters a new password has at the least, 8 to 128.
    pub password_min_length: usize,
}

/// Where a database's schema stands beside this executable's.
enum Schema {
    /// As this executable knows it, or ahead by what it need not know.
    Current,
    /// Behind by so many migrations.
    Behind(usize),
}

impl Schema {
    fn missing(&self) -> usize {
        match self {
            Self::Current => 0,
            Self::Behind(by) => *by,
        }
    }
}

enum Engine {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions, PathBuf),
}

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

/// Brings a database to this executable's schema, creating a SQLite file that is not there. Several at once wait for each
/// other; one that was killed goes on where it was. Returns how many migrations it ran.
pub async fn migrate(options: &OpenOptions) -> Result<usize, OpenError> {
    let _turn = match options.engine()? {
        Engine::Postgres(_) => None,
        Engine::Sqlite(connect, path) => {
            create_file(&path)?;
            let turn = take_turn(&path).await?;
            keep_a_log(connect).await?;
            Some(turn)
        }
    };
    let store = Store::open(options).await?;
    let ran = store.migrate().await;
    store.close().await;
    match ran {
        Err(error) => Err(options.explain(error).await),
        ran => ran,
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no engine of ours, or is not well formed.
    #[error("DATABASE_URL {0}; use postgres://user:password@host:5432/name or sqlite:paddock.db")]
    Url(String),
    /// The schema is older than this executable.
    #[error("the database is {by} migration(s) behind this executable: run `paddock migrate` first")]
    Behind {
        /// By so many.
        by: usize,
    },
    /// Another process serves the file.
    #[error("another paddock serves {0}, and a SQLite file has one server at a time: stop that one first")]
    Locked(PathBuf),
    /// There is no such file.
    #[error("{0} does not exist: run `paddock migrate` to create it, or correct DATABASE_URL")]
    Missing(PathBuf),
    /// The file or its lock cannot be opened.
    #[error("cannot open {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The schema is not the one its migrations make.
    #[error("the database does not understand {name}: its schema was changed by hand, or by a newer paddock: {source}")]
    Unfit {
        /// The statement.
        name: &'static str,
        /// What the database says.
        source: sqlx::Error,
    },
    /// PostgreSQL cannot be used: where, why, and what to check.
    #[error(transparent)]
    Unusable(Unusable),
    /// The database does not answer.
    #[error(transparent)]
    Open(#[from] Error),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migrate(sqlx::migrate::MigrateError),
}

impl OpenError {
    /// Whether waiting may help: the database is away, rather than wrong.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unusable(unusable) => unusable.is_away(),
            error => matches!(error, Self::Open(Error::Unavailable(_))),
        }
    }
}

impl OpenOptions {
    /// This database, to write to, with the defaults of everything else.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            max_connections: 20,
            read_only: false,
            audit_head_file: None,
            audit_retention_days: None,
            password_min_length: PASSWORD_MIN_LENGTH,
        }
    }

    /// Whether the URL names an engine of ours and is well formed, without opening anything.
    pub fn check(&self) -> Result<(), OpenError> {
        self.engine().map(|_| ())
    }

    /// The file, if the database is one.
    pub fn sqlite_file(&self) -> Result<Option<PathBuf>, OpenError> {
        Ok(match self.engine()? {
            Engine::Postgres(_) => None,
            Engine::Sqlite(_, path) => Some(path),
        })
    }

    /// The same error, in words for whoever set the database up.
    async fn explain(&self, error: OpenError) -> OpenError {
        match (error, self.engine()) {
            (OpenError::Open(error), Ok(Engine::Postgres(connect))) => Unusable::explain(error, &connect).await,
            (error, _) => error,
        }
    }

    fn engine(&self) -> Result<Engine, OpenError> {
        let url = self.url.expose_secret();
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        match scheme {
            Some("postgres" | "postgresql") if is_cut_short(url) => Err(OpenError::Url(
                "has an `@` behind the host: write a `/`, `?` or `#` in the user or the password as %2F, %3F or %23"
                    .into(),
            )),
            Some("postgres" | "postgresql") => {
                // The parser's message may quote the URL, and the URL holds the password.
                let options =
                    PgConnectOptions::from_str(url).map_err(|_| OpenError::Url("is not well formed".into()))?;
                Ok(Engine::Postgres(options.application_name("paddock").disable_statement_logging()))
            }
            Some("sqlite") => {
                let options =
                    SqliteConnectOptions::from_str(url).map_err(|_| OpenError::Url("is not well formed".into()))?;
                let path = options.get_filename().to_path_buf();
                Ok(Engine::Sqlite(options.disable_statement_logging(), path))
            }
            Some(other) => Err(OpenError::Url(format!("begins with `{other}:`"))),
            None => Err(OpenError::Url("has no scheme".into())),
        }
    }
}

impl Store {
    async fn open(options: &OpenOptions) -> Result<Self, OpenError> {
        match options.engine()? {
            Engine::Postgres(connect) => {
                let pool = PgPoolOptions::new()
                    .max_connections(options.max_connections.max(2))
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .test_before_acquire(false)
                    .before_acquire(|connection, meta| Box::pin(still_there(connection, meta.idle_for)))
                    .after_release(|connection, _| Box::pin(in_time(connection)))
                    .connect_lazy_with(connect);
                Ok(Self::Pg(pool))
            }
            Engine::Sqlite(connect, path) => open_sqlite(options, connect, &path).await,
        }
    }

    /// Runs the migrations that are missing, and returns how many those were.
    async fn migrate(&self) -> Result<usize, OpenError> {
        match self {
            Self::Pg(pool) => {
                let mut connection = pool.acquire().await.map_err(Error::from)?;
                // Before it is looked what is missing, so that each of several tells what it ran itself. The session may
                // take the lock again, as `run` does, and gives all of it back when the connection closes.
                connection.lock().await.map_err(OpenError::Migrate)?;
                let missing = self.schema().await?.missing();
                POSTGRES.run(&mut *connection).await.map_err(OpenError::Migrate)?;
                Ok(missing)
            }
            Self::Sqlite { write: Some(write), .. } => {
                let missing = self.schema().await?.missing();
                SQLITE.run(write).await.map_err(OpenError::Migrate)?;
                Ok(missing)
            }
            Self::Sqlite { write: None, .. } => Err(OpenError::Open(Error::ReadOnly)),
        }
    }

    /// Where the schema stands.
    async fn schema(&self) -> Result<Schema, OpenError> {
        let migrator = match self {
            Self::Pg(_) => &*POSTGRES,
            Self::Sqlite { .. } => &*SQLITE,
        };
        let applied = applied(self.reader().await?.conn()).await?;
        let missing = migrator.iter().filter(|migration| !applied.contains(&migration.version)).count();
        Ok(if missing == 0 { Schema::Current } else { Schema::Behind(missing) })
    }

    /// Has the database understand every statement, so that a schema that does not fit is met now and not by a request.
    async fn prepare_all(&self) -> Result<(), OpenError> {
        let mut reader = self.reader().await?;
        for (name, statement) in crate::statements() {
            let prepared = super::on!(reader.conn(), |c| c.prepare(statement.into_sql_str()).await.map(|_| ()));
            match prepared.map_err(Error::from) {
                Ok(()) => {}
                Err(Error::Database(source)) => return Err(OpenError::Unfit { name, source }),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        super::on!(self.reader().await?.conn(), |c| sqlx::query("SELECT 1").execute(c).await.map(|_| ()))?;
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

/// Whether a `/`, `?` or `#` in a password ends the host of the URL before its time. The rest of the password would be taken
/// for the name of a database, and names are told.
fn is_cut_short(url: &str) -> bool {
    let behind = url.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find(['/', '?', '#'])?..]));
    // The value of a parameter may have one.
    let (path, parameters) = behind.unwrap_or_default().split_once('?').unwrap_or((behind.unwrap_or_default(), ""));
    path.contains('@') || parameters.split('=').next().is_some_and(|name| name.contains('@'))
}

/// Asks a connection whether it is still there, unless it was in use a moment ago: then a request need not wait for that.
async fn still_there(connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for > TRUSTED {
        connection.ping().await?;
    }
    Ok(true)
}

/// Gives up a connection that does not come to rest. Where the other end has gone without a word, its place would be taken
/// until the kernel gives up, a quarter of an hour later. And whoever stops waiting for the answer to a BEGIN leaves a
/// transaction open that sqlx does not count: what reads over this connection next would hold its locks for ever.
async fn in_time(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // Nothing, in place of a BEGIN: it fails where no transaction is open.
    match timeout(ACQUIRE_TIMEOUT, connection.begin_with("")).await {
        Ok(Err(sqlx::Error::BeginFailed)) => Ok(true),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_open)) => Ok(false),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Gives up a connection that believes itself in a transaction after what it was lent for is over: SQLite ends one by
/// itself when a disk is full, and sqlx does not hear of it.
async fn at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

async fn open_sqlite(options: &OpenOptions, connect: SqliteConnectOptions, path: &Path) -> Result<Store, OpenError> {
    let connect = connect.foreign_keys(true).busy_timeout(Duration::from_secs(5));
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let lock = if options.read_only { None } else { Some(Arc::new(take_lock(path)?)) };
    let write = if options.read_only {
        None
    } else {
        let connect = connect.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(at_rest(connection)));
        Some(pool.connect_with(connect).await.map_err(Error::from)?)
    };
    let read = SqlitePoolOptions::new()
        .max_connections(options.max_connections.max(2))
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(connect.read_only(true))
        .await
        .map_err(Error::from)?;
    Ok(Store::Sqlite { read, write, _lock: lock })
}

/// Makes the file before SQLite would, so that nobody else can read it for a moment.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let created = FileOptions::new().create(true).append(true).mode(0o600).open(path);
    created.map(|_| ()).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Has the file keep a write-ahead log.
async fn keep_a_log(connect: SqliteConnectOptions) -> Result<(), OpenError> {
    let connection = connect.journal_mode(SqliteJournalMode::Wal).connect().await.map_err(Error::from)?;
    connection.close().await.map_err(Error::from)?;
    Ok(())
}

/// `<file>.migrate.lock`, waited for: whoever holds it migrates, and is not taken for a server of the file by the next.
async fn take_turn(path: &Path) -> Result<File, OpenError> {
    let (path, file) = lock_file(path, ".migrate.lock")?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    let locked = locked.map_err(|_| OpenError::Open(Error::Stopping))?;
    locked.map_err(|source| OpenError::File { path, source })
}

/// `<file>.lock`, locked for as long as the file stays open: the kernel lets go of it however the process ends.
fn take_lock(path: &Path) -> Result<File, OpenError> {
    let (lock, file) = lock_file(path, ".lock")?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path: lock, source }),
    }
}

fn lock_file(path: &Path, ending: &str) -> Result<(PathBuf, File), OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    let name = PathBuf::from(name);
    match FileOptions::new().create(true).append(true).mode(0o600).open(&name) {
        Ok(file) => Ok((name, file)),
        Err(source) => Err(OpenError::File { path: name, source }),
    }
}

/// The versions of the migrations that ran to their end; none where the table of them is not there yet.
async fn applied(conn: Conn<'_>) -> Result<Vec<i64>, Error> {
    const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
    match conn {
        Conn::Pg(c) => {
            let there: bool =
                sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *c).await?;
            Ok(if there { sqlx::query_scalar(APPLIED).fetch_all(c).await? } else { Vec::new() })
        }
        Conn::Sqlite(c) => {
            let there: bool =
                sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'")
                    .fetch_one(&mut *c)
                    .await?;
            Ok(if there { sqlx::query_scalar(APPLIED).fetch_all(c).await? } else { Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_ends_the_host_is_not_taken_for_a_name() {
        for cut in ["app:12/hunter22@db:5432/app", "app:12?hunter22@db/app", "app:12#hunter22@db/app"] {
            let refused = OpenOptions::new(format!("postgres://{cut}").into()).check().unwrap_err().to_string();
            assert!(refused.contains("%2F") && !refused.contains("hunter22"), "{refused}");
        }
        for whole in ["app:12%2Fhunter22@db:5432/app?sslmode=require", "db/app?user=app@tenant&password=hunter22", "db"]
        {
            OpenOptions::new(format!("postgres://{whole}").into()).check().unwrap();
        }
    }
}
