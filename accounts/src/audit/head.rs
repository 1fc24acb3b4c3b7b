//! The end of the chain, told to where a database cannot take it back: a file, and the log.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use metrics::counter;
use tokio::{sync, task::spawn_blocking};

use super::retention;
use crate::{
    error::Error,
    store::{Store, on, statements},
};

statements! {
    HASH_AT = "SELECT hash FROM audit_logs WHERE id = $1";
}

/// A row of the chain, by its place and its hash. In text: `<position> <hash>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The place, from 1; 0 before the first.
    pub position: i64,
    /// The row's hash; empty before the first.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.position, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (position, hash) = text.trim().split_once(' ')?;
            let position = position.parse().ok().filter(|position| *position > 0)?;
            let whole = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            whole.then(|| Self { position, hash: hash.to_owned() })
        };
        read().ok_or_else(|| "is no head of an audit log, which is a line `<position> <hash>`".to_owned())
    }
}

/// Follows the end of the chain in a file, as far as this process moves it.
#[derive(Debug, Default)]
pub(crate) struct HeadFile {
    path: Option<PathBuf>,
    newest: Mutex<Head>,
    /// What was last told to the log; nothing by a process that does not serve.
    told: Mutex<Option<i64>>,
    /// Held by whom writes the file; the others wait, and mostly find that it was written for them too.
    standing: sync::Mutex<Standing>,
}

/// What is known of the file.
#[derive(Debug, Default)]
enum Standing {
    /// It has not been looked at.
    #[default]
    Unread,
    /// It has, or should have, this position; and why it has not.
    At(i64, Option<String>),
    /// It holds something that is not of this chain and may be the only proof of a cut: it is left alone.
    Kept(String),
}

impl HeadFile {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, ..Self::default() }
    }

    /// Notes a head that was committed, and returns when the file has it or a later one, or cannot have it.
    pub(crate) async fn moved(&self, store: &Store, head: Head) {
        let mine = head.position;
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if newest.position < mine {
                *newest = head;
            }
        }
        let Some(path) = &self.path else { return };
        let mut standing = self.standing.lock().await;
        standing.look(store, path).await;
        let Standing::At(at, trouble) = &mut *standing else { return failed("kept") };
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

    /// Looks whether the file is of this chain before anything is written.
    pub(crate) async fn look(&self, store: &Store) {
        if let Some(path) = &self.path {
            self.standing.lock().await.look(store, path).await;
        }
    }

    /// Tells the log how far the chain has come, if it has come further, and what is wrong with the file.
    pub(crate) async fn tell(&self) {
        let newest = self.newest();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).replace(newest.position);
        if told.unwrap_or(0) < newest.position {
            tracing::info!(position = newest.position, hash = newest.hash, "audit head");
        }
        let Some(path) = &self.path else { return };
        if let Standing::Kept(why) | Standing::At(_, Some(why)) = &*self.standing.lock().await {
            tracing::error!(file = %path.display(), why, "the audit head file does not follow the log");
        }
    }

    /// Tells it once more at the end of a process that has told it before.
    pub(crate) async fn tell_last(&self) {
        let tells = self.told.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if tells {
            self.tell().await;
        }
    }

    fn newest(&self) -> Head {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Standing {
    /// Settles what the file holds: the first time, and for as long as it is left alone.
    async fn look(&mut self, store: &Store, path: &Path) {
        if matches!(self, Self::At(..)) {
            return;
        }
        match Self::of(store, path).await {
            Ok(Self::Kept(why)) => {
                if matches!(self, Self::Unread) {
                    tracing::error!(file = %path.display(), why, "the audit head file is left as it is");
                }
                *self = Self::Kept(why);
            }
            Ok(standing) => *self = standing,
            Err(error) => tracing::warn!(%error, "the audit head file cannot be compared with the log yet"),
        }
    }

    async fn of(store: &Store, path: &Path) -> Result<Self, Error> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::At(0, None)),
            Err(error) => return Ok(Self::Kept(format!("it cannot be read: {error}"))),
        };
        // As a machine that lost its power leaves it.
        if text.is_empty() {
            tracing::warn!(file = %path.display(), "the audit head file is empty, and begins anew");
            return Ok(Self::At(0, None));
        }
        let head: Head = match text.parse() {
            Ok(head) => head,
            Err(why) => return Ok(Self::Kept(format!("what it holds {why}"))),
        };
        if of_this_chain(store, &head).await? {
            return Ok(Self::At(head.position, None));
        }
        Ok(Self::Kept(format!(
            "it names row {}, which is not in this log: rows were cut off, or the database is an older copy or another one; \
             move the file away when that is settled",
            head.position
        )))
    }
}

/// Whether the log has this row, or has removed it when its time was over.
async fn of_this_chain(store: &Store, head: &Head) -> Result<bool, Error> {
    let mut reader = store.reader().await?;
    let hash: Option<String> =
        on!(reader.conn(), |c| sqlx::query_scalar(HASH_AT).bind(head.position).fetch_optional(c).await?);
    match hash {
        Some(hash) => Ok(hash == head.hash),
        None => Ok(retention::anchor(reader.conn()).await?.is_some_and(|anchor| head.position <= anchor.at.position)),
    }
}

fn failed(reason: &'static str) {
    counter!("paddock_audit_head_failures_total", "reason" => reason).increment(1);
}

/// Whole or not at all, to whoever reads it meanwhile.
fn replace(path: &Path, head: &Head) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    // A killed process may have left one. It is made anew, and not followed should somebody have put a link there.
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
    fn a_head_is_read_as_it_is_written() {
        let head = Head { position: 7, hash: "0f".repeat(32) };
        assert_eq!(format!("{head}\n").parse(), Ok(head));
    }

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

    #[test]
    fn what_is_no_head_is_refused() {
        let hash = "0f".repeat(32);
        for text in ["", "7", "7 abc", &format!("0 {hash}"), &format!("-1 {hash}"), &format!("7 {hash} x"), &hash] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
        assert!(format!("7 {}", "0F".repeat(32)).parse::<Head>().is_err());
    }
}
