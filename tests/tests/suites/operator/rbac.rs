//! The operator with the shipped RBAC rules only, and leader election.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    coordination::v1::Lease,
    rbac::v1::{ClusterRole, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use paddock_tests::{eventually::eventually, process::Signal, story::story, testbed::repository};

use super::{ClusterFixture, EVENT_TIMEOUT};

#[tokio::test]
async fn the_shipped_rbac_rules_suffice() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let text = std::fs::read_to_string(repository().join("kustomize/base/rbac/operator.yaml"))?;
        let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let role: ClusterRole = serde::Deserialize::deserialize(document)?;
            for rule in role.rules.iter().flatten() {
                let words = [&rule.api_groups, &rule.resources].into_iter().flatten().flatten().chain(&rule.verbs);
                ensure!(words.clone().all(|word| word != "*"), "a wildcard: {rule:?}");
            }
            let name = role.metadata.name.clone().context("a name")?;
            roles.patch(&name, &PatchParams::apply("paddock-tests").force(), &Patch::Apply(&role)).await?;
        }
        let kubeconfig = cluster.kubernetes.service_account(&cluster.namespace, "operator").await?;
        let subject = Subject {
            kind: "ServiceAccount".to_owned(),
            name: "operator".to_owned(),
            namespace: Some(cluster.namespace.clone()),
            ..Subject::default()
        };
        let bindings: Api<RoleBinding> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        for role in ["paddock-operator", "paddock-operator-lease"] {
            let binding = RoleBinding {
                metadata: ObjectMeta { name: Some(role.to_owned()), ..ObjectMeta::default() },
                role_ref: RoleRef {
                    api_group: "rbac.authorization.k8s.io".to_owned(),
                    kind: "ClusterRole".to_owned(),
                    name: role.to_owned(),
                },
                subjects: Some(vec![subject.clone()]),
            };
            bindings.create(&PostParams::default(), &binding).await?;
        }
        cluster_binding(&cluster, subject).await?;
        let operator = cluster.launch()?.env("KUBECONFIG", &kubeconfig.display().to_string()).start().await?;
        cluster.user_with_key("ada").await?;
        let id = cluster.wait_until_consistent("ada").await?;
        cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        eventually("another version", EVENT_TIMEOUT, async || {
            let now = cluster.assert_consistent("ada").await?;
            ensure!(now != id);
            Ok(())
        })
        .await?;
        cluster.delete::<paddock_crds::ApiKey>("ada").await?;
        cluster.delete::<paddock_crds::ApiUser>("ada").await?;
        operator.process().signal(Signal::Term)?;
        operator.process().wait_for_exit(EVENT_TIMEOUT).await?;
        let log = operator.process().log().text();
        ensure!(!log.contains("forbidden") && !log.contains("not permitted"), "{log}");
        Ok(())
    })
    .await;
}

/// Grants the one right outside of namespaces: to identify the cluster.
async fn cluster_binding(cluster: &ClusterFixture, subject: Subject) -> Result<()> {
    use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(cluster.namespace.clone()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: "paddock-operator-cluster".to_owned(),
        },
        subjects: Some(vec![subject]),
    };
    bindings.create(&PostParams::default(), &binding).await?;
    Ok(())
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
