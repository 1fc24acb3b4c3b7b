//! What must not outlive this process: its servers and its scratch folder.
//!
//! A test process can end in ways that run no destructor (`kill -9`, an abort, statics at exit), and a death signal reaches only
//! direct children, not an engine that Ollama has started. So one small shell, the sentinel, holds the reading end of a pipe whose only writer is this process:
//! when the pipe ends, however that came about, it stops the process groups that it was told of and removes the folder.

use std::collections::VecDeque;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

use crate::process::Signal;

/// Reads `group PGID SIGNAL`, `over PGID` and `mount FOLDER` lines; at the end of its input asks every group to stop, waits up to five seconds, kills, unmounts, removes.
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

struct Sentinel {
    root: PathBuf,
    shell: Mutex<Option<(Child, ChildStdin)>>,
}

static SENTINEL: LazyLock<Sentinel> = LazyLock::new(|| {
    let root =
        tempfile::Builder::new().prefix("paddock-tests-").tempdir().expect("a folder for temporary files").keep();
    std::fs::set_permissions(&root, Permissions::from_mode(0o711)).expect("our own folder");
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "paddock-tests-sentinel"])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a POSIX shell");
    let pipe = shell.stdin.take().expect("stdin is piped");
    Sentinel { root, shell: Mutex::new(Some((shell, pipe))) }
});

/// A new empty folder below this process's scratch folder, named for what it holds. It lives until the process ends or the handle is dropped.
pub fn scratch(name: &str) -> std::io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&SENTINEL.root)?;
    // PostgreSQL runs as another user when we are root, and must be able to reach its own folder below this one.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
    Ok(folder)
}

/// A file for the output of one server. It stays until this process ends, longer than the server, because a test that fails shows it after its servers are gone.
pub(crate) fn new_log(name: &str) -> std::io::Result<(File, PathBuf)> {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .suffix(".log")
        .tempfile_in(&SENTINEL.root)?
        .keep()
        .map_err(|e| e.error)
}

/// The folder below which everything of this process lives.
#[must_use]
pub fn root() -> &'static Path {
    &SENTINEL.root
}

pub(crate) fn guard(group: i32, stop_with: Signal) {
    tell(&format!("group {group} {}\n", stop_with.name()));
}

pub(crate) fn release(group: i32) {
    tell(&format!("over {group}\n"));
}

/// Has a folder unmounted at the end, should its owner not come to it.
pub(crate) fn mounted(folder: &Path) {
    tell(&format!("mount {}\n", folder.display()));
}

fn tell(line: &str) {
    let mut shell = SENTINEL.shell.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pipe)) = shell.as_mut() {
        // A sentinel that somebody killed cannot be told; destructors still do its work in the usual case.
        let _ = pipe.write_all(line.as_bytes());
    }
}

/// Ends the sentinel's watch now and waits until every server is gone and the folder is removed. Nothing can be started afterwards.
/// For executables that end in an orderly way; test processes leave it to the end of the pipe.
pub fn finish() {
    let taken = SENTINEL.shell.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((mut shell, pipe)) = taken {
        drop(pipe);
        let _ = shell.wait();
    }
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let mut lines = VecDeque::new();
    for line in text.lines() {
        if lines.len() == count {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    lines.into_iter().collect::<Vec<_>>().join("\n")
}
