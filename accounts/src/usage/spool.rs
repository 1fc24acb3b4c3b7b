//! The spool: append-only files, one for each process, that hold records while the database is
//! unavailable.
//!
//! It protects usage records of served requests from loss when the process dies before the database
//! returns. A record is durable once its file is synced. Each record is framed by its length and
//! checksum, so that a torn tail is recognized. A file is locked as long as its process lives; another
//! process takes over an unlocked file. Storing a record twice stores it once, so a crash during a
//! replay does no harm.

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
/// The longest record.
const MAX_RECORD_BYTES: usize = 64 << 10;
/// How many bytes are read at once.
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
    /// How far it is synced.
    len: u64,
    /// How far it has been stored.
    stored: u64,
    /// Whether something may stand behind `len`, from a write that failed.
    is_ragged: bool,
}

/// Records from a spool.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The records.
    pub records: Vec<UsageRecord>,
    /// Where the next ones begin.
    pub end: u64,
    /// What stands there instead of records.
    pub damage: Option<Damage>,
}

/// Why the rest of a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A crash tore the last write off: what is missing was never promised.
    Torn,
    /// Bytes are not those that were written.
    Corrupt,
}

/// The spool of a process that is gone, held by this one.
pub struct Orphan {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Spool {
    /// A new file in this folder, which is made if it is not there. `id` tells this process from others. Beyond `limit` bytes
    /// the spool says that it is full.
    pub fn open(folder: &Path, id: Uuid, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (path, partial) = (folder.join(format!("{id}.{EXTENSION}")), folder.join(format!("{id}.new")));
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&partial)?;
        // Under its name it is never without its lock.
        file.try_lock()?;
        fs::rename(&partial, &path)?;
        File::open(folder)?.sync_all()?;
        let file = Mutex::new(OpenFile { file, len: 0, stored: 0, is_ragged: false });
        Ok(Self { folder: folder.to_owned(), path, limit, file, backlog: AtomicU64::new(0) })
    }

    /// Adds records and syncs them: all of them are safe, or none.
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
        let mut own = self.lock();
        let end = own.len;
        if own.is_ragged {
            own.file.set_len(end)?;
        }
        own.is_ragged = true;
        own.file.write_all_at(&bytes, end)?;
        own.file.sync_data()?;
        own.is_ragged = false;
        own.len = end + bytes.len() as u64;
        self.backlog.store(own.len - own.stored, Ordering::Release);
        Ok(())
    }

    /// How many bytes wait.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Acquire)
    }

    /// Whether it should take no more. Its limit is a matter of admission: what was admitted is still taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.backlog() >= self.limit
    }

    /// The oldest records that wait.
    pub fn next(&self) -> io::Result<Chunk> {
        let own = self.lock();
        read(&own.file, own.stored, own.len)
    }

    /// The records before `end` are stored. When all are, the file is emptied.
    pub fn stored(&self, end: u64) -> io::Result<()> {
        let mut own = self.lock();
        own.stored = end;
        self.backlog.store(own.len - end, Ordering::Release);
        if own.stored == own.len {
            own.file.set_len(0)?;
            own.file.sync_data()?;
            (own.len, own.stored, own.is_ragged) = (0, 0, false);
        }
        Ok(())
    }

    /// Nothing of what waits can be read: it is given up.
    pub fn discard(&self) -> io::Result<()> {
        let end = self.lock().len;
        self.stored(end)
    }

    /// The spools of processes that are gone. Only those that nobody but our own account can have written.
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
                // Another one was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let metadata = file.metadata()?;
            if metadata.uid() != account || metadata.mode() & 0o022 != 0 {
                tracing::warn!(file = %path.display(), "a spool that others can write is left alone");
                continue;
            }
            match file.try_lock() {
                // Its length is looked at now that nobody adds to it.
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
            // Left behind, an empty file does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Orphan {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The records from there on; none, and no damage, at its end.
    pub fn read(&self, from: u64) -> io::Result<Chunk> {
        read(&self.file, from, self.len)
    }

    /// All of it is stored. One that holds bytes nobody can read is kept for people, under another name.
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

/// The records between two places of a file.
fn read(file: &File, from: u64, len: u64) -> io::Result<Chunk> {
    let mut bytes = vec![0; usize::try_from(CHUNK_BYTES.min(len.saturating_sub(from))).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let mut chunk = Chunk { end: from, ..Chunk::default() };
    let mut rest = bytes.as_slice();
    while let Some((head, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = word(0) as usize;
        if length > MAX_RECORD_BYTES {
            chunk.damage = Some(Damage::Corrupt);
            return Ok(chunk);
        }
        let Some((text, behind)) = behind.split_at_checked(length) else { break };
        let record = (crc32fast::hash(text) == word(4)).then(|| serde_json::from_slice(text).ok()).flatten();
        let Some(record) = record else {
            chunk.damage = Some(Damage::Corrupt);
            return Ok(chunk);
        };
        chunk.records.push(record);
        chunk.end += (HEADER_BYTES + length) as u64;
        rest = behind;
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

    /// A folder that goes with the test.
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

    /// All that an orphan holds, and where its end is.
    fn whole(orphan: &Orphan) -> (Vec<UsageRecord>, u64, Option<Damage>) {
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
    fn what_is_added_is_read_in_order_and_the_file_is_emptied() {
        let folder = Folder::new("order");
        let spool = folder.spool(1);
        spool.append(&records(0..3)).unwrap();
        spool.append(&records(3..5)).unwrap();
        let chunk = spool.next().unwrap();
        assert_eq!((chunk.records.as_slice(), chunk.damage), (records(0..5).as_slice(), None));
        // More comes while those are being stored.
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
    fn it_says_when_it_is_full_and_takes_what_was_admitted() {
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
    fn a_file_is_taken_over_only_when_its_process_is_gone() {
        let folder = Folder::new("orphan");
        let (mine, other) = (folder.spool(1), folder.spool(2));
        other.append(&records(0..4_000)).unwrap();
        assert!(mine.orphans().unwrap().is_empty());
        drop(other);
        let mut orphans = mine.orphans().unwrap();
        let orphan = orphans.pop().unwrap();
        assert!(orphans.is_empty() && mine.orphans().unwrap().is_empty());
        let (all, _, damage) = whole(&orphan);
        assert_eq!((all, damage), (records(0..4_000), None));
        orphan.finish(None).unwrap();
        assert!(mine.orphans().unwrap().is_empty());
    }

    #[test]
    fn what_others_can_write_counts_for_nothing() {
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
    fn wherever_a_tail_is_torn_off_what_is_before_it_is_read() {
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
            let (all, end, damage) = whole(&orphan);
            assert_eq!((all, end), (records(0..2), before));
            assert_eq!(damage, (cut > before).then_some(Damage::Torn), "{cut}");
            drop(orphan);
        }
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        // A length without its bytes, as some file systems leave it.
        let orphan = mine.orphans().unwrap().pop().unwrap();
        let (all, _, damage) = whole(&orphan);
        assert_eq!((all, damage), (records(0..2), Some(Damage::Corrupt)));
        orphan.finish(damage).unwrap();
        assert!(path.with_extension("damaged").exists() && mine.orphans().unwrap().is_empty());
    }
}
