//! The file of the contexts: `$XDG_CONFIG_HOME/paddock/config.toml`. It holds keys, so only its
//! owner may read it.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::Contexts;
use crate::error::Error;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The permission bits of users other than the owner.
const OTHERS: u32 = 0o077;

/// The file of the contexts, which may not exist yet.
pub(crate) struct ContextsFile {
    folder: PathBuf,
}

impl ContextsFile {
    /// Finds the file. Fails if the environment names no home folder.
    pub(crate) fn locate() -> Result<Self, Error> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // The XDG specification ignores relative paths.
        let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        let config = config.ok_or_else(|| {
            Error::config("neither XDG_CONFIG_HOME nor HOME is an absolute path; set HOME, as in `export HOME=/root`")
        })?;
        Ok(Self { folder: config.join("paddock") })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// Reads the contexts; none if the file does not exist. Fails if other users may read the file
    /// or its folder.
    pub(crate) fn read(&self) -> Result<Contexts, Error> {
        let path = self.path();
        for (path, mode) in [(&self.folder, FOLDER_MODE), (&path, FILE_MODE)] {
            match fs::metadata(path) {
                Ok(metadata) => require_private(path, metadata.permissions().mode(), mode)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
                Err(error) => return Err(read_error(path, &error)),
            }
        }
        let text = fs::read_to_string(&path).map_err(|error| read_error(&path, &error))?;
        parse(&path, &text)
    }

    /// Changes the contexts. A lock orders concurrent changes, and a crash leaves the old file or
    /// the new one.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Contexts) -> Result<T, Error>) -> Result<T, Error> {
        let failed = |error: io::Error| {
            let path = self.path();
            Error::Other(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
        };
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder).map_err(failed)?;
        let lock = self.folder.join("config.lock");
        let lock = fs::OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(lock).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut contexts = self.read()?;
        let value = change(&mut contexts)?;
        let text = toml::to_string(&contexts).map_err(anyhow::Error::from)?;
        self.replace(&text).map_err(failed)?;
        Ok(value)
    }

    /// Replaces the file in one step. If it is a symbolic link, its target is replaced.
    fn replace(&self, text: &str) -> io::Result<()> {
        let path = fs::canonicalize(self.path()).unwrap_or_else(|_| self.path());
        let folder = path.parent().unwrap_or(&self.folder);
        let partial = folder.join(format!("config.toml.{}", std::process::id()));
        let written = write_private(&partial, text).and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written?;
        // The rename is durable only when the folder is.
        fs::File::open(folder)?.sync_all()
    }
}

/// Creates a file that only its owner can read, and flushes it to disk.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        // An earlier process with the same id crashed.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(FILE_MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Fails if other users have a permission. `mode` is the mode for the remedy.
fn require_private(path: &Path, found: u32, mode: u32) -> Result<(), Error> {
    if found & OTHERS == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::config(format!("other users can open {path}, which holds your keys: type `chmod {mode:o} {path}`")))
}

fn read_error(path: &Path, error: &io::Error) -> Error {
    Error::config(format!("cannot read {} ({error}): make it readable for you, or set XDG_CONFIG_HOME", path.display()))
}

/// Parses the file. Errors never repeat its text, which may be a key.
fn parse(path: &Path, text: &str) -> Result<Contexts, Error> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let (line, path) = (before.matches('\n').count() + 1, path.display());
        Error::config(format!(
            "{path} is not valid at line {line}: correct the line, or type `mv {path} {path}.old` and sign in again with `paddock login`"
        ))
    })
}
