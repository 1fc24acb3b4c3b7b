//! Runs the operator: start-up checks, leader election, watches and controllers.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    future::{join_all, pending},
};
use kube::{
    Client,
    runtime::{Controller, controller},
};
use paddock_accounts::Accounts;
use paddock_crds::label;
use paddock_ollama::BackendSource;
use paddock_store::error_chain;
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, unbounded_channel},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    client,
    config::{Config, OnLostLease},
    context::{Context, Settings},
    database,
    error::Error,
    key::{KeyReconciler, expiry::report_ending_keys},
    leader_election::Election,
    model::ModelReconciler,
    object::{Guarded, Object, store::ObjectStore},
    readiness::{Phase, Readiness},
    reconciler::{Reconciler, reconcile},
    status::events::EventRecorder,
    user::UserReconciler,
    watch::{owning_key, users_with_password, watch_objects, watch_secrets, watched_namespaces},
    watch_activity::{WatchActivity, WatchName},
};

/// How long changes of keys are collected before the key counts of their users are refreshed.
const KEY_COUNT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a watch may be silent before the leader gives the lease up. A watch that is silent for
/// 75 s is opened anew, so another instance may hear what this one does not.
const MAX_WATCH_SILENCE: Duration = Duration::from_secs(90);
/// How often the ages of the watches are measured.
const WATCH_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long an instance that gave the lease up leaves it to others. A standby tries every 2 to 3 s.
const STAND_DOWN_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the operator until `shutdown`, then lets running reconciles finish and releases the lease.
///
/// Waits without limit for the API server, the custom resource definitions and the lease;
/// `readiness` says what is missing. An instance that loses the lease, or gives it up because a
/// watch is silent, stops all writes. With [`OnLostLease::StandBy`] it then waits for the lease
/// again. Otherwise it fails with [`Error::LeaseLost`] or [`Error::Deaf`], and the process should
/// exit.
pub async fn run(
    config: Config,
    accounts: Accounts,
    ollama: BackendSource,
    shutdown: CancellationToken,
    readiness: Readiness,
) -> Result<(), Error> {
    readiness.set_phase(Phase::Connecting);
    let clients = Clients {
        requests: client::build_client(&config.kube)?,
        watches: client::build_watch_client(&config.kube, readiness.watches())?,
    };
    let election = Election::new(&config)?;
    let start_up_checks = async {
        let cluster_uid = client::fetch_cluster_uid(&clients.requests, &readiness).await;
        readiness.set_phase(Phase::WaitingForDefinitions);
        client::wait_for_definitions(&clients.requests, &watched_namespaces(&config)).await;
        ollama.resolve().await;
        cluster_uid
    };
    let Some(cluster_uid) = shutdown.run_until_cancelled(start_up_checks).await else { return Ok(()) };
    loop {
        let term = Term {
            config: &config,
            clients: &clients,
            cluster_uid: &cluster_uid,
            shutdown: &shutdown,
            readiness: &readiness,
        };
        let controllers = Box::pin(run_controllers(term, accounts.clone(), ollama.clone()));
        let result = election.run_as_leader(controllers, &clients.requests, &shutdown, &readiness).await;
        readiness.watches().clear();
        match result {
            Err(error) if config.on_lost_lease == OnLostLease::StandBy => {
                tracing::warn!(error = error_chain(&error), "all writes have stopped; waiting for the lease");
                if shutdown.run_until_cancelled(tokio::time::sleep(STAND_DOWN_INTERVAL)).await.is_none() {
                    return Ok(());
                }
            }
            result => return result,
        }
    }
}

/// The clients of the API server.
struct Clients {
    requests: Client,
    watches: Client,
}

/// What the controllers need while this instance is the leader.
#[derive(Clone, Copy)]
struct Term<'a> {
    config: &'a Config,
    clients: &'a Clients,
    cluster_uid: &'a str,
    shutdown: &'a CancellationToken,
    readiness: &'a Readiness,
}

/// Runs the controllers until the shutdown, or until a watch is silent for too long. Dropping the
/// future stops all of them at once.
async fn run_controllers(term: Term<'_>, accounts: Accounts, ollama: BackendSource) -> Result<(), Error> {
    let Term { config, clients, shutdown, readiness, .. } = term;
    tracing::info!(identity = %config.lease.identity, "became the leader");
    metrics::gauge!("paddock_leader").set(1.0);
    readiness.watches().clear();
    readiness.set_phase(Phase::Syncing);

    let (users, user_watches) = watch_objects(&clients.watches, config, readiness);
    let (keys, key_watches) = watch_objects(&clients.watches, config, readiness);
    let (models, model_watches) = watch_objects(&clients.watches, config, readiness);
    let (key_count_changes, changed_users) = unbounded_channel();
    let concurrency = config.concurrency.max(1);
    let context = Arc::new(Context {
        events: EventRecorder::new(clients.requests.clone(), &config.lease.identity),
        client: clients.requests.clone(),
        accounts,
        cluster_uid: term.cluster_uid.to_owned(),
        settings: Settings {
            admin_namespaces: config.admin_namespaces.clone(),
            adoption_namespaces: config.adoption_namespaces.clone(),
            public_url: config.public_url.clone(),
            model_registries: config.model_registries.clone(),
            pull_stall_timeout: config.pull_stall_timeout,
        },
        backoff: Backoff::default(),
        permits: Semaphore::new(concurrency),
        users: ObjectStore::new(user_watches),
        keys: ObjectStore::new(key_watches),
        models: ObjectStore::new(model_watches),
        key_count_changes,
    });
    let users = users.into_iter().zip(watched_namespaces(config)).map(|(controller, namespace)| {
        let secrets = watch_secrets(&clients.watches, namespace.as_deref(), label::PASSWORD, readiness);
        let context = Arc::clone(&context);
        controller.watches_stream(secrets, move |secret| users_with_password(&context, &secret))
    });
    let keys = keys.into_iter().zip(watched_namespaces(config)).map(|(controller, namespace)| {
        let secrets = watch_secrets(&clients.watches, namespace.as_deref(), label::MANAGED, readiness);
        controller.watches_stream(secrets, |secret| owning_key(&secret))
    });
    let model_reconciler = Arc::new(ModelReconciler::new(Arc::clone(&context), ollama, concurrency)?);
    let watched_backends = Arc::clone(&model_reconciler);
    let _stop_pulls = model_reconciler.stop_pulls_on_drop();

    let controllers = async {
        tokio::join!(
            run_kind(users.collect(), Arc::new(UserReconciler::new(Arc::clone(&context))), shutdown),
            run_kind(keys.collect(), Arc::new(KeyReconciler::new(Arc::clone(&context))), shutdown),
            run_kind(models, model_reconciler, shutdown),
        );
    };
    let drain_timeout = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.drain_timeout).await;
        tracing::warn!(timeout = ?config.drain_timeout, "stopping reconciles that still run after DRAIN_TIMEOUT");
    };
    tokio::select! {
        () = controllers => Ok(()),
        () = drain_timeout => Ok(()),
        () = refresh_key_counts(&context, changed_users) => Ok(()),
        () = report_synced(&context, readiness) => Ok(()),
        () = database::watch(&context) => Ok(()),
        () = report_ending_keys(&context) => Ok(()),
        () = watched_backends.watch_backends() => Ok(()),
        error = find_deaf_watch(readiness.watches()) => Err(error),
    }
}

/// Runs the controllers of one kind until the shutdown and until their running reconciles have
/// finished.
async fn run_kind<R: Reconciler>(
    controllers: Vec<Controller<Guarded<R::Object>>>,
    reconciler: Arc<R>,
    shutdown: &CancellationToken,
) {
    let runs = controllers.into_iter().map(|controller| {
        controller
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(reconcile::<R>, |_, never: &Infallible, _| match *never {}, Arc::clone(&reconciler))
            .for_each(async |result| match result {
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), kind = R::Object::KIND, "the controller failed");
                }
            })
    });
    join_all(runs).await;
}

/// Reconciles users whose keys have changed, once per [`KEY_COUNT_INTERVAL`].
async fn refresh_key_counts(context: &Context, mut changed_users: UnboundedReceiver<(String, String)>) {
    while let Some(first) = changed_users.recv().await {
        tokio::time::sleep(KEY_COUNT_INTERVAL).await;
        let mut users = HashSet::from([first]);
        while let Ok(user) = changed_users.try_recv() {
            users.insert(user);
        }
        for (namespace, name) in users {
            context.users.enqueue(&namespace, &name);
        }
    }
}

/// Sets [`Phase::Leading`] when all caches are complete. Never returns.
async fn report_synced(context: &Context, readiness: &Readiness) {
    context.wait_until_synced().await;
    readiness.set_phase(Phase::Leading);
    pending::<()>().await;
}

/// Reports the age of each watch. Returns when one has been silent for longer than
/// [`MAX_WATCH_SILENCE`].
async fn find_deaf_watch(watches: &WatchActivity) -> Error {
    loop {
        tokio::time::sleep(WATCH_CHECK_INTERVAL).await;
        for (WatchName { resource, namespace }, age) in watches.ages() {
            let labels = [("resource", resource), ("namespace", namespace.unwrap_or_default())];
            metrics::gauge!("paddock_watch_age_seconds", &labels).set(age.as_secs_f64());
        }
        if let Some((WatchName { resource, .. }, age)) = watches.oldest().filter(|(_, age)| *age > MAX_WATCH_SILENCE) {
            return Error::Deaf { resource, silence: age };
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_leader_with_a_deaf_watch_gives_the_lease_up() {
        let watches = WatchActivity::default();
        watches.start(WatchName::new("apiusers", None, None));
        let silent_since = Instant::now() - MAX_WATCH_SILENCE - Duration::from_secs(1);
        watches.start_at(WatchName::new("apikeys", None, Some("a")), silent_since);
        let Error::Deaf { resource, silence } = find_deaf_watch(&watches).await else { panic!("not deaf") };
        assert_eq!(resource, "apikeys");
        assert!(silence > MAX_WATCH_SILENCE);
    }
}
