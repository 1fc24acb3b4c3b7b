//! Cleans up after this process: its servers and its scratch folder, however the process ends.
//!
//! A test process can end without running destructors (`kill -9`, an abort, statics at exit). A
//! death signal reaches only direct children, not an engine that Ollama has started. So one small
//! shell, the reaper, reads a pipe whose only writer is this process. When the pipe ends, the
//! reaper stops the process groups it was told of and removes the folder.

use std::{
    fs::{File, Permissions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

use tempfile::TempDir;

use crate::process::Signal;

/// Reads `group PGID SIGNAL`, `over PGID` and `mount FOLDER` lines. At the end of its input it
/// signals every group, waits up to five seconds, kills what is left, unmounts, and removes the
/// folder.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=
mounts=
while read -r verb pgid signal; do
  if [ "$verb" = group ]; then
    groups="$groups $pgid:$signal"
  elif [ "$verb" = mount ]; then
    mounts="$mounts $pgid"
  else
    kept=
    for g in $groups; do [ "${g%%:*}" = "$pgid" ] || kept="$kept $g"; done
    groups=$kept
  fi
done
for g in $groups; do kill -s "${g#*:}" -- "-${g%%:*}" 2>/dev/null; done
tries=0
while [ $tries -lt 100 ]; do
  alive=
  for g in $groups; do kill -s 0 -- "-${g%%:*}" 2>/dev/null && alive=yes; done
  [ -n "$alive" ] || break
  tries=$((tries + 1))
  sleep 0.05
done
for g in $groups; do kill -s KILL -- "-${g%%:*}" 2>/dev/null; done
for m in $mounts; do umount -l "$m" 2>/dev/null; done
rm -rf -- "$1"
"#;

struct Reaper {
    root: PathBuf,
    shell: Mutex<Option<(Child, ChildStdin)>>,
}

static REAPER: LazyLock<Reaper> = LazyLock::new(|| {
    let root =
        tempfile::Builder::new().prefix("paddock-tests-").tempdir().expect("a folder for temporary files").keep();
    std::fs::set_permissions(&root, Permissions::from_mode(0o711)).expect("our own folder");
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "paddock-tests-reaper"])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a POSIX shell");
    let pipe = shell.stdin.take().expect("stdin is piped");
    Reaper { root, shell: Mutex::new(Some((shell, pipe))) }
});

/// Creates an empty folder below this process's scratch folder. It is removed with the handle, or
/// when the process ends.
pub fn scratch_dir(name: &str) -> std::io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&REAPER.root)?;
    // When tests run as root, PostgreSQL runs as another user and must reach its own folder below
    // this one.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
    Ok(folder)
}

/// Creates a file for the output of one server. It outlives the server, because a failed test shows
/// it after its servers are gone, and is removed when this process ends.
pub(crate) fn new_log(name: &str) -> std::io::Result<(File, PathBuf)> {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .suffix(".log")
        .tempfile_in(&REAPER.root)?
        .keep()
        .map_err(|e| e.error)
}

/// The scratch folder of this process, which holds all others.
#[must_use]
pub fn root_dir() -> &'static Path {
    &REAPER.root
}

/// Has the process group stopped with `stop_signal` when this process ends.
pub(crate) fn watch_group(group: i32, stop_signal: Signal) {
    tell(&format!("group {group} {}\n", stop_signal.name()));
}

/// Undoes [`watch_group`], after the group has ended.
pub(crate) fn unwatch_group(group: i32) {
    tell(&format!("over {group}\n"));
}

/// Has the folder unmounted when this process ends.
pub(crate) fn watch_mount(folder: &Path) {
    tell(&format!("mount {}\n", folder.display()));
}

fn tell(line: &str) {
    let mut shell = REAPER.shell.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pipe)) = shell.as_mut() {
        // A killed reaper cannot be told. Destructors still do its work in the usual case.
        let _ = pipe.write_all(line.as_bytes());
    }
}

/// Runs the reaper now, and waits until every server is gone and the folder is removed. Nothing can
/// be started afterwards. For executables that end in order; test processes leave it to the end of
/// the pipe.
pub fn finish() {
    let taken = REAPER.shell.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((mut shell, pipe)) = taken {
        drop(pipe);
        let _ = shell.wait();
    }
}
