//! The frame around each test: it skips a test whose server cannot be had, by name, and shows what the servers wrote when a test fails.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tempfile::NamedTempFile;

use crate::process::Log;
use crate::sentinel;
use crate::testbed::Missing;

const SKIPPED_FILE: &str = "PADDOCK_TEST_SKIPPED_FILE";

const TAIL: usize = 30;

tokio::task_local! {
    static LOGS: Mutex<Vec<Log>>;
}

/// Adds a server's log to those that are shown if the current story fails. Outside of a story it does nothing.
pub(crate) fn attach(log: &Log) {
    let log = log.from_now();
    // Not in a story: a server that `up` or `exec` starts.
    let _ = LOGS.try_with(|logs| logs.lock().unwrap_or_else(PoisonError::into_inner).push(log));
}

/// So much in `make soak`, and so much otherwise.
pub fn length<T>(soak: T, otherwise: T) -> T {
    if std::env::var_os("PADDOCK_SOAK").is_some() { soak } else { otherwise }
}

/// Runs the body of one test.
///
/// An error of kind [`Missing`] skips the test: it is reported by name at the end of `make test`, and is a failure when `CI` is `true`. Any other error or panic fails the
/// test, after the last lines of every server that it used.
///
/// Boxed, because a body with servers in it is large.
pub fn story<'a>(body: impl Future<Output = Result<()>> + 'a) -> LocalBoxFuture<'a, ()> {
    Box::pin(told(body))
}

async fn told(body: impl Future<Output = Result<()>>) {
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
            show(&logs);
            panic!("{error:?}");
        }
        Err(panic) => {
            show(&logs);
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
    // Past the test runner's capture, which would hide it from the reader of a passing run.
    let _ = std::io::stderr().write_all(format!("skipped {line}").as_bytes());
}

/// The names of skipped tests of all processes below `paddock-tests exec`, collected in a file.
pub struct Skipped(NamedTempFile);

impl Skipped {
    /// A new, empty collection.
    pub fn collect() -> Result<Self> {
        Ok(Self(NamedTempFile::new_in(sentinel::root())?))
    }

    /// The variable that tells a test process of it, and its value.
    #[must_use]
    pub fn variable(&self) -> (&'static str, &Path) {
        (SKIPPED_FILE, self.0.path())
    }

    /// What was skipped, and why, in order of names.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.0.path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it below the failed test's name")]
fn show(logs: &[Log]) {
    for log in logs {
        let tail = log.tail(TAIL);
        if !tail.is_empty() {
            eprintln!("--- {} wrote last ---\n{tail}", log.name);
        }
    }
}
