//! A small disk, to see what happens when it is full.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::process::run;
use crate::sentinel;
use crate::testbed::{Missing, Part};

/// A file system of its own, in memory, unmounted when it is dropped.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// An empty one of so many MiB.
    ///
    /// Errors: [`Missing`], where we may not mount.
    pub fn small(mebibytes: u32) -> Result<Self> {
        let folder = sentinel::scratch("disk")?;
        let size = format!("size={mebibytes}m,mode=0711");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return Err(Missing(Part::SmallDisk).into());
        }
        sentinel::mounted(folder.path());
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes the last free byte of it, until the filling is dropped.
    pub fn fill(&self) -> Result<Filling> {
        let path = self.path().join("filling");
        let mut file = File::create(&path)?;
        for size in [1 << 16, 1 << 12, 1] {
            let chunk = vec![0; size];
            loop {
                match file.write_all(&chunk) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("filling {}: {error}", path.display()),
                }
            }
        }
        Ok(Filling { path })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is stopped a moment later may still hold a file.
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// The file that takes what was free.
pub struct Filling {
    path: PathBuf,
}

impl Filling {
    /// Gives the space back.
    pub fn free(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}
