//! Polling a condition until a timeout. Tests use this instead of sleeping.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Calls `probe` until it returns `Ok`, for at most `limit`. `what` completes the sentence "waited
/// ... for".
///
/// Errors: the probe's last error, after `limit`.
pub async fn eventually<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = None;
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(POLL_INTERVAL), probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error.to_string()),
            Err(_) => {}
        }
        if start.elapsed() >= limit {
            let last = last.unwrap_or_else(|| "no answer".to_owned());
            bail!("waited {limit:?} for {what}; last seen: {last}");
        }
        tokio::time::sleep(POLL_INTERVAL.min(limit)).await;
    }
}
