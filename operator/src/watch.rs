//! The watches of the three kinds and of the Secrets, one per kind and namespace.

use futures_util::{Stream, StreamExt, future::ready, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt,
        reflector::{self, ObjectRef},
        watcher::{self, watcher},
    },
};
use paddock_crds::{ApiKey, ApiUser};
use paddock_store::error_chain;
use tokio::sync::{
    mpsc::{UnboundedReceiver, unbounded_channel},
    watch,
};

use crate::{
    access, client,
    config::Config,
    context::Context,
    object::{
        Guarded, Object,
        field_manager::trim,
        namespace_of,
        store::{SyncState, Watch},
    },
    readiness::Readiness,
    user::password::uses_secret,
    watch_activity::WatchName,
};

/// The `ClusterRole` that a watched namespace needs a binding for.
const ROLE: &str = "paddock-operator";

/// Returns the namespaces to watch. `None` stands for all.
pub(crate) fn watched_namespaces(config: &Config) -> Vec<Option<String>> {
    if config.watch_namespaces.is_empty() {
        return vec![None];
    }
    config.watch_namespaces.iter().cloned().map(Some).collect()
}

/// Starts the watches of one kind, one per namespace. A namespace that the operator may not watch
/// does not hold up the others.
pub(crate) fn watch_objects<K: Object>(
    client: &Client,
    config: &Config,
    readiness: &Readiness,
) -> (Vec<Controller<Guarded<K>>>, Vec<Watch<K>>) {
    let watches = watched_namespaces(config).into_iter().map(|namespace| {
        let api = client::api_in::<Guarded<K>>(client, namespace.as_deref());
        let (store, writer) = reflector::store();
        let (set_state, state) = watch::channel(SyncState::Syncing);
        let name = WatchName::new(&K::plural(&()), None, namespace.as_deref());
        let events = report_errors(watcher(api, watcher::Config::default()).default_backoff(), name, readiness);
        let objects = events
            .inspect(move |event| match event {
                Ok(watcher::Event::InitDone) => {
                    set_state.send_replace(SyncState::Synced);
                }
                Err(error) if forbidden(error) => {
                    set_state.send_if_modified(|state| {
                        let is_first = *state == SyncState::Syncing;
                        *state = if is_first { SyncState::Forbidden } else { *state };
                        is_first
                    });
                }
                _ => {}
            })
            .modify(|object| trim(object.meta_mut()))
            .reflect(writer)
            .applied_objects();
        let (queue, queued) = unbounded_channel();
        let controller =
            Controller::for_stream(without_errors(objects), store.clone()).reconcile_on(into_stream(queued));
        (controller, Watch { namespace, store, state, queue })
    });
    watches.unzip()
}

/// Watches the metadata of the Secrets with this label. Their data stays on the API server.
pub(crate) fn watch_secrets(
    client: &Client,
    namespace: Option<&str>,
    label: &str,
    readiness: &Readiness,
) -> impl Stream<Item = Result<PartialObjectMeta<Secret>, watcher::Error>> + Send + use<> {
    let labelled = watcher::Config::default().labels(&format!("{label}=true"));
    let secrets = watcher(client::api_in::<PartialObjectMeta<Secret>>(client, namespace), labelled).default_backoff();
    let name = WatchName::new(&Secret::plural(&()), Some(label), namespace);
    without_errors(report_errors(secrets, name, readiness).touched_objects())
}

/// Returns the `ApiKey` that owns the Secret.
pub(crate) fn owning_key(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<Guarded<ApiKey>>> {
    let owner = secret.owner_references().iter().find(|owner| owner.kind == ApiKey::KIND)?;
    Some(ObjectRef::new(&owner.name).within(&secret.namespace()?))
}

/// Returns the `ApiUser` objects whose password is in the Secret.
pub(crate) fn users_with_password(
    context: &Context,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<Guarded<ApiUser>>> {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let users = context.users.filter(|user| namespace_of(user) == namespace && uses_secret(user, &name));
    users.iter().map(|user| ObjectRef::new(&user.name_any()).within(&namespace)).collect()
}

/// Logs the errors of a watch, and records its activity and the right that it lacks.
fn report_errors<E, S>(
    events: S,
    name: WatchName,
    readiness: &Readiness,
) -> impl Stream<Item = Result<watcher::Event<E>, watcher::Error>> + Send + use<E, S>
where
    S: Stream<Item = Result<watcher::Event<E>, watcher::Error>> + Send,
{
    readiness.watches().start(name.clone());
    readiness.set_grant(&name, None);
    let readiness = readiness.clone();
    events.inspect(move |event| {
        let WatchName { resource, namespace } = &name;
        let Err(error) = event else {
            if readiness.set_grant(&name, None) {
                tracing::info!(resource, namespace, "the missing right was granted");
            }
            return;
        };
        if let Some(missing) = forbidden_text(error, namespace.as_deref()) {
            if readiness.set_grant(&name, Some(&missing)) {
                tracing::error!(
                    error = missing,
                    resource,
                    namespace,
                    "a right is missing; other namespaces are reconciled"
                );
            }
        } else {
            tracing::warn!(error = error_chain(error), resource, namespace, "cannot watch; retrying");
        }
    })
}

/// Drops the errors of a watch, which [`report_errors`] has reported. The watch retries.
fn without_errors<T: Send, S: Stream<Item = Result<T, watcher::Error>> + Send>(
    objects: S,
) -> impl Stream<Item = Result<T, watcher::Error>> + Send + use<T, S> {
    objects.filter(|object| ready(object.is_ok()))
}

fn forbidden(error: &watcher::Error) -> bool {
    forbidden_text(error, None).is_some()
}

/// Describes the missing right if the API server forbids the watch.
fn forbidden_text(error: &watcher::Error, namespace: Option<&str>) -> Option<String> {
    let status = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => access::forbidden(error)?,
        watcher::Error::WatchError(status) if status.code == 403 => status,
        _ => return None,
    };
    Some(access::describe(status, ROLE, namespace))
}

fn into_stream<T: Send + 'static>(receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|item| (item, receiver)))
}
