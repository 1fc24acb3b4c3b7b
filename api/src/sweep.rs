//! What is tidied up while the process serves.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, ask};

/// Records the end of keys whose time is over. Every replica looks; each end is recorded once.
pub(crate) async fn keys(app: App, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = ask(app.accounts.sweep_keys()).await {
            // They are found again at the next turn.
            tracing::warn!(?error, "the end of keys could not be recorded");
        }
    }
}
