//! The operator on a real API server: the life of each kind, conflicts, crashes, and the shipped
//! RBAC rules.

#![allow(clippy::large_futures, reason = "each future is created once, for one test")]

mod connections;
mod crash;
mod crash_points;
mod failures;
mod grants;
mod key_secrets;
mod keys;
mod kstatus;
mod leaks;
mod models;
mod names;
mod outages;
mod passwords;
mod privileges;
mod random_kills;
mod rbac;
mod restored;
mod schema;
mod truth;
mod undelivered;
mod users;
mod warnings;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{NamespaceResourceScope, object::HasStatus},
};
use paddock_accounts::{
    Accounts, CredentialId, credentials::SecretState, passwords::PasswordPolicy, sessions::SessionKey,
};
use paddock_crds::{ApiKey, ApiUser, HasConditions, OllamaModel, annotation, data};
use paddock_store::{
    OpenOptions,
    audit::{AuditFilter, AuditRow, Chain},
    clock::SystemClock,
    migrate,
};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    kubernetes::Kubernetes,
    paddock::{Launch, Paddock},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use self::grants::OperatorAccount;

/// The time in which an expected event must happen. On an idle machine it takes a second or two.
const EVENT_TIMEOUT: Duration = Duration::from_mins(1);
/// An address where no server listens.
const NO_OLLAMA: &str = "http://127.0.0.1:1";

/// A kind of Paddock's.
trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: HasConditions + Clone + Debug>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl Kind for ApiUser {}
impl Kind for ApiKey {}
impl Kind for OllamaModel {}

/// A namespace of the shared cluster, a database, and its accounts.
struct ClusterFixture {
    kubernetes: &'static Kubernetes,
    client: Client,
    namespace: String,
    account: OperatorAccount,
    database: Database,
    accounts: Accounts,
}

impl ClusterFixture {
    async fn start() -> Result<Self> {
        Self::on(Kubernetes::shared().await?).await
    }

    async fn on(kubernetes: &'static Kubernetes) -> Result<Self> {
        let database = Database::new(Engine::Postgres).await?;
        let options = OpenOptions { max_connections: 4, ..OpenOptions::new(database.url().into()) };
        migrate(&options).await?;
        let secret = "another secret of tests, long enough".into();
        let sessions = SessionKey::new(&secret, "HS256")?;
        let accounts =
            Accounts::open(&options, Chain::new(&secret), sessions, PasswordPolicy::default(), Arc::new(SystemClock))
                .await?;
        let (client, namespace) = (kubernetes.client().await?, kubernetes.namespace().await?);
        let account = OperatorAccount::create(kubernetes, &namespace).await?;
        account.grant(&namespace).await?;
        Ok(Self { kubernetes, client, namespace, account, database, accounts })
    }

    /// The launch of an operator that watches this namespace only, with the chart's rights.
    fn launch(&self) -> Result<Launch> {
        self.launch_with(&["operator", "--context", "paddock-tests"])
    }

    /// The same with another command.
    fn launch_with(&self, arguments: &[&str]) -> Result<Launch> {
        Ok(Launch::new(arguments, self.database.url())?
            .ollama(NO_OLLAMA)
            .env("KUBECONFIG", &self.account.kubeconfig().display().to_string())
            .env("PUBLIC_URL", "http://paddock.test:8080")
            .env("WATCH_NAMESPACES", &self.namespace)
            .env("LEASE_NAMESPACE", &self.namespace)
            // The same identity, so that it leads again at once after a crash.
            .env("LEASE_IDENTITY", "the-operator"))
    }

    async fn start_operator(&self) -> Result<Paddock> {
        self.launch()?.start().await
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K: Kind>(&self, name: &str, spec: Value) -> Result<K> {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
        });
        Ok(self.api::<K>().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// Creates a user and its key, with the Secret `<name>-apikey`, and waits until both are Ready.
    async fn user_with_key(&self, name: &str) -> Result<ApiKey> {
        self.create::<ApiUser>(name, json!({"email": format!("{name}@example.com")})).await?;
        self.create::<ApiKey>(name, json!({"userRef": {"name": name}})).await?;
        self.wait_for_ready::<ApiUser>(name, "True", "Applied").await?;
        self.wait_for_ready::<ApiKey>(name, "True", "Issued").await
    }

    /// Applies a merge patch.
    async fn merge_patch<K: Kind>(&self, name: &str, patch: Value) -> Result<K> {
        Ok(self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Deletes an object and waits until it is gone.
    async fn delete<K: Kind>(&self, name: &str) -> Result<()> {
        self.api::<K>().delete(name, &DeleteParams::default()).await?;
        self.wait_until_gone::<K>(name).await
    }

    /// Waits until `Ready` has this status and reason for the present generation.
    async fn wait_for_ready<K: Kind>(&self, name: &str, status: &str, reason: &str) -> Result<K> {
        let what = format!("{} {name} to be Ready={status} {reason}", K::kind(&()));
        eventually(&what, EVENT_TIMEOUT, async || {
            let object = self.api::<K>().get(name).await?;
            let ready = object.status().and_then(|status| status.condition("Ready")).cloned();
            let fits = ready.as_ref().is_some_and(|c| {
                c.status == status && c.reason == reason && c.observed_generation == object.meta().generation
            });
            if fits { Ok(object) } else { Err(anyhow::anyhow!("{ready:?}")) }
        })
        .await
    }

    /// Waits until the object says that it is not applied, and that the operator tries again by
    /// itself. Returns the message of `Ready`.
    async fn wait_for_retried<K: Kind>(&self, name: &str, reasons: &[&str]) -> Result<String> {
        let what = format!("{} {name} to be tried again: {reasons:?}", K::kind(&()));
        eventually(&what, EVENT_TIMEOUT, async || {
            let status = self.api::<K>().get(name).await?.status().cloned().context("no status")?;
            let condition = |type_: &str| status.condition(type_).cloned();
            let ready = condition("Ready").context("no Ready")?;
            ensure!(ready.status == "False" && reasons.contains(&ready.reason.as_str()), "{ready:?}");
            ensure!(condition("Reconciling").is_some_and(|c| c.status == "True"), "{status:?}");
            ensure!(condition("Stalled").is_none(), "{status:?}");
            Ok(ready.message)
        })
        .await
    }

    /// Waits until an object that is being deleted is gone.
    async fn wait_until_gone<K: Kind>(&self, name: &str) -> Result<()> {
        let api = self.api::<K>();
        eventually(&format!("{} {name} to go", K::kind(&())), EVENT_TIMEOUT, async || match api.get_opt(name).await? {
            None => Ok(()),
            Some(object) => Err(anyhow::anyhow!("{:?}", object.status())),
        })
        .await
    }

    /// The data of a Secret, as text.
    async fn secret_data(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let secret = self.secrets().get(name).await?;
        let texts = secret.data.into_iter().flatten().map(|(key, bytes)| Ok((key, String::from_utf8(bytes.0)?)));
        texts.collect()
    }

    /// Waits until [`Self::assert_consistent`] holds, and returns the id of the key in the Secret.
    async fn wait_until_consistent(&self, name: &str) -> Result<String> {
        eventually(&format!("key {name} to be consistent"), EVENT_TIMEOUT, async || self.assert_consistent(name).await)
            .await
    }

    /// Asserts that the `ApiKey` has exactly one active version and none staged, and that its
    /// Secret holds the active one, which is accepted. Returns the id of the key in the Secret.
    async fn assert_consistent(&self, name: &str) -> Result<String> {
        let key = self.api::<ApiKey>().get(name).await?;
        let status = key.status.context("no status")?;
        ensure!(status.condition("Ready").is_some_and(|c| c.status == "True"), "{:?}", status.conditions);
        let id = CredentialId(status.credential_id.context("no credential")?);
        let secret_name = status.secret_name.context("no secret name")?;
        let (content, secret) = (self.secret_data(&secret_name).await?, self.secrets().get(&secret_name).await?);
        let versions = self.accounts.credentials().secrets(id).await?;
        let of_state = |state| versions.iter().filter(move |version| version.state == state).collect::<Vec<_>>();
        ensure!(of_state(SecretState::Staged).is_empty(), "a staged version is left: {versions:?}");
        let [active] = of_state(SecretState::Active)[..] else { anyhow::bail!("not one active: {versions:?}") };
        ensure!(content[data::KEY_ID] == active.key_id, "the Secret holds {}", content[data::KEY_ID]);
        let version = secret.annotations().get(annotation::VERSION_ID).cloned();
        ensure!(version == Some(active.id.to_string()), "the Secret bears {version:?}");
        ensure!(status.prefix == Some(active.prefix()), "status shows {:?}", status.prefix);
        self.assert_accepted(&content[data::API_KEY]).await?;
        Ok(active.key_id.clone())
    }

    /// Asserts that the key is accepted.
    async fn assert_accepted(&self, key: &str) -> Result<()> {
        let refused = self.accounts.authentication().authenticate(&key.into()).await?.err();
        ensure!(refused.is_none(), "the key is refused: {refused:?}");
        Ok(())
    }

    /// The types of all audit events, oldest first.
    async fn audit_events(&self) -> Result<Vec<String>> {
        let mut rows = self.accounts.audit().list(&AuditFilter::default(), 500, AuditRow::owned).await?;
        rows.reverse();
        Ok(rows.into_iter().map(|row| row.event_type).collect())
    }

    /// The reasons of the events about an object, oldest first.
    async fn event_reasons(&self, kind: &str, name: &str) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut all = events.list(&ListParams::default()).await?.items;
        all.retain(|event| {
            let regarding = event.regarding.as_ref();
            regarding.is_some_and(|r| r.kind.as_deref() == Some(kind) && r.name.as_deref() == Some(name))
        });
        all.sort_by_key(|event| event.event_time.clone());
        Ok(all.into_iter().filter_map(|event| event.reason).collect())
    }

    /// The kind, name and version of every object that the operator has written in the namespace.
    async fn resource_versions(&self) -> Result<Vec<(String, Option<String>)>> {
        fn of<K: Resource<DynamicType = ()>>(objects: Vec<K>) -> impl Iterator<Item = (String, Option<String>)> {
            objects.into_iter().map(|o| (format!("{} {}", K::kind(&()), o.name_any()), o.resource_version()))
        }
        let every = ListParams::default();
        let users = of(self.api::<ApiUser>().list(&every).await?.items);
        let keys = of(self.api::<ApiKey>().list(&every).await?.items);
        let models = of(self.api::<OllamaModel>().list(&every).await?.items);
        let secrets = of(self.secrets().list(&every).await?.items);
        Ok(users.chain(keys).chain(models).chain(secrets).collect())
    }
}
