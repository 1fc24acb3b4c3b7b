//! Child processes: each in a process group of its own that ends with us, its output in a file whose last lines are shown when a test fails.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child as OwnChild, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, kill_process, kill_process_group};

use crate::eventually::eventually;
use crate::sentinel;
use crate::story;

/// The signals that tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Int,
    /// A polite end.
    Term,
    /// PostgreSQL's immediate shutdown.
    Quit,
    /// A crash.
    Kill,
    /// Freezes the process.
    Stop,
    /// Lets it go on.
    Cont,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }

    fn number(self) -> rustix::process::Signal {
        use rustix::process::Signal as Number;
        match self {
            Self::Int => Number::INT,
            Self::Term => Number::TERM,
            Self::Quit => Number::QUIT,
            Self::Kill => Number::KILL,
            Self::Stop => Number::STOP,
            Self::Cont => Number::CONT,
        }
    }
}

/// A server's output, standard output and error together in one file.
#[derive(Clone, Debug)]
pub struct Log {
    /// The server's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Where reading begins, in bytes: a server that is shared has written before this test began.
    pub from: u64,
}

impl Log {
    /// The log as of now: only what is written from here on will be read from it.
    #[must_use]
    pub fn from_now(&self) -> Self {
        let from = std::fs::metadata(&self.path).map_or(0, |m| m.len());
        Self { from, ..self.clone() }
    }

    /// All that was written since `from`; empty when the file is gone.
    #[must_use]
    pub fn text(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        sentinel::last_lines(&self.text(), count)
    }
}

/// A running child process. Dropping it stops it, and its whole group.
#[derive(Debug)]
pub struct Process {
    log: Log,
    group: Pid,
    child: Mutex<OwnChild>,
    stop_with: Signal,
}

impl Process {
    /// Starts `command`, which `stop_with` will end later. Its output goes to a file; its input is empty.
    pub fn start(name: &str, mut command: Command, stop_with: Signal) -> Result<Self> {
        let (output, path) = sentinel::new_log(name)?;
        let log = Log { name: name.to_owned(), path, from: 0 };
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        let id = i32::try_from(child.id()).context("a process id")?;
        let group = Pid::from_raw(id).context("a process id is not zero")?;
        sentinel::guard(id, stop_with);
        story::attach(&log);
        Ok(Self { log, group, child: Mutex::new(child), stop_with })
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// A figure of its memory, by its name in `/proc/PID/status`: `VmRSS` now, `VmHWM` the highest so far.
    pub fn memory_kib(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let figure = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let figure = figure.with_context(|| format!("no {name} of {} in {status:?}", self.log.name))?;
        Ok(figure.trim().trim_end_matches(" kB").parse()?)
    }

    /// Sends a signal to the process itself, not to its children: what `kill PID` does.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.group, signal.number()).with_context(|| format!("signal to {}", self.log.name))
    }

    /// The processes that it has started itself and that are still there, as the kernel lists them.
    pub fn children(&self) -> Result<Vec<Child>> {
        let id = self.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        list.split_whitespace().map(|id| Ok(Child(Pid::from_raw(id.parse()?).context("not zero")?))).collect()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exited(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().ok().flatten()
    }

    /// Waits until it has ended by itself or by a signal sent before.
    pub async fn ended(&self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.log.name);
        eventually(&what, limit, async || self.exited().ok_or("it is still running")).await
    }

    /// Waits until `probe` is content, and gives up at once when the process ends before.
    ///
    /// Errors: with the last lines of its log.
    pub async fn ready<T>(&self, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let name = &self.log.name;
        let answer = eventually(&format!("{name} to be ready"), limit, async || {
            if let Some(status) = self.exited() {
                return Ok(Err(anyhow!("{name} ended at its start: {status}")));
            }
            probe().await.map(Ok)
        })
        .await
        .and_then(|inner| inner);
        answer.with_context(|| format!("{name} wrote last:\n{}", self.log.tail(20)))
    }

    /// Asks it to stop in its own way and waits; kills what is left of its group after `limit`.
    pub fn stop(&self, limit: Duration) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.try_wait().ok().flatten().is_none() {
            let _ = kill_process(self.group, self.stop_with.number());
            // A process that a test froze cannot answer.
            let _ = kill_process(self.group, rustix::process::Signal::CONT);
            let start = Instant::now();
            while start.elapsed() < limit && child.try_wait().ok().flatten().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = kill_process_group(self.group, rustix::process::Signal::KILL);
        let _ = child.wait();
        sentinel::release(self.group.as_raw_nonzero().get());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}

/// A process that one of ours has started, in whatever group or session it put it.
#[derive(Clone, Copy, Debug)]
pub struct Child(Pid);

impl Child {
    /// Sends it a signal. One that has ended meanwhile does not mind.
    pub fn signal(self, signal: Signal) -> Result<()> {
        match kill_process(self.0, signal.number()) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal to process {:?}", self.0)),
        }
    }
}

/// Asks the process `id`, which is not one of ours to stop, to end.
pub fn ask_to_end(id: u32) -> Result<()> {
    let id = Pid::from_raw(i32::try_from(id)?).context("a process id is not zero")?;
    Ok(kill_process(id, Signal::Term.number())?)
}

/// Runs a short command to its end and returns its standard output.
///
/// Errors: with what it wrote to standard error, if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let end = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {signal:?}"),
        };
        let stdout = String::from_utf8_lossy(&output.stdout);
        bail!("{name}: {end}\n{stdout}{stderr}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A port of 127.0.0.1 that nobody listens on, for servers that cannot be told to choose one themselves.
///
/// It comes from below the range that the kernel takes ports of outgoing connections from, so that none of those can be on it by the time the server listens.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Each process begins somewhere else, so that two of them rarely ask for the same port at the same moment.
        let offset = std::process::id().wrapping_mul(97).wrapping_add(step) % COUNT;
        let port = FIRST + u16::try_from(offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", u32::from(FIRST) + COUNT)
}
