//! Places at which tests stop the operator, in builds with debug assertions only.
//!
//! `PADDOCK_FAILPOINT=<point>=abort` ends the process there, as `kill -9` would. `<point>=hold:<file>` makes the file and
//! goes on when it is gone, once, so that a test can interleave two leaders. Several are separated by `;`.

/// A place in the protocol that issues and rotates keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeStage,
    AfterStage,
    BeforeSecret,
    AfterSecret,
    BeforeActivate,
    AfterActivate,
}

/// Passes the point; in a release build there is nothing to pass.
#[cfg(not(debug_assertions))]
pub(crate) async fn pass(_: Point) {}

/// Passes the point, or does there what the environment asks for.
#[cfg(debug_assertions)]
pub(crate) async fn pass(point: Point) {
    let asked = std::env::var("PADDOCK_FAILPOINT").unwrap_or_default();
    let action = asked.split(';').find_map(|part| part.split_once('=').filter(|(name, _)| *name == name_of(point)));
    match action.map(|(_, action)| action.split_once(':').unwrap_or((action, ""))) {
        Some(("abort", _)) => std::process::abort(),
        Some(("hold", file)) => hold(std::path::Path::new(file)).await,
        _ => {}
    }
}

#[cfg(debug_assertions)]
const fn name_of(point: Point) -> &'static str {
    match point {
        Point::BeforeStage => "before-stage",
        Point::AfterStage => "after-stage",
        Point::BeforeSecret => "before-secret",
        Point::AfterSecret => "after-secret",
        Point::BeforeActivate => "before-activate",
        Point::AfterActivate => "after-activate",
    }
}

/// Tells that the point is reached by making the file; goes on when the test removes it. Does nothing the second time.
#[cfg(debug_assertions)]
async fn hold(file: &std::path::Path) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static HELD: AtomicBool = AtomicBool::new(false);
    if HELD.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Err(error) = tokio::fs::write(file, "held").await {
        tracing::error!(%error, file = %file.display(), "the failpoint's file cannot be made");
        return;
    }
    while tokio::fs::try_exists(file).await.unwrap_or(false) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
