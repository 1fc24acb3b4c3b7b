//! What to do about a SQLite file that cannot be opened: which folder it is about, and which account
//! needs access to it.

use std::{
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The rest of an error message, beginning with `; `. Empty for causes that no folder explains.
pub(super) fn remedy(path: &Path, error: &io::Error) -> String {
    let folder = folder_of(path);
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let account = format!("user {user} of group {group}");
    let shown = folder.display();
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            format!(
                "; {shown} is read-only: mount a volume there that {account} may write to, or name another folder in DATABASE_URL"
            )
        }
        ErrorKind::NotFound => {
            format!("; {shown} does not exist: mount a volume there, or name another folder in DATABASE_URL")
        }
        ErrorKind::PermissionDenied => {
            // The file, if it exists and the folder can be searched; else the folder.
            let subject = if path.exists() { path.to_owned() } else { folder.clone() };
            let owner = subject.metadata().map_or_else(
                |_| String::new(),
                |data| {
                    format!(
                        ", and {} belongs to user {} of group {} (mode {:o})",
                        subject.display(),
                        data.uid(),
                        data.gid(),
                        data.mode() & 0o7777
                    )
                },
            );
            format!("; this process is {account}{owner}: mount a volume at {shown} that it may write to")
        }
        _ => String::new(),
    }
}

/// The folder of the file, as an absolute path if the current folder is known.
fn folder_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map_or_else(|| absolute.clone(), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_and_the_account_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("paddock.db");
        let shown = folder.path().display().to_string();
        for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied, ErrorKind::NotFound] {
            let text = remedy(&file, &kind.into());
            assert!(text.contains(&shown) && text.contains("mount a volume"), "{text}");
        }
        let denied = remedy(&file, &ErrorKind::PermissionDenied.into());
        assert!(denied.contains("(mode 7") && denied.contains("this process is user "), "{denied}");
        std::fs::write(&file, "").unwrap();
        assert!(remedy(&file, &ErrorKind::PermissionDenied.into()).contains("paddock.db belongs"));
        assert_eq!(remedy(&file, &ErrorKind::OutOfMemory.into()), "");
    }

    #[test]
    fn a_relative_path_is_shown_with_its_folder() {
        let text = remedy(Path::new("paddock.db"), &ErrorKind::ReadOnlyFilesystem.into());
        assert!(text.contains(&std::env::current_dir().unwrap().display().to_string()), "{text}");
    }
}
