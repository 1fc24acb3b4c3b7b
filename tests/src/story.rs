//! The frame around each test: it skips a test whose server is not installed, and shows the
//! servers' logs when a test fails.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write as _,
    panic::{AssertUnwindSafe, resume_unwind},
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tempfile::NamedTempFile;

use crate::{process::Log, reaper, testbed::Missing};

const SKIPPED_FILE: &str = "PADDOCK_TEST_SKIPPED_FILE";

/// The number of last lines that are shown of each log.
const TAIL_LINES: usize = 30;

tokio::task_local! {
    static LOGS: Mutex<Vec<Log>>;
}

/// Adds a server's log to the logs that are shown if the current story fails. Does nothing outside
/// of a story.
pub(crate) fn attach_log(log: &Log) {
    let log = log.from_now();
    // `up` and `exec` start servers outside of a story.
    let _ = LOGS.try_with(|logs| logs.lock().unwrap_or_else(PoisonError::into_inner).push(log));
}

/// `soak` during `make soak`, `normal` otherwise.
pub fn soak_or<T>(soak: T, normal: T) -> T {
    if std::env::var_os("PADDOCK_SOAK").is_some() { soak } else { normal }
}

/// Runs the body of one test.
///
/// An error of kind [`Missing`] skips the test: `make test` names it at its end, and with `CI=true`
/// it is a failure. Any other error or panic fails the test, and the last log lines of every server
/// that it used are shown.
///
/// The future is boxed, because a body with servers in it is large.
pub fn story<'a>(body: impl Future<Output = Result<()>> + 'a) -> LocalBoxFuture<'a, ()> {
    Box::pin(run_body(body))
}

async fn run_body(body: impl Future<Output = Result<()>>) {
    let (outcome, logs) = LOGS
        .scope(Mutex::new(Vec::new()), async {
            let outcome = AssertUnwindSafe(body).catch_unwind().await;
            let logs = LOGS.with(|logs| std::mem::take(&mut *logs.lock().unwrap_or_else(PoisonError::into_inner)));
            (outcome, logs)
        })
        .await;
    if let Ok(Err(error)) = &outcome
        && let Some(&missing) = error.downcast_ref::<Missing>()
    {
        return skip(missing);
    }
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            print_error(&error);
            print_tails(&logs);
            panic!("the story failed; its error stands above the logs");
        }
        Err(panic) => {
            print_tails(&logs);
            resume_unwind(panic);
        }
    }
}

fn skip(missing: Missing) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {missing}; with CI=true that is a failure");
    let line = format!("{test}: {missing}\n");
    if let Some(file) = std::env::var_os(SKIPPED_FILE) {
        let _ = OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
    // Bypasses the capture of the test runner, which hides the output of passing tests.
    let _ = std::io::stderr().write_all(format!("skipped {line}").as_bytes());
}

/// The names of the skipped tests of all processes below `paddock-tests exec`, collected in a file.
pub struct SkippedTests(NamedTempFile);

impl SkippedTests {
    /// Creates an empty collection.
    pub fn collect() -> Result<Self> {
        Ok(Self(NamedTempFile::new_in(reaper::root_dir())?))
    }

    /// The variable by which a test process finds the file, and its value.
    #[must_use]
    pub fn variable(&self) -> (&'static str, &Path) {
        (SKIPPED_FILE, self.0.path())
    }

    /// The skipped tests and the reasons, sorted.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.0.path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// The error comes before the logs, because a CI that shortens the output keeps its beginning.
#[expect(clippy::print_stderr, reason = "the test runner shows it below the failed test's name")]
fn print_error(error: &anyhow::Error) {
    eprintln!("{error:?}");
}

#[expect(clippy::print_stderr, reason = "the test runner shows it below the failed test's name")]
fn print_tails(logs: &[Log]) {
    for log in logs {
        let tail = log.tail(TAIL_LINES);
        if !tail.is_empty() {
            eprintln!("--- {} wrote last ---\n{tail}", log.name);
        }
    }
}
