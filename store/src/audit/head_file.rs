//! The head file: a copy of the chain's head outside the database, so that a cut of the newest rows is
//! found even if the database was edited with it.

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

/// Writes the chain's head to a file, as far as this process advances it.
#[derive(Debug, Default)]
pub(crate) struct HeadFile {
    path: Option<PathBuf>,
    newest: Mutex<Head>,
    /// The position that was last logged; `None` in a process that does not serve.
    logged: Mutex<Option<i64>>,
    /// Held by the task that writes the file. The others wait, and usually find that their head is
    /// already written.
    state: sync::Mutex<FileState>,
}

/// The state of the file.
#[derive(Debug, Default)]
enum FileState {
    /// Not read yet.
    #[default]
    Unread,
    /// It holds, or should hold, this position; and why it does not.
    At(i64, Option<String>),
    /// It holds a head of another chain, which may be the only proof of a cut: it is never written.
    Preserved(String),
}

impl HeadFile {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, ..Self::default() }
    }

    /// Notes a committed head. Returns when the file holds it or a later one, or cannot be written.
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
        let FileState::At(at, trouble) = &mut *state else { return failed("kept") };
        let newest = self.newest();
        if newest.position <= *at {
            return;
        }
        *at = newest.position;
        let to = path.clone();
        let written = spawn_blocking(move || replace(&to, &newest)).await.unwrap_or_else(|gone| Err(gone.into()));
        match written {
            Ok(()) => *trouble = None,
            Err(error) => {
                failed("write");
                if trouble.is_none() {
                    tracing::error!(file = %path.display(), %error, "the audit head file cannot be written");
                }
                *trouble = Some(error.to_string());
            }
        }
    }

    /// Checks that the file belongs to this chain, before anything is written.
    pub(crate) async fn inspect(&self, database: &Database) {
        if let Some(path) = &self.path {
            self.state.lock().await.inspect(database, path).await;
        }
    }

    /// Logs the head if it advanced, and what is wrong with the file.
    pub(crate) async fn log_head(&self) {
        let newest = self.newest();
        let logged = self.logged.lock().replace(newest.position);
        if logged.unwrap_or(0) < newest.position {
            tracing::info!(position = newest.position, hash = newest.hash, "audit head");
        }
        let Some(path) = &self.path else { return };
        if let FileState::Preserved(why) | FileState::At(_, Some(why)) = &*self.state.lock().await {
            tracing::error!(file = %path.display(), why, "the audit head file does not follow the log");
        }
    }

    /// Logs the head at the end of a process that logged it before.
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
    /// Reads the file, the first time and as long as it is preserved.
    async fn inspect(&mut self, database: &Database, path: &Path) {
        if matches!(self, Self::At(..)) {
            return;
        }
        match Self::of(database, path).await {
            Ok(Self::Preserved(why)) => {
                if matches!(self, Self::Unread) {
                    tracing::error!(file = %path.display(), why, "the audit head file is left as it is");
                }
                *self = Self::Preserved(why);
            }
            Ok(state) => *self = state,
            Err(error) => tracing::warn!(%error, "the audit head file cannot be compared with the log yet"),
        }
    }

    async fn of(database: &Database, path: &Path) -> Result<Self, Error> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::At(0, None)),
            Err(error) => return Ok(Self::Preserved(format!("it cannot be read: {error}"))),
        };
        // A power failure may leave an empty file.
        if text.is_empty() {
            tracing::warn!(file = %path.display(), "the audit head file is empty, and begins anew");
            return Ok(Self::At(0, None));
        }
        let head: Head = match text.parse() {
            Ok(head) => head,
            Err(why) => return Ok(Self::Preserved(format!("what it holds {why}"))),
        };
        if of_this_chain(database, &head).await? {
            return Ok(Self::At(head.position, None));
        }
        Ok(Self::Preserved(format!(
            "it names row {}, which is not in this log: rows were cut off, or the database is an older copy or another one; \
             move the file away when that is settled",
            head.position
        )))
    }
}

/// Whether the log has this row, or retention removed it.
async fn of_this_chain(database: &Database, head: &Head) -> Result<bool, Error> {
    let mut reader = database.reader().await?;
    let hash: Option<String> =
        with_conn!(reader.conn(), |c| sqlx::query_scalar(HASH_AT).bind(head.position).fetch_optional(c).await?);
    match hash {
        Some(hash) => Ok(hash == head.hash),
        None => Ok(anchor::load(reader.conn()).await?.is_some_and(|anchor| head.position <= anchor.at.position)),
    }
}

fn failed(reason: &'static str) {
    counter!("paddock_audit_head_failures_total", "reason" => reason).increment(1);
}

/// Replaces the file atomically.
fn replace(path: &Path, head: &Head) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    // A killed process may have left one. It is created anew, so that a link there is not followed.
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
    fn a_link_is_not_followed() {
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
