//! The operator with the rights that are shipped, and no others; and the lease.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding, RoleRef, Subject};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use paddock_tests::eventually::eventually;
use paddock_tests::process::Signal;
use paddock_tests::story::story;
use paddock_tests::testbed::repository;

use super::{PATIENCE, Stage};

#[tokio::test]
async fn the_shipped_rights_suffice() {
    story(async {
        let stage = Stage::set().await?;
        let text = std::fs::read_to_string(repository().join("kustomize/base/rbac/operator.yaml"))?;
        let roles: Api<ClusterRole> = Api::all(stage.client.clone());
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let role: ClusterRole = serde::Deserialize::deserialize(document)?;
            for rule in role.rules.iter().flatten() {
                let all = [&rule.api_groups, &rule.resources].into_iter().flatten().flatten().chain(&rule.verbs);
                ensure!(all.clone().all(|word| word != "*"), "a rule for everything: {rule:?}");
            }
            let name = role.metadata.name.clone().context("a name")?;
            roles.patch(&name, &PatchParams::apply("paddock-tests").force(), &Patch::Apply(&role)).await?;
        }
        let kubeconfig = stage.cluster.service_account(&stage.namespace, "operator").await?;
        let subject = Subject {
            kind: "ServiceAccount".to_owned(),
            name: "operator".to_owned(),
            namespace: Some(stage.namespace.clone()),
            ..Subject::default()
        };
        let bindings: Api<RoleBinding> = Api::namespaced(stage.client.clone(), &stage.namespace);
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
        cluster_binding(&stage, subject).await?;
        let operator = stage.launch()?.env("KUBECONFIG", &kubeconfig.display().to_string()).start().await?;
        stage.user_with_key("ada").await?;
        let id = stage.sound("ada").await?;
        stage.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        eventually("another version", PATIENCE, async || {
            let now = stage.check("ada").await?;
            ensure!(now != id);
            Ok(())
        })
        .await?;
        stage.delete::<paddock_crds::ApiKey>("ada").await?;
        stage.delete::<paddock_crds::ApiUser>("ada").await?;
        operator.process().signal(Signal::Term)?;
        operator.process().ended(PATIENCE).await?;
        let log = operator.process().log().text();
        ensure!(!log.contains("forbidden") && !log.contains("not permitted"), "{log}");
        Ok(())
    })
    .await;
}

/// The one right that no namespace has: to know which cluster it is.
async fn cluster_binding(stage: &Stage, subject: Subject) -> Result<()> {
    use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
    let bindings: Api<ClusterRoleBinding> = Api::all(stage.client.clone());
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(stage.namespace.clone()), ..ObjectMeta::default() },
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

#[tokio::test]
async fn one_leads_and_another_takes_over() {
    story(async {
        let stage = Stage::set().await?;
        let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let led_by = async |identity: &str| {
            eventually(&format!("{identity} to lead"), PATIENCE, async || {
                let holder = leases.get("paddock-operator").await?.spec.and_then(|spec| spec.holder_identity);
                ensure!(holder.as_deref() == Some(identity), "{holder:?} leads");
                Ok(())
            })
            .await
        };
        let first = stage.launch()?.env("LEASE_IDENTITY", "first").start().await?;
        led_by("first").await?;
        // Stands by, and is ready all the same.
        let second = stage.launch()?.env("LEASE_IDENTITY", "second").start().await?;
        led_by("first").await?;
        first.process().signal(Signal::Kill)?;
        stage.user_with_key("ada").await?;
        led_by("second").await?;

        // The lease is taken away: whoever has lost it ends.
        let third = stage.launch()?.env("LEASE_IDENTITY", "third").start().await?;
        let taken = serde_json::json!({"spec": {"holderIdentity": "someone else"}});
        leases.patch("paddock-operator", &PatchParams::default(), &Patch::Merge(taken)).await?;
        let status = second.process().ended(Duration::from_secs(30)).await?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(third.process().exited().is_none());
        Ok(())
    })
    .await;
}
