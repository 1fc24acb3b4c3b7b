//! Failpoints of the key protocol, for tests. Builds without debug assertions have none.
//!
//! `PADDOCK_FAILPOINT=<point>=abort` ends the process at the point, as `kill -9` would.
//! `PADDOCK_FAILPOINT=<point>=hold:<file>` creates the file and waits until it is removed, so that
//! a test can interleave two leaders. Several are separated by `;`.

/// A point in the protocol that issues and rotates keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeStage,
    AfterStage,
    BeforeSecret,
    AfterSecret,
    BeforeActivate,
    AfterActivate,
}

/// Does nothing: builds without debug assertions have no failpoints.
#[cfg(not(debug_assertions))]
pub(crate) async fn pass(_: Point) {}

/// Runs the action that `PADDOCK_FAILPOINT` names for the point, if any.
#[cfg(debug_assertions)]
pub(crate) async fn pass(point: Point) {
    let setting = std::env::var("PADDOCK_FAILPOINT").unwrap_or_default();
    let action = setting.split(';').find_map(|part| part.split_once('=').filter(|(name, _)| *name == name_of(point)));
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

/// Creates the file and waits until the test removes it. Later calls do nothing.
#[cfg(debug_assertions)]
async fn hold(file: &std::path::Path) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static IS_USED: AtomicBool = AtomicBool::new(false);
    if IS_USED.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Err(error) = tokio::fs::write(file, "held").await {
        tracing::error!(%error, file = %file.display(), "cannot create the file of the failpoint");
        return;
    }
    while tokio::fs::try_exists(file).await.unwrap_or(false) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
