//! The SQLite file: its connections, and the locks beside it that keep a second process away.

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

use super::{ACQUIRE_TIMEOUT, OpenError, OpenOptions, Store};
use crate::Error;

/// Opens the file, which has to be there, and its lock unless it is only read.
pub(super) async fn open(
    options: &OpenOptions,
    connect: SqliteConnectOptions,
    path: &Path,
) -> Result<Store, OpenError> {
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
    Ok(Store::Sqlite { read, write, under_way: TaskTracker::new(), _lock: lock })
}

/// Gives up a connection that believes itself in a transaction after what it was lent for is over: SQLite ends one by
/// itself when a disk is full, and sqlx does not hear of it.
async fn at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Makes the file before SQLite would, so that nobody else can read it for a moment.
pub(super) fn create_file(path: &Path) -> Result<(), OpenError> {
    let created = FileOptions::new().create(true).append(true).mode(0o600).open(path);
    created.map(|_| ()).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Has the file keep a write-ahead log.
pub(super) async fn keep_a_log(connect: SqliteConnectOptions) -> Result<(), OpenError> {
    let connection = connect.journal_mode(SqliteJournalMode::Wal).connect().await.map_err(Error::from)?;
    connection.close().await.map_err(Error::from)?;
    Ok(())
}

/// `<file>.migrate.lock`, waited for: whoever holds it migrates, and is not taken for a server of the file by the next.
pub(super) async fn take_turn(path: &Path) -> Result<File, OpenError> {
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
