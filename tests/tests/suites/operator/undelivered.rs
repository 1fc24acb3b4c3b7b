//! Secrets that cannot be written, or do not stay: what they leave behind.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use paddock_accounts::{CredentialId, credentials::SecretState};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, annotation, data};
use paddock_tests::{eventually::eventually, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{ClusterFixture, EVENT_TIMEOUT};

impl ClusterFixture {
    /// The number of versions of the key of an `ApiKey` in each state.
    async fn version_states(&self, name: &str) -> Result<BTreeMap<&'static str, usize>> {
        let status = self.api::<ApiKey>().get(name).await?.status.context("a status")?;
        let id = CredentialId(status.credential_id.context("a credential")?);
        let mut counts = BTreeMap::new();
        for version in self.accounts.credentials().secrets(id).await? {
            *counts.entry(version.state.text()).or_default() += 1;
        }
        Ok(counts)
    }

    /// The number of versions that the operator has ever staged for the key of an `ApiKey`.
    async fn count_staged(&self, name: &str) -> Result<usize> {
        let status = self.api::<ApiKey>().get(name).await?.status.context("a status")?;
        let id = status.credential_id.context("a credential")?;
        let query =
            format!("SELECT event_type FROM audit_logs WHERE event_type = 'api_key_staged' AND credential_id = {id}");
        Ok(self.database.texts(&query).await?.len())
    }

    async fn count_audit_events(&self, event_type: &str) -> Result<usize> {
        Ok(self.audit_events().await?.iter().filter(|event| *event == event_type).count())
    }
}

fn rotate(value: &str) -> Value {
    json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: value}}})
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_leaves_no_live_key_after_restarts() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let mut operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let immutable = json!({"immutable": true});
        cluster.secrets().patch("ada-apikey", &PatchParams::default(), &Patch::Merge(immutable)).await?;
        cluster.merge_patch::<ApiKey>("ada", rotate("1")).await?;
        cluster.wait_for_ready::<ApiKey>("ada", "False", "SecretRefused").await?;
        let staged = cluster.count_staged("ada").await?;
        assert!(staged >= 2, "{staged}");
        for number in 0..4 {
            drop(operator);
            operator = cluster.start_operator().await?;
            // The new key proves that the operator has reconciled everything that existed before.
            let name = format!("later-{number}");
            cluster.create::<ApiKey>(&name, json!({"userRef": {"name": "ada"}})).await?;
            cluster.wait_for_ready::<ApiKey>(&name, "True", "Issued").await?;
            cluster.merge_patch::<ApiKey>("ada", rotate(&name)).await?;
            cluster.wait_for_ready::<ApiKey>("ada", "False", "SecretRefused").await?;
        }
        assert_eq!(cluster.version_states("ada").await?, BTreeMap::from([("active", 1)]));
        assert_eq!(cluster.count_staged("ada").await?, staged, "no attempt after the refusal mints a key");
        cluster.assert_accepted(&cluster.secret_data("ada-apikey").await?[data::API_KEY]).await?;

        cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        cluster.wait_until_consistent("ada").await?;
        Ok(())
    })
    .await;
}

/// A policy that denies every Secret in a namespace.
struct DenySecrets {
    name: String,
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
}

impl DenySecrets {
    async fn create(cluster: &ClusterFixture) -> Result<Self> {
        let name = format!("deny-secrets-{}", cluster.namespace);
        let (policies, bindings): (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) =
            (Api::all(cluster.client.clone()), Api::all(cluster.client.clone()));
        let rules =
            json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]);
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}});
        let policy = json!({"metadata": {"name": name}, "spec": {
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": rules},
            "validations": [{"expression": "false", "message": "no Secrets here"}]}});
        policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
        bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
        wait_until_denied(cluster, true).await?;
        Ok(Self { name, policies, bindings })
    }

    async fn delete(self, cluster: &ClusterFixture) -> Result<()> {
        self.bindings.delete(&self.name, &DeleteParams::default()).await?;
        self.policies.delete(&self.name, &DeleteParams::default()).await?;
        wait_until_denied(cluster, false).await
    }
}

/// Waits until Secrets are denied, or no longer denied. The API server reads policies now and then.
async fn wait_until_denied(cluster: &ClusterFixture, is_denied: bool) -> Result<()> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy", EVENT_TIMEOUT, async || {
        let secret = serde_json::from_value(json!({"metadata": {"name": "probe"}}))?;
        ensure!(cluster.secrets().create(&dry_run, &secret).await.is_err() == is_denied);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_denied_secret_is_reported_and_mints_no_key_again_and_again() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let policy = DenySecrets::create(&cluster).await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}})).await?;
        let key = cluster.wait_for_ready::<ApiKey>("ci", "False", "SecretRefused").await?;
        let message = key.status.and_then(|status| status.condition("Ready").cloned()).context("a condition")?.message;
        ensure!(message.contains("ci-apikey") && message.contains("no Secrets here"), "{message}");
        for number in 0..3 {
            let label = format!("attempt {number}");
            cluster.merge_patch::<ApiKey>("ci", json!({"spec": {"label": label}})).await?;
            cluster.wait_for_ready::<ApiKey>("ci", "False", "SecretRefused").await?;
        }
        assert_eq!(cluster.version_states("ci").await?, BTreeMap::new());
        assert_eq!(cluster.count_audit_events("api_key_staged").await?, 1);
        policy.delete(&cluster).await?;
        cluster.merge_patch::<ApiKey>("ci", json!({"spec": {"label": "mended"}})).await?;
        cluster.wait_until_consistent("ci").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_secret_deleted_again_and_again_leaves_two_earlier_keys_at_most() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let mut before = cluster.wait_until_consistent("ada").await?;
        for _ in 0..5 {
            cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
            before = eventually("another version", EVENT_TIMEOUT, async || {
                let id = cluster.assert_consistent("ada").await?;
                ensure!(id != before, "still {id}");
                Ok(id)
            })
            .await?;
        }
        let states = cluster.version_states("ada").await?;
        assert_eq!(states, BTreeMap::from([("active", 1), (SecretState::Retiring.text(), 2)]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::blank_in_a_value(json!({"labels": {"team": "a b"}}))]
#[case::argo_cd(json!({"annotations": {"argocd.argoproj.io/tracking-id": "app:Secret:ns/name"}}))]
#[case::argo_cd_by_label(json!({"labels": {"app.kubernetes.io/instance": "app"}}))]
#[case::flux(json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "app"}}))]
#[tokio::test]
async fn a_bad_template_is_refused_when_it_is_applied(#[case] template: Value) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let spec = json!({"userRef": {"name": "ada"}, "secret": {"template": template}});
        let error = cluster.create::<ApiKey>("ci", spec).await.expect_err("the API server accepts the template");
        let text = format!("{error:#}");
        ensure!(text.contains("secret.template"), "{text}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_label_that_the_schema_cannot_check_is_refused_before_a_key_exists() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        let template = json!({"labels": {"bad key!": "x"}});
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "secret": {"template": template}})).await?;
        let key = cluster.wait_for_ready::<ApiKey>("ci", "False", "InvalidSpec").await?;
        ensure!(key.status.context("a status")?.condition("Stalled").is_some(), "a retry cannot help");
        assert_eq!(cluster.audit_events().await?, ["user_created"]);
        let mended = json!({"spec": {"secret": {"template": {"labels": {"bad key!": null, "team": "a"}}}}});
        cluster.merge_patch::<ApiKey>("ci", mended).await?;
        cluster.wait_until_consistent("ci").await?;
        Ok(())
    })
    .await;
}
