//! Runs the operator: start-up checks, leader election, watches and controllers.

use std::{collections::HashSet, convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    Stream, StreamExt, TryStreamExt,
    future::{join_all, pending},
    stream,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt, controller,
        reflector::{self, ObjectRef},
        watcher::{self, watcher},
    },
};
use paddock_accounts::Accounts;
use paddock_crds::{ApiKey, ApiUser, label};
use paddock_ollama::Client as Ollama;
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, unbounded_channel},
    watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    client,
    config::Config,
    context::{Context, Settings},
    database,
    error::Error,
    key::{KeyReconciler, expiry::report_ending_keys},
    leader_election,
    model::ModelReconciler,
    object::{
        Guarded, Object, namespace_of,
        store::{ObjectStore, Watch},
    },
    readiness::{Phase, Readiness},
    reconciler::{Reconciler, reconcile},
    status::events::EventRecorder,
    user::{UserReconciler, password::uses_secret},
};

/// How long changes of keys are collected before the key counts of their users are refreshed.
const KEY_COUNT_INTERVAL: Duration = Duration::from_secs(2);

/// Runs the operator until `shutdown`, then lets running reconciles finish and releases the lease.
///
/// Waits without limit for the API server, the custom resource definitions and the lease;
/// `readiness` says what is missing. Fails with [`Error::LeaseLost`] if another instance becomes
/// the leader. All writes have stopped then, and the process should exit.
pub async fn run(
    config: Config,
    accounts: Accounts,
    ollama: Vec<Ollama>,
    shutdown: CancellationToken,
    readiness: Readiness,
) -> Result<(), Error> {
    readiness.set_phase(Phase::Connecting);
    let client = client::build_client(&config.kube)?;
    let election = leader_election::build(&config)?;
    let start_up_checks = async {
        let cluster_uid = client::fetch_cluster_uid(&client).await;
        readiness.set_phase(Phase::WaitingForDefinitions);
        client::wait_for_definitions(&client, &watched_namespaces(&config)).await;
        cluster_uid
    };
    let Some(cluster_uid) = shutdown.run_until_cancelled(start_up_checks).await else { return Ok(()) };
    let controllers = Box::pin(run_controllers(&config, client, accounts, ollama, cluster_uid, &shutdown, &readiness));
    leader_election::run_as_leader(&election, controllers, &shutdown, &readiness).await
}

/// Runs the controllers until the shutdown. Dropping the future stops all of them at once.
async fn run_controllers(
    config: &Config,
    client: Client,
    accounts: Accounts,
    ollama: Vec<Ollama>,
    cluster_uid: String,
    shutdown: &CancellationToken,
    readiness: &Readiness,
) {
    tracing::info!(identity = %config.lease.identity, "became the leader");
    metrics::gauge!("paddock_leader").set(1.0);
    readiness.set_phase(Phase::Syncing);

    let (users, user_watches) = watch_objects(&client, config);
    let (keys, key_watches) = watch_objects(&client, config);
    let (models, model_watches) = watch_objects(&client, config);
    let (key_count_changes, changed_users) = unbounded_channel();
    let concurrency = config.concurrency.max(1);
    let context = Arc::new(Context {
        events: EventRecorder::new(client.clone(), &config.lease.identity),
        client,
        accounts,
        cluster_uid,
        settings: Settings {
            admin_namespaces: config.admin_namespaces.clone(),
            adoption_namespaces: config.adoption_namespaces.clone(),
            public_url: config.public_url.clone(),
            model_registries: config.model_registries.clone(),
        },
        backoff: Backoff::default(),
        permits: Semaphore::new(concurrency),
        users: ObjectStore::new(user_watches),
        keys: ObjectStore::new(key_watches),
        models: ObjectStore::new(model_watches),
        key_count_changes,
    });
    let users = users.into_iter().zip(watched_namespaces(config)).map(|(controller, namespace)| {
        let secrets = watch_secrets(&context.client, namespace.as_deref(), label::PASSWORD);
        let context = Arc::clone(&context);
        controller.watches_stream(secrets, move |secret| users_with_password(&context, &secret))
    });
    let keys = keys.into_iter().zip(watched_namespaces(config)).map(|(controller, namespace)| {
        let secrets = watch_secrets(&context.client, namespace.as_deref(), label::MANAGED);
        controller.watches_stream(secrets, |secret| owning_key(&secret))
    });
    let model_reconciler = Arc::new(ModelReconciler::new(Arc::clone(&context), ollama, concurrency));
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
        () = controllers => {}
        () = drain_timeout => {}
        () = refresh_key_counts(&context, changed_users) => {}
        () = report_synced(&context, readiness) => {}
        () = database::watch(&context) => {}
        () = report_ending_keys(&context) => {}
    }
}

/// Returns the namespaces to watch. `None` stands for all.
fn watched_namespaces(config: &Config) -> Vec<Option<String>> {
    if config.watch_namespaces.is_empty() {
        return vec![None];
    }
    config.watch_namespaces.iter().cloned().map(Some).collect()
}

/// Starts the watches of one kind, one per namespace.
fn watch_objects<K: Object>(client: &Client, config: &Config) -> (Vec<Controller<Guarded<K>>>, Vec<Watch<K>>) {
    let watches = watched_namespaces(config).into_iter().map(|namespace| {
        let api: Api<Guarded<K>> = client::api_in(client, namespace.as_deref());
        let (store, writer) = reflector::store();
        let (set_synced, is_synced) = watch::channel(false);
        let objects = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .inspect_ok(move |event| {
                if matches!(event, watcher::Event::InitDone) {
                    set_synced.send_replace(true);
                }
            })
            .applied_objects();
        let (queue, queued) = unbounded_channel();
        let controller = Controller::for_stream(objects, store.clone()).reconcile_on(into_stream(queued));
        (controller, Watch { namespace, store, is_synced, queue })
    });
    watches.unzip()
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
                Err(error) => tracing::warn!(%error, kind = R::Object::KIND, "cannot watch objects"),
            })
    });
    join_all(runs).await;
}

/// Watches the metadata of the Secrets with this label. Their data stays on the API server.
fn watch_secrets(
    client: &Client,
    namespace: Option<&str>,
    label: &str,
) -> impl Stream<Item = Result<PartialObjectMeta<Secret>, watcher::Error>> + use<> {
    let labelled = watcher::Config::default().labels(&format!("{label}=true"));
    watcher(client::api_in::<PartialObjectMeta<Secret>>(client, namespace), labelled).default_backoff().touched_objects()
}

/// Returns the `ApiUser` objects whose password is in the Secret.
fn users_with_password(context: &Context, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<Guarded<ApiUser>>> {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let users = context.users.filter(|user| namespace_of(user) == namespace && uses_secret(user, &name));
    users.iter().map(|user| ObjectRef::new(&user.name_any()).within(&namespace)).collect()
}

/// Returns the `ApiKey` that owns the Secret.
fn owning_key(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<Guarded<ApiKey>>> {
    let owner = secret.owner_references().iter().find(|owner| owner.kind == ApiKey::KIND)?;
    Some(ObjectRef::new(&owner.name).within(&secret.namespace()?))
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
    let synced = pin!(async {
        tokio::join!(
            context.users.wait_until_synced(),
            context.keys.wait_until_synced(),
            context.models.wait_until_synced()
        );
    });
    synced.await;
    readiness.set_phase(Phase::Leading);
    pending::<()>().await;
}

fn into_stream<T: Send + 'static>(receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|item| (item, receiver)))
}
