//! What is tidied up while the process serves.

use std::time::Duration;

use paddock_accounts::Accounts;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, ask};

/// How often what ended long ago is looked for.
const SESSIONS_EVERY: Duration = Duration::from_mins(10);
/// How often it is stored when keys were last used.
const LAST_USED_EVERY: Duration = Duration::from_mins(1);

/// Records the end of keys whose time is over. Every replica looks; each end is recorded once.
pub(crate) async fn keys(app: App, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = ask(app.accounts.credentials().sweep()).await {
            // They are found again at the next turn.
            tracing::warn!(?error, "the end of keys could not be recorded");
        }
    }
}

/// Forgets sessions and sign-ins that ended long ago.
pub(crate) async fn sessions(app: App) {
    let mut ticks = interval(SESSIONS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = ask(app.accounts.sessions().sweep()).await {
            // They are found again at the next turn.
            tracing::warn!(?error, "sessions that ended could not be removed");
        }
    }
}

/// Stores when keys were last used.
pub(crate) async fn last_used(accounts: Accounts) {
    let mut ticks = interval(LAST_USED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = ask(accounts.usage().store_last_used()).await {
            tracing::warn!(?error, "when keys were last used waits for the database");
        }
    }
}
