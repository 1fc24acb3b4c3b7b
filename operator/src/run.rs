//! The operator from its start to its end.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, pending};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use k8s_controller::LeaderElection;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Controller as Watcher, WatchStreamExt};
use kube::{Api, Client, ResourceExt};
use paddock_accounts::Accounts;
use paddock_crds::{ApiKey, label};
use paddock_ollama::Client as Ollama;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{self, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::Error;
use crate::events::Events;
use crate::frame::{Controller, Guarded, look};
use crate::key::KeyController;
use crate::model::ModelController;
use crate::object::Object;
use crate::readiness::{Phase, Readiness};
use crate::shared::{Objects, Settings, Shared, Watch};
use crate::user::UserController;

/// How long changed keys are gathered before their users show a new count.
const GATHER: Duration = Duration::from_secs(2);

/// Runs the operator until `shutdown`, then lets what is under way end and gives up the lease.
///
/// It waits for the API server, for its custom resource definitions and for the lease, as long as that takes, and says by
/// `readiness` what it lacks. Ends with [`Error::LeaseLost`] when another instance leads: nothing of it writes any more
/// then, and the process should end.
pub async fn run(
    config: Config,
    accounts: Accounts,
    ollama: Vec<Ollama>,
    shutdown: CancellationToken,
    readiness: Readiness,
) -> Result<(), Error> {
    readiness.enter(Phase::Connecting);
    let client = access::client(&config.kube)?;
    let lease = &config.lease;
    let election =
        LeaderElection::new(access::lease_client(&config.kube)?, &lease.namespace, &lease.name, &lease.identity);
    let found = async {
        let cluster = access::cluster_uid(&client).await;
        readiness.enter(Phase::WaitingForDefinitions);
        access::definitions(&client, &namespaces(&config)).await;
        cluster
    };
    let Some(cluster) = shutdown.run_until_cancelled(found).await else { return Ok(()) };
    readiness.enter(Phase::StandingBy);
    metrics::gauge!("paddock_leader").set(0.0);

    let stood_down = async {
        shutdown.cancelled().await;
        if readiness.leads() {
            pending::<()>().await;
        }
    };
    let leading = election.with_lease(lead(&config, client, accounts, ollama, cluster, &shutdown, &readiness));
    tokio::select! {
        outcome = leading => {
            metrics::gauge!("paddock_leader").set(0.0);
            outcome.ok_or(Error::LeaseLost)
        }
        () = stood_down => {
            // Taken at this very moment, perhaps.
            election.release().await;
            Ok(())
        }
    }
}

/// Runs the controllers until the shutdown. Dropped, it stops all of them at once.
async fn lead(
    config: &Config,
    client: Client,
    accounts: Accounts,
    ollama: Vec<Ollama>,
    cluster: String,
    shutdown: &CancellationToken,
    readiness: &Readiness,
) {
    tracing::info!(identity = %config.lease.identity, "leading");
    metrics::gauge!("paddock_leader").set(1.0);
    readiness.enter(Phase::Syncing);

    let (users, user_watches) = watch(&client, config);
    let (keys, key_watches) = watch(&client, config);
    let (models, model_watches) = watch(&client, config);
    let (key_counts, changed_counts) = unbounded_channel();
    let concurrency = config.concurrency.max(1);
    let shared = Arc::new(Shared {
        events: Events::new(client.clone(), &config.lease.identity),
        client,
        accounts,
        cluster,
        settings: Settings {
            admin_namespaces: config.admin_namespaces.clone(),
            public_url: config.public_url.clone(),
            model_registries: config.model_registries.clone(),
        },
        backoff: Backoff::default(),
        slots: Semaphore::new(concurrency),
        users: Objects::new(user_watches),
        keys: Objects::new(key_watches),
        models: Objects::new(model_watches),
        key_counts,
    });
    let keys = keys.into_iter().zip(namespaces(config)).map(|(watcher, namespace)| {
        let secrets = secrets(&shared.client, namespace.as_deref());
        watcher.watches_stream(secrets, |secret| owner_of(&secret))
    });
    let model_controller = Arc::new(ModelController::new(Arc::clone(&shared), ollama, concurrency));
    let _pulls_end_with_this = model_controller.stop_pulls_on_drop();

    let work = async {
        tokio::join!(
            drive(users, Arc::new(UserController::new(Arc::clone(&shared))), shutdown),
            drive(keys.collect(), Arc::new(KeyController::new(Arc::clone(&shared))), shutdown),
            drive(models, model_controller, shutdown),
        );
    };
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.drain_timeout).await;
        tracing::warn!("work was still under way at the end of DRAIN_TIMEOUT");
    };
    tokio::select! {
        () = work => {}
        () = drained => {}
        () = count_keys(&shared, changed_counts) => {}
        () = tell_when_synced(&shared, readiness) => {}
    }
}

/// The namespaces to watch; none stands for all.
fn namespaces(config: &Config) -> Vec<Option<String>> {
    if config.watch_namespaces.is_empty() {
        return vec![None];
    }
    config.watch_namespaces.iter().cloned().map(Some).collect()
}

/// Watches of one kind, one for each namespace.
fn watch<K: Object>(client: &Client, config: &Config) -> (Vec<Watcher<Guarded<K>>>, Vec<Watch<K>>) {
    let watches = namespaces(config).into_iter().map(|namespace| {
        let api: Api<Guarded<K>> = access::api(client, namespace.as_deref());
        let (store, writer) = reflector::store();
        let (tell_synced, synced) = sync::watch::channel(false);
        let objects = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .inspect_ok(move |event| {
                if matches!(event, watcher::Event::InitDone) {
                    tell_synced.send_replace(true);
                }
            })
            .applied_objects();
        let (wake, woken) = unbounded_channel();
        let watcher = Watcher::for_stream(objects, store.clone()).reconcile_on(received(woken));
        (watcher, Watch { namespace, store, synced, wake })
    });
    watches.unzip()
}

/// Runs one controller over its watches until the shutdown, and then until what is under way has ended.
async fn drive<C: Controller>(
    watchers: Vec<Watcher<Guarded<C::Object>>>,
    controller: Arc<C>,
    shutdown: &CancellationToken,
) {
    let runs = watchers.into_iter().map(|watcher| {
        watcher
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(look::<C>, |_, never: &Infallible, _| match *never {}, Arc::clone(&controller))
            .for_each(async |result| match result {
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(%error, kind = C::Object::KIND, "the watch was interrupted"),
            })
    });
    join_all(runs).await;
}

/// The Secrets we manage, without what they hold.
fn secrets(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<PartialObjectMeta<Secret>, watcher::Error>> + use<> {
    let ours = watcher::Config::default().labels(&format!("{}=true", label::MANAGED));
    watcher(access::api::<PartialObjectMeta<Secret>>(client, namespace), ours).default_backoff().touched_objects()
}

/// The key that the Secret is for.
fn owner_of(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<Guarded<ApiKey>>> {
    let owner = secret.owner_references().iter().find(|owner| owner.kind == ApiKey::KIND)?;
    Some(ObjectRef::new(&owner.name).within(&secret.namespace()?))
}

/// Has users whose keys changed looked at, each once for many changes.
async fn count_keys(shared: &Shared, mut changed: UnboundedReceiver<(String, String)>) {
    while let Some(first) = changed.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut users = HashSet::from([first]);
        while let Ok(user) = changed.try_recv() {
            users.insert(user);
        }
        for (namespace, name) in users {
            shared.users.wake(&namespace, &name);
        }
    }
}

async fn tell_when_synced(shared: &Shared, readiness: &Readiness) {
    let synced = pin!(async {
        tokio::join!(shared.users.synced(), shared.keys.synced(), shared.models.synced());
    });
    synced.await;
    readiness.enter(Phase::Leading);
    pending::<()>().await;
}

fn received<T: Send + 'static>(receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|item| (item, receiver)))
}
