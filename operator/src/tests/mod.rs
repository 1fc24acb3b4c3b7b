//! The logic of the operator on a mocked API server and a database in a file: claim, conflict,
//! pause, finalizer, takeover, failure. In milliseconds; `tests/` has the suites on a real one.

mod mock_api_server;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::runtime::{reflector, watcher::Event};
use paddock_accounts::{
    Accounts,
    passwords::PasswordPolicy,
    sessions::SessionKey,
    types::{Email, ManagedBy},
    users::User,
};
use paddock_crds::{ApiKey, ApiUser, OllamaModel};
use paddock_store::{OpenOptions, audit::Chain, clock::SystemClock, migrate};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc::unbounded_channel, watch};

use self::mock_api_server::{MockApiServer, Received};
use crate::{
    backoff::Backoff,
    context::{Context, Settings},
    object::{
        Guarded, Object,
        store::{ObjectStore, SyncState, Watch},
    },
    reconciler::reconcile,
    status::events::EventRecorder,
    user::UserReconciler,
};

const USER_PATH: &str = "/apis/paddock.dev/v1alpha1/namespaces/team-a/apiusers/ada";
const CLUSTER: &str = "cluster";

/// An operator between the mock and a database.
struct Operator {
    server: MockApiServer,
    accounts: Accounts,
    users: Arc<UserReconciler>,
    _folder: TempDir,
}

impl Operator {
    /// An operator whose cache has these users.
    async fn start(cached: &[ApiUser]) -> Self {
        let folder = TempDir::new().unwrap();
        let accounts = open_accounts(&folder).await;
        let server = MockApiServer::default();
        server.set_object(cached.last().map_or(Value::Null, |object| {
            let mut object = serde_json::to_value(object).unwrap();
            object["metadata"]["finalizers"] = json!([]);
            object
        }));
        let client = server.client();
        let context = Context {
            events: EventRecorder::new(client.clone(), "test"),
            client,
            accounts: accounts.clone(),
            cluster_uid: CLUSTER.to_owned(),
            settings: Settings {
                admin_namespaces: BTreeSet::new(),
                adoption_namespaces: BTreeSet::new(),
                public_url: "http://paddock.test".to_owned(),
                model_registries: Vec::new(),
                pull_stall_timeout: Duration::from_mins(5),
            },
            backoff: Backoff::default(),
            permits: Semaphore::new(1),
            users: store(cached),
            keys: store::<ApiKey>(&[]),
            models: store::<OllamaModel>(&[]),
            key_count_changes: unbounded_channel().0,
        };
        Self { server, accounts, users: Arc::new(UserReconciler::new(Arc::new(context))), _folder: folder }
    }

    /// Reconciles the object and returns the requests that it caused.
    async fn reconcile(&self, object: &ApiUser) -> Vec<Received> {
        let _ = reconcile(Arc::new(kube::core::DeserializeGuard(Ok(object.clone()))), Arc::clone(&self.users)).await;
        self.server.take()
    }

    async fn user(&self, object: &ApiUser) -> Option<User> {
        self.accounts.managed().find_user(&owner(object)).await.unwrap()
    }
}

async fn open_accounts(folder: &TempDir) -> Accounts {
    let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
    let options = OpenOptions::new(url.into());
    migrate(&options).await.unwrap();
    let secret = "a secret of tests, which is long enough".into();
    let sessions = SessionKey::new(&secret, "HS256").unwrap();
    Accounts::open(&options, Chain::new(&secret), sessions, PasswordPolicy::default(), Arc::new(SystemClock))
        .await
        .unwrap()
}

fn store<K: Object>(objects: &[K]) -> ObjectStore<K> {
    let (store, mut writer) = reflector::store::<Guarded<K>>();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(kube::core::DeserializeGuard(Ok(object.clone()))));
    }
    writer.apply_watcher_event(&Event::InitDone);
    let (_, state) = watch::channel(SyncState::Synced);
    ObjectStore::new(vec![Watch { namespace: None, store, state, queue: unbounded_channel().0 }])
}

fn owner(object: &ApiUser) -> ManagedBy {
    let meta = &object.metadata;
    ManagedBy {
        cluster: CLUSTER.to_owned(),
        namespace: meta.namespace.clone().unwrap(),
        name: meta.name.clone().unwrap(),
        uid: meta.uid.clone().unwrap(),
    }
}

/// The object `ada` with this UID, and more metadata.
fn ada(uid: &str, metadata: &Value) -> ApiUser {
    let mut object = json!({
        "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiUser",
        "metadata": {"name": "ada", "namespace": "team-a", "uid": uid, "generation": 1, "resourceVersion": "1",
                     "creationTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {"email": "ada@example.com"}, "status": {"observedGeneration": -1},
    });
    for (name, value) in metadata.as_object().unwrap() {
        object["metadata"][name] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

/// The object with its finalizer.
fn claimed(uid: &str) -> ApiUser {
    ada(uid, &json!({"finalizers": ["paddock.dev/cleanup"]}))
}

fn lines(requests: &[Received]) -> Vec<String> {
    requests.iter().map(|request| request.line.replace(USER_PATH, "ada")).collect()
}

/// The status, reason and message of a condition that a request writes.
fn condition(request: &Received, type_: &str) -> Option<(String, String, String)> {
    let conditions = request.body["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

#[tokio::test]
async fn a_new_object_gets_its_finalizer_before_its_row_and_then_its_status() {
    let object = ada("u", &json!({}));
    let operator = Operator::start(std::slice::from_ref(&object)).await;
    let requests = operator.reconcile(&object).await;
    assert_eq!(lines(&requests), ["PATCH ada", "PATCH ada/status"]);
    assert_eq!(requests[0].body["metadata"]["finalizers"], json!(["paddock.dev/cleanup"]));
    assert_eq!(requests[0].body["metadata"]["uid"], "u");
    assert_eq!(condition(&requests[1], "Ready").unwrap().1, "Applied");
    assert_eq!(operator.user(&object).await.unwrap().email, Email::parse("ada@example.com").unwrap());
}

#[tokio::test]
async fn no_row_is_written_without_the_finalizer() {
    let object = ada("u", &json!({}));
    let operator = Operator::start(std::slice::from_ref(&object)).await;
    operator.server.answer("apiusers/ada", 500, json!("failed calling webhook"));
    assert_eq!(lines(&operator.reconcile(&object).await), ["PATCH ada"]);
    assert!(operator.user(&object).await.is_none());
}

#[tokio::test]
async fn a_failure_that_lasts_reaches_the_object() {
    let object = ada("u", &json!({}));
    let operator = Operator::start(std::slice::from_ref(&object)).await;
    operator.server.answer("apiusers/ada", 500, json!("failed calling webhook"));
    let mut requests = Vec::new();
    for _ in 0..6 {
        requests.extend(operator.reconcile(&object).await);
    }
    let report = requests.iter().find(|request| request.line.ends_with("/status")).expect("a report");
    let (status, reason, message) = condition(report, "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ApiServerError"));
    assert!(message.contains("failed calling webhook"), "{message}");
    assert_eq!(condition(report, "Reconciling").unwrap().0, "True");
    assert_eq!(condition(report, "Stalled"), None);
}

#[tokio::test]
async fn the_younger_of_two_objects_with_one_address_is_told_the_winner() {
    let older = ada("o", &json!({"namespace": "team-b", "creationTimestamp": "2026-01-01T00:00:00Z"}));
    let object = claimed("u");
    let operator = Operator::start(&[older, object.clone()]).await;
    let requests = operator.reconcile(&object).await;
    assert_eq!(lines(&requests), ["PATCH ada/status"]);
    let (status, reason, message) = condition(&requests[0], "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Conflict"));
    assert!(message.contains("team-b/ada"), "{message}");
    assert_eq!(condition(&requests[0], "Stalled").unwrap().0, "True");
    assert!(operator.user(&object).await.is_none());
}

#[tokio::test]
async fn a_paused_object_only_shows_its_pause() {
    let object = ada("u", &json!({"annotations": {"paddock.dev/paused": "true"}}));
    let operator = Operator::start(std::slice::from_ref(&object)).await;
    let requests = operator.reconcile(&object).await;
    assert_eq!(lines(&requests), ["PATCH ada/status"]);
    assert_eq!(condition(&requests[0], "Paused").unwrap().0, "True");
    assert_eq!(requests[0].body["status"]["observedGeneration"], -1);
    assert!(operator.user(&object).await.is_none());
}

#[tokio::test]
async fn a_deleted_object_loses_its_row_and_then_its_finalizer() {
    let object = claimed("u");
    let operator = Operator::start(std::slice::from_ref(&object)).await;
    operator.reconcile(&object).await;
    // A newer version than the one that the operator has written.
    let deleted = ada(
        "u",
        &json!({"finalizers": ["other", "paddock.dev/cleanup"], "deletionTimestamp": "2026-01-03T00:00:00Z",
                "resourceVersion": "3"}),
    );
    let requests = operator.reconcile(&deleted).await;
    assert_eq!(lines(&requests), ["PATCH ada"]);
    assert_eq!(requests[0].body["metadata"], json!({"finalizers": ["other"], "resourceVersion": "3"}));
    assert!(operator.user(&object).await.is_none());
    let released = ada("u", &json!({"deletionTimestamp": "2026-01-03T00:00:00Z", "resourceVersion": "4"}));
    assert!(operator.reconcile(&released).await.is_empty());
}

#[tokio::test]
async fn the_clean_up_can_be_skipped() {
    let object = claimed("u");
    let operator = Operator::start(std::slice::from_ref(&object)).await;
    operator.reconcile(&object).await;
    let stuck = ada(
        "u",
        &json!({"finalizers": ["paddock.dev/cleanup"], "deletionTimestamp": "2026-01-03T00:00:00Z",
                "annotations": {"paddock.dev/skip-cleanup": "true"}, "resourceVersion": "3"}),
    );
    assert_eq!(lines(&operator.reconcile(&stuck).await), ["PATCH ada"]);
    assert!(operator.user(&object).await.is_some());
}

#[tokio::test]
async fn only_the_current_object_takes_a_row_over() {
    let first = claimed("first");
    let operator = Operator::start(std::slice::from_ref(&first)).await;
    operator.reconcile(&first).await;
    // The API server knows a third object, so the second one is outdated.
    let second = claimed("second");
    operator.server.answer(&format!("GET {USER_PATH}"), 200, json!({"metadata": {"name": "ada", "uid": "third"}}));
    assert_eq!(lines(&operator.reconcile(&second).await)[0], "GET ada");
    assert_eq!(operator.user(&first).await.unwrap().managed_by.unwrap().uid, "first");
}

#[tokio::test]
async fn the_current_object_takes_a_row_over_and_keeps_its_id() {
    let first = claimed("first");
    let operator = Operator::start(std::slice::from_ref(&first)).await;
    operator.reconcile(&first).await;
    let id = operator.user(&first).await.unwrap().id;
    let second = claimed("second");
    operator.server.answer(&format!("GET {USER_PATH}"), 200, json!({"metadata": {"name": "ada", "uid": "second"}}));
    assert_eq!(lines(&operator.reconcile(&second).await), ["GET ada", "PATCH ada/status"]);
    let user = operator.user(&second).await.unwrap();
    assert_eq!((user.id, user.managed_by.unwrap().uid), (id, "second".to_owned()));
}
