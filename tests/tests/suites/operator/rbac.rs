//! The operator with the shipped RBAC rules only: no request is forbidden, and no granted verb is
//! unused. A namespace without rights. Leader election.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, rbac::v1::PolicyRule};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use paddock_crds::{ApiKey, ApiUser, OllamaModel, annotation};
use paddock_tests::{eventually::eventually, process::Signal, story::story, testbed::repository};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{ClusterFixture, EVENT_TIMEOUT, grants};

/// The rules of the cluster-wide roles that kustomize ships.
fn kustomize_rules() -> Result<Vec<PolicyRule>> {
    let text = std::fs::read_to_string(repository().join("kustomize/base/rbac/operator.yaml"))?;
    let mut rules = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let role = Value::deserialize(document)?;
        rules.extend(serde_json::from_value::<Vec<PolicyRule>>(role["rules"].clone())?);
    }
    Ok(rules)
}

/// A verb on a resource, as `VERB GROUP/RESOURCE`.
fn grants_of(rules: &[PolicyRule]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                all.extend(rule.verbs.iter().map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    all
}

#[test]
fn the_shipped_rules_have_no_wildcard_and_are_the_same_in_chart_and_kustomize() {
    let (chart, kustomize) = (grants_of(&grants::rules().unwrap()), grants_of(&kustomize_rules().unwrap()));
    assert!(chart.iter().chain(&kustomize).all(|grant| !grant.contains('*')), "{chart:?} {kustomize:?}");
    assert_eq!(chart, kustomize);
}

/// What a request of the audit log needed.
fn grant_of(event: &Value) -> String {
    let (verb, reference) = (event["verb"].as_str().unwrap_or_default(), &event["objectRef"]);
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let subresource = if text("subresource").is_empty() { String::new() } else { format!("/{}", text("subresource")) };
    format!("{verb} {}/{}{subresource}", text("apiGroup"), text("resource"))
}

#[tokio::test]
async fn no_request_is_forbidden_and_no_granted_verb_is_unused() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        cluster.create::<OllamaModel>("elsewhere", json!({"model": "registry.example/library/m:1"})).await?;
        cluster.wait_for_ready::<OllamaModel>("elsewhere", "False", "RegistryNotAllowed").await?;
        // A second event with the same reason is a patch of the first one.
        for round in ["1", "2"] {
            let before = cluster.wait_until_consistent("ada").await?;
            let rotate = json!({"metadata": {"annotations": {annotation::ROTATE_REQUESTED_AT: round}}});
            cluster.merge_patch::<ApiKey>("ada", rotate).await?;
            eventually("another version", EVENT_TIMEOUT, async || {
                ensure!(cluster.assert_consistent("ada").await? != before, "the same version");
                Ok(())
            })
            .await?;
        }
        cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        cluster.wait_until_consistent("ada").await?;
        // An object of the same name takes the row over, after a look at the API server.
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        cluster.merge_patch::<ApiKey>("ada", json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        cluster.delete::<ApiKey>("ada").await?;
        cluster.delete::<ApiUser>("ada").await?;
        cluster.user_with_key("ada").await?;
        cluster.delete::<ApiKey>("ada").await?;
        cluster.delete::<ApiUser>("ada").await?;
        cluster.delete::<OllamaModel>("elsewhere").await?;
        operator.process().signal(Signal::Term)?;
        operator.process().wait_for_exit(EVENT_TIMEOUT).await?;

        let mut events = cluster.kubernetes.audit_events()?;
        events.retain(|event| event["user"]["username"] == cluster.account.user_name().as_str());
        let forbidden: Vec<_> = events.iter().filter(|event| event["responseStatus"]["code"] == 403).collect();
        ensure!(forbidden.is_empty(), "{forbidden:?}");
        let used: BTreeSet<String> = events.iter().map(grant_of).collect();
        let mut unused = grants_of(&grants::rules()?);
        unused.retain(|grant| !used.contains(grant) && !EXCEPTIONAL.contains(&grant.as_str()));
        ensure!(unused.is_empty(), "{unused:?} {used:?}");
        Ok(())
    })
    .await;
}

/// Granted verbs that this story does not use. Each has a reason.
const EXCEPTIONAL: [&str; 1] = [
    // The API server checks it for the owner reference of a Secret, without a request of its own.
    "update paddock.dev/apikeys/finalizers",
];

#[tokio::test]
async fn a_namespace_without_rights_does_not_hold_up_the_others() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let closed = cluster.kubernetes.namespace().await?;
        let both = format!("{closed},{}", cluster.namespace);
        let operator = cluster.launch()?.env("WATCH_NAMESPACES", &both).start().await?;
        cluster.user_with_key("ada").await?;
        let readyz = format!("{}/readyz", operator.metrics_url());
        let details = async || -> Result<String> {
            let answer = reqwest::get(&readyz).await?;
            ensure!(answer.status() == 200, "{}", answer.status());
            let body: Value = answer.json().await?;
            Ok(body["details"].to_string())
        };
        let text = details().await?;
        for words in ["cannot list resource", "apikeys", "create rolebinding paddock-operator", &closed] {
            ensure!(text.contains(words), "{text}");
        }
        let log = operator.process().log().text();
        ensure!(log.contains("cannot list resource") && log.contains("create rolebinding"), "{log}");

        cluster.account.grant(&closed).await?;
        let opened = ClusterFixture { namespace: closed, ..ClusterFixture::start().await? };
        opened.create::<ApiUser>("bob", json!({"email": "bob@example.com"})).await?;
        opened.wait_for_ready::<ApiUser>("bob", "True", "Applied").await?;
        eventually("no missing right", EVENT_TIMEOUT, async || {
            let text = details().await?;
            ensure!(text == "null", "{text}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_forbidden_lease_names_the_binding_that_grants_it() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let closed = cluster.kubernetes.namespace().await?;
        let operator = cluster.launch()?.env("LEASE_NAMESPACE", &closed).start().await?;
        let readyz = format!("{}/readyz", operator.metrics_url());
        let details = async || -> Result<String> {
            let body: Value = reqwest::get(&readyz).await?.json().await?;
            Ok(body["details"].to_string())
        };
        eventually("the missing right", EVENT_TIMEOUT, async || {
            let text = details().await?;
            let binding = format!("kubectl --namespace {closed} create rolebinding paddock-operator-lease");
            ensure!(text.contains("cannot get resource") && text.contains(&binding), "{text}");
            Ok(())
        })
        .await?;
        cluster.account.grant_lease(&closed).await?;
        cluster.user_with_key("ada").await?;
        eventually("no missing right", EVENT_TIMEOUT, async || {
            let text = details().await?;
            ensure!(text == "null", "{text}");
            Ok(())
        })
        .await
    })
    .await;
}

/// Waits until this identity holds the lease.
async fn wait_for_leader(leases: &Api<Lease>, identity: &str) -> Result<()> {
    eventually(&format!("{identity} to lead"), EVENT_TIMEOUT, async || {
        let holder = leases.get("paddock-operator").await?.spec.and_then(|spec| spec.holder_identity);
        ensure!(holder.as_deref() == Some(identity), "{holder:?} leads");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_standby_takes_over_from_a_killed_leader() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let first = cluster.launch()?.env("LEASE_IDENTITY", "first").start().await?;
        wait_for_leader(&leases, "first").await?;
        // The second operator stands by, and is ready.
        let _second = cluster.launch()?.env("LEASE_IDENTITY", "second").start().await?;
        wait_for_leader(&leases, "first").await?;
        first.process().signal(Signal::Kill)?;
        cluster.user_with_key("ada").await?;
        wait_for_leader(&leases, "second").await
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_loses_its_lease_exits() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let leader = cluster.launch()?.env("LEASE_IDENTITY", "leader").start().await?;
        wait_for_leader(&leases, "leader").await?;
        let standby = cluster.launch()?.env("LEASE_IDENTITY", "standby").start().await?;
        let taken = serde_json::json!({"spec": {"holderIdentity": "another"}});
        leases.patch("paddock-operator", &PatchParams::default(), &Patch::Merge(taken)).await?;
        let status = leader.process().wait_for_exit(Duration::from_secs(30)).await?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(standby.process().exit_status().is_none());
        Ok(())
    })
    .await;
}
