//! Waiting for a condition with a deadline: what tests do instead of sleeping for a time.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const STEP: Duration = Duration::from_millis(20);

/// Asks `probe` again and again until it answers `Ok`, at most for `limit`. `what` completes "waited ... for".
///
/// Errors: the probe's last refusal, once the time is over.
pub async fn eventually<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = None;
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(STEP), probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(refusal)) => last = Some(refusal.to_string()),
            Err(_) => {}
        }
        if start.elapsed() >= limit {
            let last = last.unwrap_or_else(|| "no answer".to_owned());
            bail!("waited {limit:?} for {what}; last seen: {last}");
        }
        tokio::time::sleep(STEP.min(limit)).await;
    }
}
