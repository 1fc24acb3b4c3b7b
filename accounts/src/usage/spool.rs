//! The spool: append-only files that hold usage records while the database is unavailable. Each
//! process has its own file.
//!
//! The spool keeps the records if the process dies before the database returns. A record is durable
//! once its file is synced. Each record is preceded by its length and checksum, so that a torn tail
//! is detected. A process locks its file while it runs; another process takes over an unlocked
//! file. The database ignores a record that it already has, so a crash during a replay does no
//! harm.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::record::UsageRecord;

const EXTENSION: &str = "spool";
/// The length and the CRC-32 of a record, both little-endian.
const HEADER_BYTES: usize = 8;
/// The longest record, in bytes.
const MAX_RECORD_BYTES: usize = 64 << 10;
/// The number of bytes that one read returns.
const CHUNK_BYTES: u64 = 1 << 20;

/// The spool of this process.
pub struct Spool {
    folder: PathBuf,
    path: PathBuf,
    limit: u64,
    file: Mutex<OpenFile>,
    backlog: AtomicU64,
}

struct OpenFile {
    file: File,
    /// The end of the synced records.
    len: u64,
    /// The end of the records that the database has stored.
    stored: u64,
    /// Whether a failed write may have left bytes after `len`.
    has_partial_write: bool,
}

/// A batch of records from a spool.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The records.
    pub records: Vec<UsageRecord>,
    /// The position of the next record.
    pub end: u64,
    /// The reason why the bytes at `end` are not a record.
    pub damage: Option<Damage>,
}

/// The reason why the rest of a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A crash interrupted the last write. Its records were never confirmed as durable.
    Torn,
    /// The bytes differ from what was written.
    Corrupt,
}

/// The spool of a process that has ended, locked by this process.
pub struct Orphan {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Spool {
    /// Creates the file of this process, and its folder if it does not exist. `id` identifies the
    /// process. Beyond `limit` bytes, [`Spool::is_full`] is true.
    pub fn open(folder: &Path, id: Uuid, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (path, partial) = (folder.join(format!("{id}.{EXTENSION}")), folder.join(format!("{id}.new")));
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&partial)?;
        // Locked before the rename, so that the final name never exists without a lock.
        file.try_lock()?;
        fs::rename(&partial, &path)?;
        File::open(folder)?.sync_all()?;
        let file = Mutex::new(OpenFile { file, len: 0, stored: 0, has_partial_write: false });
        Ok(Self { folder: folder.to_owned(), path, limit, file, backlog: AtomicU64::new(0) })
    }

    /// Appends records and syncs the file. On an error, none of them counts as written.
    pub fn append(&self, records: &[UsageRecord]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(records.len() * 512);
        for record in records {
            let text = serde_json::to_vec(record)?;
            let len = u32::try_from(text.len()).ok().filter(|_| text.len() <= MAX_RECORD_BYTES);
            let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a record is too long"))?;
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&text).to_le_bytes());
            bytes.extend_from_slice(&text);
        }
        let mut open = self.lock();
        let end = open.len;
        if open.has_partial_write {
            open.file.set_len(end)?;
        }
        open.has_partial_write = true;
        open.file.write_all_at(&bytes, end)?;
        open.file.sync_data()?;
        open.has_partial_write = false;
        open.len = end + bytes.len() as u64;
        self.backlog.store(open.len - open.stored, Ordering::Release);
        Ok(())
    }

    /// Returns the number of bytes that are not yet stored in the database.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Acquire)
    }

    /// Whether the backlog has reached the limit. The caller should then reject new requests. It
    /// can still append the records of admitted requests.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.backlog() >= self.limit
    }

    /// Reads the oldest records that are not yet stored.
    pub fn next(&self) -> io::Result<Chunk> {
        let open = self.lock();
        read(&open.file, open.stored, open.len)
    }

    /// Marks the records before `end` as stored. Truncates the file when no record is left.
    pub fn stored(&self, end: u64) -> io::Result<()> {
        let mut open = self.lock();
        open.stored = end;
        self.backlog.store(open.len - end, Ordering::Release);
        if open.stored == open.len {
            open.file.set_len(0)?;
            open.file.sync_data()?;
            (open.len, open.stored, open.has_partial_write) = (0, 0, false);
        }
        Ok(())
    }

    /// Drops the remaining records, because they cannot be read.
    pub fn discard(&self) -> io::Result<()> {
        let end = self.lock().len;
        self.stored(end)
    }

    /// Finds and locks the spools of processes that have ended. Skips files that other accounts can
    /// write.
    pub fn orphans(&self) -> io::Result<Vec<Orphan>> {
        let account = self.lock().file.metadata()?.uid();
        let mut orphans = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path == self.path || path.extension().is_none_or(|ending| ending != EXTENSION) {
                continue;
            }
            let file = match File::open(&path) {
                Ok(file) => file,
                // Another process has finished it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let metadata = file.metadata()?;
            if metadata.uid() != account || metadata.mode() & 0o022 != 0 {
                tracing::warn!(file = %path.display(), "ignoring a usage spool that other accounts can write");
                continue;
            }
            match file.try_lock() {
                // Read after locking, when the length no longer changes.
                Ok(()) => {
                    let len = file.metadata()?.len();
                    orphans.push(Orphan { path, file, len });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(orphans)
    }

    fn lock(&self) -> MutexGuard<'_, OpenFile> {
        self.file.lock()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.backlog() == 0 {
            // A remaining empty file does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Orphan {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads records from this position. At the end, returns no records and no damage.
    pub fn read(&self, from: u64) -> io::Result<Chunk> {
        read(&self.file, from, self.len)
    }

    /// Removes the file after its records were stored. Renames a corrupt file to `*.damaged`
    /// instead, so that it can be inspected.
    pub fn finish(self, damage: Option<Damage>) -> io::Result<()> {
        let done = if damage == Some(Damage::Corrupt) {
            fs::rename(&self.path, self.path.with_extension("damaged"))
        } else {
            fs::remove_file(&self.path)
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Reads up to [`CHUNK_BYTES`] of records from a position of a file with this length.
fn read(file: &File, from: u64, len: u64) -> io::Result<Chunk> {
    let mut bytes = vec![0; usize::try_from(CHUNK_BYTES.min(len.saturating_sub(from))).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let mut chunk = Chunk { end: from, ..Chunk::default() };
    let mut rest = bytes.as_slice();
    while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(0) as usize;
        if length > MAX_RECORD_BYTES {
            chunk.damage = Some(Damage::Corrupt);
            return Ok(chunk);
        }
        let Some((text, after)) = after.split_at_checked(length) else { break };
        let record = (crc32fast::hash(text) == word(4)).then(|| serde_json::from_slice(text).ok()).flatten();
        let Some(record) = record else {
            chunk.damage = Some(Damage::Corrupt);
            return Ok(chunk);
        };
        chunk.records.push(record);
        chunk.end += (HEADER_BYTES + length) as u64;
        rest = after;
    }
    if chunk.records.is_empty() && !bytes.is_empty() {
        chunk.damage = Some(Damage::Torn);
    }
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use paddock_store::{clock::Timestamp, ids::UserId};

    use super::*;

    /// A folder that is removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("paddock-spool-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn spool(&self, id: u128) -> Spool {
            Spool::open(&self.0, Uuid::from_u128(id), 10_000).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn records(ids: std::ops::Range<u128>) -> Vec<UsageRecord> {
        let record = |id| UsageRecord {
            usage_id: Uuid::from_u128(id),
            request_id: format!("request-{id}"),
            user_id: UserId(1),
            credential_id: None,
            model: "m".into(),
            endpoint: "/api/chat".into(),
            prompt_tokens: Some(1),
            cached_prompt_tokens: Some(1),
            completion_tokens: None,
            tokens_estimated: true,
            started_at: Timestamp::from_micros(1_700_000_000_000_000),
            first_byte_us: None,
            duration_us: 5,
            status: "ok".into(),
            http_status: 200,
        };
        ids.map(record).collect()
    }

    /// Reads all records of an orphan. Also returns the position after them, and the damage.
    fn read_all(orphan: &Orphan) -> (Vec<UsageRecord>, u64, Option<Damage>) {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let chunk = orphan.read(from).unwrap();
            from = chunk.end;
            let is_last = chunk.records.is_empty();
            all.extend(chunk.records);
            if is_last || chunk.damage.is_some() {
                return (all, from, chunk.damage);
            }
        }
    }

    #[test]
    fn records_are_read_in_order_and_the_stored_file_is_truncated() {
        let folder = Folder::new("order");
        let spool = folder.spool(1);
        spool.append(&records(0..3)).unwrap();
        spool.append(&records(3..5)).unwrap();
        let chunk = spool.next().unwrap();
        assert_eq!((chunk.records.as_slice(), chunk.damage), (records(0..5).as_slice(), None));
        // A record is appended while the earlier ones are being stored.
        spool.append(&records(5..6)).unwrap();
        spool.stored(chunk.end).unwrap();
        let chunk = spool.next().unwrap();
        assert_eq!(chunk.records, records(5..6));
        spool.stored(chunk.end).unwrap();
        assert_eq!((spool.backlog(), fs::metadata(&spool.path).unwrap().len()), (0, 0));
        assert!(spool.next().unwrap().records.is_empty());
        let path = spool.path.clone();
        drop(spool);
        assert!(!path.exists());
    }

    #[test]
    fn a_full_spool_still_accepts_records() {
        let folder = Folder::new("full");
        let spool = folder.spool(1);
        while !spool.is_full() {
            spool.append(&records(0..1)).unwrap();
        }
        spool.append(&records(0..1)).unwrap();
        let end = spool.next().unwrap().end;
        spool.stored(end).unwrap();
        assert!(!spool.is_full());
    }

    #[test]
    fn a_file_is_taken_over_only_after_its_process_ended() {
        let folder = Folder::new("orphan");
        let (mine, other) = (folder.spool(1), folder.spool(2));
        other.append(&records(0..4_000)).unwrap();
        assert!(mine.orphans().unwrap().is_empty());
        drop(other);
        let mut orphans = mine.orphans().unwrap();
        let orphan = orphans.pop().unwrap();
        assert!(orphans.is_empty() && mine.orphans().unwrap().is_empty());
        let (all, _, damage) = read_all(&orphan);
        assert_eq!((all, damage), (records(0..4_000), None));
        orphan.finish(None).unwrap();
        assert!(mine.orphans().unwrap().is_empty());
    }

    #[test]
    fn a_file_that_other_accounts_can_write_is_ignored() {
        let folder = Folder::new("forged");
        let (mine, other) = (folder.spool(1), folder.spool(2));
        other.append(&records(0..1)).unwrap();
        let path = other.path.clone();
        drop(other);
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o620);
        assert!(mine.orphans().unwrap().is_empty());
        mode(0o602);
        assert!(mine.orphans().unwrap().is_empty());
        mode(0o644);
        assert_eq!(mine.orphans().unwrap().len(), 1);
    }

    #[test]
    fn the_records_before_a_torn_tail_are_read() {
        let folder = Folder::new("torn");
        let mine = folder.spool(1);
        let other = folder.spool(2);
        other.append(&records(0..2)).unwrap();
        let (before, path) = (other.backlog(), other.path.clone());
        other.append(&records(2..3)).unwrap();
        let (len, bytes) = (other.backlog(), fs::read(&path).unwrap());
        drop(other);
        for cut in before..len {
            fs::write(&path, &bytes[..usize::try_from(cut).unwrap()]).unwrap();
            let orphan = mine.orphans().unwrap().pop().unwrap();
            let (all, end, damage) = read_all(&orphan);
            assert_eq!((all, end), (records(0..2), before));
            assert_eq!(damage, (cut > before).then_some(Damage::Torn), "{cut}");
            drop(orphan);
        }
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        // Some file systems extend a file without writing its bytes.
        let orphan = mine.orphans().unwrap().pop().unwrap();
        let (all, _, damage) = read_all(&orphan);
        assert_eq!((all, damage), (records(0..2), Some(Damage::Corrupt)));
        orphan.finish(damage).unwrap();
        assert!(path.with_extension("damaged").exists() && mine.orphans().unwrap().is_empty());
    }
}
