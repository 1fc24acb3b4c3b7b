//! The SQLite file: its connections, and the lock files that exclude a second process.

use std::{
    fs::{File, OpenOptions as FileOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio_util::task::TaskTracker;

use super::{ACQUIRE_TIMEOUT, OpenError, OpenOptions, SqlitePools, migration_lock};
use crate::error::Error;

/// Opens an existing file. Takes its lock, except when opening read-only.
pub(super) async fn open(
    options: &OpenOptions,
    connect: SqliteConnectOptions,
    path: &Path,
) -> Result<SqlitePools, OpenError> {
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
            .after_release(|connection, _| Box::pin(is_clean(connection)));
        Some(pool.connect_with(connect).await.map_err(Error::from)?)
    };
    let read = SqlitePoolOptions::new()
        .max_connections(options.max_connections.max(2))
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(connect.read_only(true))
        .await
        .map_err(Error::from)?;
    Ok(SqlitePools { read, write, tasks: TaskTracker::new(), _lock: lock })
}

/// Whether a returned connection may be reused; otherwise the pool closes it. When the disk is
/// full, SQLite rolls back by itself, which sqlx does not notice.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Creates the file before SQLite does, with a mode that denies other accounts access.
pub(super) fn create_file(path: &Path) -> Result<(), OpenError> {
    let created = FileOptions::new().create(true).append(true).mode(0o600).open(path);
    created.map(|_| ()).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Switches the file to the write-ahead log mode.
pub(super) async fn enable_wal(connect: SqliteConnectOptions) -> Result<(), OpenError> {
    let connection = connect.journal_mode(SqliteJournalMode::Wal).connect().await.map_err(Error::from)?;
    connection.close().await.map_err(Error::from)?;
    Ok(())
}

/// Waits for the lock `<file>.migrate.lock`, for `limit` at most. It is separate from the lock
/// `<file>.lock`, so that a concurrent migration is not mistaken for a serving process.
pub(super) async fn lock_migration(path: &Path, limit: Duration) -> Result<File, OpenError> {
    let (path, file) = lock_file(path, ".migrate.lock")?;
    let attempt = async || match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path: path.clone(), source }),
    };
    let holder = async || Ok(format!("the process that has locked {}", path.display()));
    migration_lock::wait(limit, attempt, holder).await?;
    Ok(file)
}

/// Takes the lock `<file>.lock`; fails if another process holds it. The kernel releases it when the
/// process ends.
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
