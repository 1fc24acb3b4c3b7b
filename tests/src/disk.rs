//! A small disk, for tests that fill it.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    process::run,
    reaper,
    testbed::{Missing, Part},
};

/// A file system in memory. Dropping it unmounts it.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts an empty disk of `mebibytes` MiB.
    ///
    /// Errors: [`Missing`], when this process may not mount.
    pub fn small(mebibytes: u32) -> Result<Self> {
        let folder = reaper::scratch_dir("disk")?;
        let size = format!("size={mebibytes}m,mode=0711");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return Err(Missing(Part::SmallDisk).into());
        }
        reaper::watch_mount(folder.path());
        Ok(Self { folder })
    }

    /// Its mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills the disk to the last byte, with a file that [`Filling::free`] removes.
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
        // Lazily, because a server that stops a moment later may still hold a file.
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// The file that fills a disk.
pub struct Filling {
    path: PathBuf,
}

impl Filling {
    /// Removes the file.
    pub fn free(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}
