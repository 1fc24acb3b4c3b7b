//! Child processes. Each child has its own process group, which is stopped when the test process
//! exits. The output of a child goes to a file, whose last lines are shown when a test fails.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    net::TcpListener,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child as OwnChild, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, kill_process, kill_process_group};

use crate::{eventually::eventually, reaper, story};

/// The signals that tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Int,
    /// A request to end.
    Term,
    /// PostgreSQL's immediate shutdown.
    Quit,
    /// An end without clean-up.
    Kill,
    /// Suspends the process.
    Stop,
    /// Resumes a suspended process.
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

/// A server's output: standard output and standard error in one file.
#[derive(Clone, Debug)]
pub struct Log {
    /// The server's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Where reading begins, in bytes: a shared server has written before this test began.
    pub from: u64,
}

impl Log {
    /// The same log, without what was written before now.
    #[must_use]
    pub fn from_now(&self) -> Self {
        let from = std::fs::metadata(&self.path).map_or(0, |m| m.len());
        Self { from, ..self.clone() }
    }

    /// Everything written since `from`; empty when the file is gone.
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
        last_lines(&self.text(), count)
    }
}

/// A running child process. Dropping it stops the process and its group.
#[derive(Debug)]
pub struct Process {
    log: Log,
    group: Pid,
    child: Mutex<OwnChild>,
    stop_signal: Signal,
}

impl Process {
    /// Starts `command` with empty input and its output in a file. `stop_signal` ends it later.
    pub fn start(name: &str, mut command: Command, stop_signal: Signal) -> Result<Self> {
        let (output, path) = reaper::new_log(name)?;
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
        reaper::watch_group(id, stop_signal);
        story::attach_log(&log);
        Ok(Self { log, group, child: Mutex::new(child), stop_signal })
    }

    /// Its output.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// A memory figure in KiB, by its name in `/proc/PID/status`: `VmRSS` is the present size,
    /// `VmHWM` the peak.
    pub fn memory_kib(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let figure = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let figure = figure.with_context(|| format!("no {name} of {} in {status:?}", self.log.name))?;
        Ok(figure.trim().trim_end_matches(" kB").parse()?)
    }

    /// Sends a signal to the process, not to its children, as `kill PID` does.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.group, signal.number()).with_context(|| format!("signal to {}", self.log.name))
    }

    /// Its live direct children, as the kernel lists them.
    pub fn children(&self) -> Result<Vec<Child>> {
        let id = self.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        list.split_whitespace().map(|id| Ok(Child(Pid::from_raw(id.parse()?).context("not zero")?))).collect()
    }

    /// Its exit status, once it has ended.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().ok().flatten()
    }

    /// Waits until it has ended, by itself or by an earlier signal.
    pub async fn wait_for_exit(&self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.log.name);
        eventually(&what, limit, async || self.exit_status().ok_or("it is still running")).await
    }

    /// Waits until `probe` succeeds, and fails at once when the process ends.
    ///
    /// Errors: with the last lines of its log.
    pub async fn wait_until_ready<T>(&self, limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let name = &self.log.name;
        let answer = eventually(&format!("{name} to be ready"), limit, async || {
            if let Some(status) = self.exit_status() {
                return Ok(Err(anyhow!("{name} ended at its start: {status}")));
            }
            probe().await.map(Ok)
        })
        .await
        .and_then(|inner| inner);
        answer.with_context(|| format!("{name} wrote last:\n{}", self.log.tail(20)))
    }

    /// Sends the stop signal and waits, for at most `limit`; then kills what is left of its group.
    pub fn stop(&self, limit: Duration) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.try_wait().ok().flatten().is_none() {
            let _ = kill_process(self.group, self.stop_signal.number());
            // A suspended process cannot handle the signal.
            let _ = kill_process(self.group, rustix::process::Signal::CONT);
            let start = Instant::now();
            while start.elapsed() < limit && child.try_wait().ok().flatten().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = kill_process_group(self.group, rustix::process::Signal::KILL);
        let _ = child.wait();
        reaper::unwatch_group(self.group.as_raw_nonzero().get());
    }
}

/// The last `count` lines of a text.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}

/// A child of one of our processes, which may be in another group or session.
#[derive(Clone, Copy, Debug)]
pub struct Child(Pid);

impl Child {
    /// Sends it a signal. A child that has ended meanwhile is no error.
    pub fn signal(self, signal: Signal) -> Result<()> {
        match kill_process(self.0, signal.number()) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal to process {:?}", self.0)),
        }
    }
}

/// Sends `SIGTERM` to the process `id`.
pub fn terminate(id: u32) -> Result<()> {
    let id = Pid::from_raw(i32::try_from(id)?).context("a process id is not zero")?;
    Ok(kill_process(id, Signal::Term.number())?)
}

/// Runs a short command to its end and returns its standard output.
///
/// Errors: a failed command, with its output.
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

/// A free port of 127.0.0.1, for servers that cannot choose one themselves.
///
/// It lies below the kernel's range for outgoing connections, so that no connection takes it before
/// the server listens.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Each process begins at another port, so that two rarely try the same one at the same
        // moment.
        let offset = std::process::id().wrapping_mul(97).wrapping_add(step) % COUNT;
        let port = FIRST + u16::try_from(offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", u32::from(FIRST) + COUNT)
}
