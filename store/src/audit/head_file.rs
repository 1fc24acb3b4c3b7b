//! The head file: a copy of the chain head outside the database. With it, `audit verify` detects
//! that the newest rows were removed, even if `audit_head` was edited too.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use metrics::counter;
use parking_lot::Mutex;
use tokio::{sync, task::spawn_blocking};

use super::{anchor, head::Head};
use crate::{db::Database, error::Error, statements, with_conn};

statements! {
    HASH_AT = "SELECT hash FROM audit_logs WHERE id = $1";
}

/// Writes the chain head to a file whenever this process advances it.
#[derive(Debug, Default)]
pub(crate) struct HeadFile {
    path: Option<PathBuf>,
    newest: Mutex<Head>,
    /// The last logged position; `None` in a process that does not serve.
    logged: Mutex<Option<i64>>,
    /// Locked by the task that writes the file. Other tasks wait for it, and usually find that
    /// their head is already written.
    state: sync::Mutex<FileState>,
}

/// The state of the file.
#[derive(Debug, Default)]
enum FileState {
    /// The file has not been read yet.
    #[default]
    Unread,
    /// The file contains this position, unless the last write failed; then also why.
    At(i64, Option<String>),
    /// The file contains a head of another chain, or is unreadable; also why. It may be the only
    /// proof of removed rows, so it is never overwritten.
    Preserved(String),
}

impl HeadFile {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, ..Self::default() }
    }

    /// Records a committed head. Returns when the file contains it or a later head, or when writing
    /// failed.
    pub(crate) async fn advance(&self, database: &Database, head: Head) {
        let mine = head.position;
        {
            let mut newest = self.newest.lock();
            if newest.position < mine {
                *newest = head;
            }
        }
        let Some(path) = &self.path else { return };
        let mut state = self.state.lock().await;
        state.inspect(database, path).await;
        let FileState::At(at, failure) = &mut *state else { return record_failure("kept") };
        let newest = self.newest();
        if newest.position <= *at {
            return;
        }
        *at = newest.position;
        let to = path.clone();
        let written = spawn_blocking(move || replace(&to, &newest)).await.unwrap_or_else(|error| Err(error.into()));
        match written {
            Ok(()) => *failure = None,
            Err(error) => {
                record_failure("write");
                if failure.is_none() {
                    tracing::error!(file = %path.display(), %error, "cannot write the audit head file");
                }
                *failure = Some(error.to_string());
            }
        }
    }

    /// Checks that the file belongs to this chain, before the first write.
    pub(crate) async fn inspect(&self, database: &Database) {
        if let Some(path) = &self.path {
            self.state.lock().await.inspect(database, path).await;
        }
    }

    /// Logs the head if it advanced. Also logs why the file does not contain it, if so.
    pub(crate) async fn log_head(&self) {
        let newest = self.newest();
        let logged = self.logged.lock().replace(newest.position);
        if logged.unwrap_or(0) < newest.position {
            tracing::info!(position = newest.position, hash = newest.hash, "audit head");
        }
        let Some(path) = &self.path else { return };
        if let FileState::Preserved(reason) | FileState::At(_, Some(reason)) = &*self.state.lock().await {
            tracing::error!(file = %path.display(), reason, "the audit head file does not hold the newest head");
        }
    }

    /// Logs the head when a serving process stops.
    pub(crate) async fn log_last_head(&self) {
        let has_logged = self.logged.lock().is_some();
        if has_logged {
            self.log_head().await;
        }
    }

    fn newest(&self) -> Head {
        self.newest.lock().clone()
    }
}

impl FileState {
    /// Reads the file if it is unread or preserved.
    async fn inspect(&mut self, database: &Database, path: &Path) {
        if matches!(self, Self::At(..)) {
            return;
        }
        match Self::load(database, path).await {
            Ok(Self::Preserved(reason)) => {
                if matches!(self, Self::Unread) {
                    tracing::error!(file = %path.display(), reason, "cannot use the audit head file; it stays unchanged");
                }
                *self = Self::Preserved(reason);
            }
            Ok(state) => *self = state,
            Err(error) => tracing::warn!(%error, "cannot compare the audit head file with the audit log"),
        }
    }

    async fn load(database: &Database, path: &Path) -> Result<Self, Error> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::At(0, None)),
            Err(error) => return Ok(Self::Preserved(format!("it cannot be read: {error}"))),
        };
        // A power failure may leave an empty file.
        if text.is_empty() {
            tracing::warn!(file = %path.display(), "the audit head file is empty and will be rewritten");
            return Ok(Self::At(0, None));
        }
        let head: Head = match text.parse() {
            Ok(head) => head,
            Err(why) => return Ok(Self::Preserved(format!("what it holds {why}"))),
        };
        if is_in_chain(database, &head).await? {
            return Ok(Self::At(head.position, None));
        }
        Ok(Self::Preserved(format!(
            "it names row {}, which is not in this log: rows were cut off, or the database is an older copy or another one; \
             move the file away when that is settled",
            head.position
        )))
    }
}

/// Whether the log contains this row, or retention removed it.
async fn is_in_chain(database: &Database, head: &Head) -> Result<bool, Error> {
    let mut reader = database.reader().await?;
    let hash: Option<String> =
        with_conn!(reader.conn(), |c| sqlx::query_scalar(HASH_AT).bind(head.position).fetch_optional(c).await?);
    match hash {
        Some(hash) => Ok(hash == head.hash),
        None => Ok(anchor::load(reader.conn()).await?.is_some_and(|anchor| head.position <= anchor.at.position)),
    }
}

fn record_failure(reason: &'static str) {
    counter!("paddock_audit_head_failures_total", "reason" => reason).increment(1);
}

/// Replaces the file atomically.
fn replace(path: &Path, head: &Head) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    // A killed process may have left this file. Creating it again avoids following a symbolic link.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).open(&partial)?;
    file.write_all(format!("{head}\n").as_bytes())?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, partial, other] = ["head", "head.partial", "other"].map(|name| folder.path().join(name));
        fs::write(&other, "something else").unwrap();
        std::os::unix::fs::symlink(&other, &partial).unwrap();
        let head = Head { position: 7, hash: "0f".repeat(32) };
        replace(&path, &head).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "something else");
        assert_eq!(fs::read_to_string(&path).unwrap().parse(), Ok(head));
        assert!(!path.is_symlink() && !partial.exists());
    }
}
