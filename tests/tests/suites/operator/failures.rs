//! Trouble that lasts is told by the object, and ends with its cause: the database away, Ollama
//! away, a missing right, an admission policy, a taken name.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Secret,
    rbac::v1::Role,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, OllamaModel, annotation};
use paddock_tests::{
    chaos_proxy::ChaosProxy, eventually::eventually, ollama::Ollama, paddock::Paddock, registry::Registry, story::story,
};
use serde_json::{Value, json};

use super::{ClusterFixture, EVENT_TIMEOUT};

/// The time from a cure to the next try, and what the try may take on a busy machine.
const CURE_TIMEOUT: Duration = Duration::from_secs(15 + 10);

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_told_and_its_return_is_noticed() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let port = cluster.database.url().rsplit_once(':').and_then(|(_, rest)| rest.split('/').next());
        let proxy = ChaosProxy::start("127.0.0.1", port.context("a port")?.parse()?).await?;
        let launch = cluster.launch()?.env("DATABASE_URL", &proxy.url(cluster.database.url())?);
        let _operator = launch.start().await?;
        cluster.user_with_key("ada").await?;
        proxy.set_frozen(true);
        cluster.create::<ApiUser>("bob", json!({"email": "bob@example.com"})).await?;
        cluster.wait_for_retried::<ApiUser>("bob", &["DatabaseUnavailable"]).await?;
        // An object that is being deleted does not go on saying that it is Ready.
        cluster.api::<ApiKey>().delete("ada", &DeleteParams::default()).await?;
        cluster.wait_for_retried::<ApiKey>("ada", &["DatabaseUnavailable"]).await?;

        proxy.set_frozen(false);
        let back = Instant::now();
        cluster.wait_for_ready::<ApiUser>("bob", "True", "Applied").await?;
        cluster.wait_until_gone::<ApiKey>("ada").await?;
        ensure!(back.elapsed() < CURE_TIMEOUT, "{:?}", back.elapsed());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_is_away_holds_up_the_deletion_of_a_model_and_says_so() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 10_000, 7)?;
        let port = ollama.url().rsplit_once(':').context("a port")?.1.parse()?;
        let proxy = ChaosProxy::start("127.0.0.1", port).await?;
        let launch = cluster.launch()?.ollama(&format!("http://127.0.0.1:{}", proxy.port()));
        let _operator = launch.env("MODEL_REGISTRIES", &registry.url()).start().await?;
        let spec = json!({"model": model, "insecureRegistry": true});
        cluster.create::<OllamaModel>("noise", spec).await?;
        cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;
        proxy.set_frozen(true);
        cluster.api::<OllamaModel>().delete("noise", &DeleteParams::default()).await?;
        cluster.wait_for_retried::<OllamaModel>("noise", &["TimedOut", "BackendUnreachable"]).await?;
        proxy.set_frozen(false);
        cluster.wait_until_gone::<OllamaModel>("noise").await?;
        ensure!(ollama.models().await?.is_empty());
        Ok(())
    })
    .await;
}

/// Replaces the rights of the operator on Secrets in its namespace.
async fn set_secret_verbs(cluster: &ClusterFixture, verbs: &[&str]) -> Result<()> {
    let roles: Api<Role> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut role = roles.get("paddock-operator").await?;
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|resource| resource == "secrets") {
            rule.verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        }
    }
    roles.replace("paddock-operator", &PostParams::default(), &role).await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_right_to_secrets_names_the_binding_that_grants_it() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        set_secret_verbs(&cluster, &["list", "watch"]).await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
        let message = cluster.wait_for_retried::<ApiKey>("ada", &["PermissionDenied"]).await?;
        for words in ["cannot get resource \"secrets\"", "create rolebinding", &cluster.namespace] {
            ensure!(message.contains(words), "{message}");
        }
        set_secret_verbs(&cluster, &["get", "list", "watch", "create", "patch", "delete"]).await?;
        let granted = Instant::now();
        cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        ensure!(granted.elapsed() < CURE_TIMEOUT, "{:?}", granted.elapsed());
        Ok(())
    })
    .await;
}

/// An admission policy that refuses an operation on Secrets of the namespace.
async fn refuse_secrets(cluster: &ClusterFixture, operation: &str) -> Result<()> {
    let name = &cluster.namespace;
    let policy = json!({
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": ["secrets"]},
            ]},
            "validations": [{"expression": "false", "message": "secrets are kept by the policy of a test"}],
        },
    });
    let binding = json!({
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}},
        },
    });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
    Ok(())
}

/// Waits until the policy refuses the operation, which takes the API server a moment.
async fn wait_until_refused(cluster: &ClusterFixture) -> Result<()> {
    let secrets = cluster.secrets();
    let probe: Secret = serde_json::from_value(json!({"metadata": {"name": "probe"}}))?;
    eventually("the policy to work", EVENT_TIMEOUT, async || {
        secrets.patch("probe", &PatchParams::apply("test").force(), &Patch::Apply(&probe)).await?;
        let deleted = secrets.delete("probe", &DeleteParams::default()).await;
        ensure!(deleted.is_err(), "the probe was deleted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_policy_against_deleting_is_told_by_the_object_that_waits_for_it() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        refuse_secrets(&cluster, "DELETE").await?;
        wait_until_refused(&cluster).await?;
        cluster.api::<ApiKey>().delete("ada", &DeleteParams::default()).await?;
        let message = cluster.wait_for_retried::<ApiKey>("ada", &["ApiServerError", "PermissionDenied"]).await?;
        ensure!(message.contains("kept by the policy of a test"), "{message}");
        // The user waits for its key, and says so.
        cluster.api::<ApiUser>().delete("ada", &DeleteParams::default()).await?;
        let message = cluster.wait_for_retried::<ApiUser>("ada", &["CleanupPending"]).await?;
        ensure!(message.contains(&format!("{}/ada", cluster.namespace)), "{message}");

        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
        bindings.delete(&cluster.namespace, &DeleteParams::default()).await?;
        cluster.wait_until_gone::<ApiKey>("ada").await?;
        cluster.wait_until_gone::<ApiUser>("ada").await
    })
    .await;
}

#[tokio::test]
async fn a_freed_secret_name_is_taken_soon() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let foreign: Secret = serde_json::from_value(json!({"metadata": {"name": "ada-apikey"}}))?;
        cluster.secrets().create(&PostParams::default(), &foreign).await?;
        let operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
        cluster.wait_for_ready::<ApiKey>("ada", "False", "SecretConflict").await?;
        eventually("the longest delay between two tries", EVENT_TIMEOUT, async || {
            let tries = waiting_reconciles(&operator).await?;
            ensure!(tries >= 5, "{tries} tries");
            Ok(())
        })
        .await?;
        cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        let freed = Instant::now();
        cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        ensure!(freed.elapsed() < CURE_TIMEOUT, "{:?}", freed.elapsed());
        Ok(())
    })
    .await;
}

/// The number of reconciles of keys that ended with a wait. The delay after the fifth in a row is the
/// longest one.
async fn waiting_reconciles(operator: &Paddock) -> Result<u64> {
    let metrics = reqwest::get(format!("{}/metrics", operator.metrics_url())).await?.text().await?;
    let is_waiting = |line: &&str| {
        let is_of_keys = line.starts_with("paddock_reconcile_total{") && line.contains("kind=\"ApiKey\"");
        is_of_keys && line.contains("result=\"waiting\"")
    };
    let line = metrics.lines().find(is_waiting).context("no reconcile has ended with a wait")?;
    Ok(line.split_whitespace().next_back().context("a number")?.parse()?)
}

/// Waits until the status of the user fits.
async fn wait_for_status(cluster: &ClusterFixture, fits: impl Fn(&Value) -> bool) -> Result<()> {
    eventually("the status", EVENT_TIMEOUT, async || {
        let status = serde_json::to_value(cluster.api::<ApiUser>().get("ada").await?.status)?;
        ensure!(fits(&status), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pause_shows_on_the_object_and_a_requested_reconcile_is_confirmed() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        let annotate = |name: &str, value: Value| json!({"metadata": {"annotations": {name: value}}});
        cluster.merge_patch::<ApiUser>("ada", annotate(annotation::PAUSED, json!("true"))).await?;
        let is_paused = |status: &Value| status["conditions"].to_string().contains("\"Paused\"");
        wait_for_status(&cluster, is_paused).await?;
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"active": false}})).await?;
        cluster.merge_patch::<ApiUser>("ada", annotate(annotation::PAUSED, Value::Null)).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Disabled").await?;
        wait_for_status(&cluster, |status| !is_paused(status)).await?;

        cluster.merge_patch::<ApiUser>("ada", annotate(annotation::RECONCILE_REQUESTED_AT, json!("now"))).await?;
        wait_for_status(&cluster, |status| status["lastHandledReconcileAt"] == "now").await
    })
    .await;
}

#[tokio::test]
async fn a_blocked_object_says_each_thing_once() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("boss", json!({"email": "boss@example.com", "roles": ["admin"]})).await?;
        let boss = cluster.wait_for_ready::<ApiUser>("boss", "False", "RoleNotAllowed").await?;
        let mut messages: Vec<_> =
            boss.status.context("a status")?.conditions().iter().map(|c| c.message.clone()).collect();
        let all = messages.len();
        messages.sort();
        messages.dedup();
        ensure!(messages.len() == all, "{messages:?}");
        Ok(())
    })
    .await;
}
