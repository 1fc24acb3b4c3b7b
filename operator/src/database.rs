//! Reconciles objects when the database changes by another hand: the API changed the rights of a
//! user, or the database was replaced.

use std::{collections::HashSet, time::Duration};

use kube::ResourceExt;
use paddock_accounts::UserId;
use paddock_crds::{ApiKey, ApiUser};
use paddock_store::{DatabaseIdentity, error_chain, rights::RightsChanged};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::{context::Context, object::namespace_of};

/// How often the identity of the database is compared.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(3);
/// How long changes are collected before their objects are queued, so that many changes of one user
/// queue its objects once.
const COLLECT_INTERVAL: Duration = Duration::from_millis(300);

/// Queues the objects that a change in the database affects. Never returns.
pub(crate) async fn watch(context: &Context) {
    tokio::join!(watch_changes(context), watch_identity(context));
}

/// Queues the objects of users whose rights changed. When notifications may have been lost, queues
/// all objects.
async fn watch_changes(context: &Context) {
    let mut changes = context.accounts.authentication().changes_for_operator();
    loop {
        let mut users = HashSet::new();
        let mut is_any = !add(&mut users, changes.next().await);
        let deadline = Instant::now() + COLLECT_INTERVAL;
        while let Ok(changed) = timeout_at(deadline, changes.next()).await {
            is_any |= !add(&mut users, changed);
        }
        if is_any {
            enqueue_all(context);
        } else {
            enqueue_users(context, &users);
        }
    }
}

/// Adds the user of a change. Returns false if the change may concern any user.
fn add(users: &mut HashSet<i64>, changed: RightsChanged) -> bool {
    match changed {
        RightsChanged::Of(UserId(user)) => {
            users.insert(user);
            true
        }
        RightsChanged::Any => false,
    }
}

/// Compares the identity of the database with the earlier one, and queues all objects if it is
/// another database.
async fn watch_identity(context: &Context) {
    let mut known: Option<DatabaseIdentity> = None;
    let mut ticks = interval(IDENTITY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match context.accounts.database_identity().await {
            Ok(present) => {
                if known.as_ref().is_some_and(|known| !known.is_continued_by(&present)) {
                    tracing::warn!("the database was replaced by a new or an older one; reconciling every object");
                    metrics::counter!("paddock_database_replaced_total").increment(1);
                    enqueue_all(context);
                }
                known = Some(present);
            }
            Err(error) => tracing::debug!(error = error_chain(&error), "cannot read the identity of the database"),
        }
    }
}

/// Queues the objects of these users, and their keys.
fn enqueue_users(context: &Context, ids: &HashSet<i64>) {
    let is_concerned =
        |user: &ApiUser| user.status.as_ref().and_then(|status| status.user_id).is_some_and(|id| ids.contains(&id));
    let users = context.users.filter(is_concerned);
    let names: HashSet<(String, String)> =
        users.iter().map(|user| (namespace_of(user.as_ref()), user.name_any())).collect();
    for (namespace, name) in &names {
        context.users.enqueue(namespace, name);
    }
    let is_of_user = |key: &ApiKey| {
        let reference = &key.spec.user_ref;
        let namespace = reference.namespace.clone().unwrap_or_else(|| namespace_of(key));
        names.contains(&(namespace, reference.name.clone()))
    };
    for key in context.keys.filter(is_of_user) {
        context.keys.enqueue(&namespace_of(key.as_ref()), &key.name_any());
    }
}

fn enqueue_all(context: &Context) {
    for user in context.users.filter(|_| true) {
        context.users.enqueue(&namespace_of(user.as_ref()), &user.name_any());
    }
    for key in context.keys.filter(|_| true) {
        context.keys.enqueue(&namespace_of(key.as_ref()), &key.name_any());
    }
}
