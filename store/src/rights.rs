//! Changes of users' rights: their generations, and their broadcast to subscribers.
//!
//! The write door reports each change after its commit. A reader takes the current generation
//! before it reads the database. If the generation of the user is later afterwards, the result is
//! outdated.

use std::collections::HashMap;

use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::{db::Conn, error::Error, ids::UserId};

/// The PostgreSQL channel on which processes notify each other. The payload is a user id.
pub const CHANNEL: &str = "paddock_rights";
/// The PostgreSQL channel for the changes that the operator did not make itself. The payload is a
/// user id.
pub const OPERATOR_CHANNEL: &str = "paddock_operator";
/// The number of users with a generation of their own. Beyond that, all earlier results are
/// outdated.
const MAX_CHANGES: usize = 65_536;
/// The number of changes that a subscriber may lag behind before it gets [`RightsChanged::Any`].
const CHANNEL_CAPACITY: usize = 1_024;

/// A change of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsChanged {
    /// The rights of one user, or of a key or session of the user, changed.
    Of(UserId),
    /// The rights of any user may have changed: notifications may have been lost.
    Any,
}

/// The number of a change of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

struct Changes {
    latest: Generation,
    /// Results read before this generation are outdated.
    floor: Generation,
    of: HashMap<UserId, Generation>,
}

/// The changes of rights: of this process, and of other processes while their notifications are
/// reported here.
pub struct Rights {
    changes: RwLock<Changes>,
    subscribers: broadcast::Sender<RightsChanged>,
    /// Subscribers to the changes that the operator did not make itself.
    operators: broadcast::Sender<RightsChanged>,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            changes: RwLock::new(Changes { latest: Generation(0), floor: Generation(0), of: HashMap::new() }),
            subscribers: broadcast::Sender::new(CHANNEL_CAPACITY),
            operators: broadcast::Sender::new(CHANNEL_CAPACITY),
        }
    }
}

impl Rights {
    /// Returns the current generation. Call this before reading the database.
    pub fn generation(&self) -> Generation {
        self.changes.read().latest
    }

    /// Whether a result read at this generation is current: no change of the user's rights was
    /// reported since. Without a user, only [`Rights::report_any`] outdates the result.
    pub fn is_current(&self, read_at: Generation, user: Option<UserId>) -> bool {
        let changes = self.changes.read();
        let latest = user.and_then(|user| changes.of.get(&user));
        read_at >= changes.floor && latest.is_none_or(|latest| read_at >= *latest)
    }

    /// Reports that the rights of a user, or of a key or session of the user, changed.
    pub fn report(&self, user: UserId) {
        let is_full = {
            let mut changes = self.changes.write();
            changes.latest.0 += 1;
            let latest = changes.latest;
            changes.of.insert(user, latest);
            changes.of.len() > MAX_CHANGES
        };
        if is_full {
            self.report_any();
        }
        // An error means that there is no subscriber.
        let _ = self.subscribers.send(RightsChanged::Of(user));
    }

    /// Reports that notifications may have been lost. This outdates all earlier results.
    pub fn report_any(&self) {
        {
            let mut changes = self.changes.write();
            changes.latest.0 += 1;
            changes.floor = changes.latest;
            changes.of.clear();
        }
        let _ = self.subscribers.send(RightsChanged::Any);
        let _ = self.operators.send(RightsChanged::Any);
    }

    /// Reports a change of rights that the operator did not make itself to the operator. Outdates
    /// nothing.
    pub fn report_to_operator(&self, user: UserId) {
        let _ = self.operators.send(RightsChanged::Of(user));
    }

    /// Subscribes to later changes.
    pub fn subscribe(&self) -> RightsChanges {
        RightsChanges(self.subscribers.subscribe())
    }

    /// Subscribes to later changes that the operator did not make itself.
    pub fn subscribe_as_operator(&self) -> RightsChanges {
        RightsChanges(self.operators.subscribe())
    }
}

/// A subscription to changes of rights.
pub struct RightsChanges(broadcast::Receiver<RightsChanged>);

impl RightsChanges {
    /// Waits for the next change. After a lag, returns [`RightsChanged::Any`].
    pub async fn next(&mut self) -> RightsChanged {
        match self.0.recv().await {
            Ok(changed) => changed,
            Err(broadcast::error::RecvError::Lagged(_)) => RightsChanged::Any,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Notifies other processes that the rights of a user changed. PostgreSQL sends the notification
/// when the transaction commits. `is_by_operator` says whether the operator made the change, so that
/// the operator need not be told.
pub(crate) async fn notify(conn: Conn<'_>, user: UserId, is_by_operator: bool) -> Result<(), Error> {
    let Conn::Pg(c) = conn else { return Ok(()) };
    let user = user.to_string();
    if is_by_operator {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(user).execute(c).await?;
    } else {
        sqlx::query("SELECT pg_notify($1, $2), pg_notify($3, $2)")
            .bind(CHANNEL)
            .bind(user)
            .bind(OPERATOR_CHANNEL)
            .execute(c)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_changes_outdate_all_earlier_results() {
        let rights = Rights::default();
        let before = rights.generation();
        for user in 0..=i64::try_from(MAX_CHANGES).unwrap() {
            rights.report(UserId(user));
        }
        assert!(!rights.is_current(before, Some(UserId(-1))));
        assert!(rights.changes.read().of.len() <= MAX_CHANGES);
    }
}
