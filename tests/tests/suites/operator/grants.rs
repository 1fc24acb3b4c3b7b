//! The rights of the operator under test: the chart's Roles and bindings, as recorded from its
//! rendering for a list of namespaces. Every suite of the operator runs under them.

use std::{fmt::Debug, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use paddock_tests::{kubernetes::Kubernetes, testbed::repository};
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The rendering of the chart with `operator.watchNamespaces: [platform, team-a]`.
const RENDERING: &str = "tests/deploy/golden/embedded-namespaces.yaml";
/// A namespace that it watches.
const WATCHED: &str = "team-a";
/// The namespace of its release.
const RELEASE: &str = "paddock";
/// The operator's service account.
const ACCOUNT: &str = "paddock-operator";

/// The operator's service account in its own namespace.
pub(super) struct OperatorAccount {
    client: Client,
    namespace: String,
    kubeconfig: PathBuf,
}

impl OperatorAccount {
    /// Creates the account, with the right to lead and to identify the cluster.
    pub(super) async fn create(kubernetes: &Kubernetes, namespace: &str) -> Result<Self> {
        let client = kubernetes.client().await?;
        let kubeconfig = kubernetes.service_account(namespace, ACCOUNT).await?;
        let account = Self { client, namespace: namespace.to_owned(), kubeconfig };
        account.grant_lease(namespace).await?;
        account.grant_cluster(namespace).await?;
        Ok(account)
    }

    /// Its kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// The user name by which the API server knows it.
    pub(super) fn user_name(&self) -> String {
        format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace)
    }

    /// Grants what the chart grants in each watched namespace.
    pub(super) async fn grant(&self, namespace: &str) -> Result<()> {
        self.grant_cluster(namespace).await?;
        self.grant_rendered(WATCHED, namespace).await
    }

    /// Grants what the chart grants cluster-wide to an operator that watches the namespace.
    async fn grant_cluster(&self, namespace: &str) -> Result<()> {
        let suffix = format!("{}-{namespace}", self.namespace);
        for mut role in rendered::<ClusterRole>("ClusterRole", None)? {
            role.metadata.name = Some(format!("{}-{suffix}", role.name_any()));
            let names = role.rules.iter_mut().flatten().filter_map(|rule| rule.resource_names.as_mut()).flatten();
            names.filter(|name| *name == WATCHED).for_each(|name| namespace.clone_into(name));
            self.apply(&Api::all(self.client.clone()), role).await?;
        }
        for mut binding in rendered::<ClusterRoleBinding>("ClusterRoleBinding", None)? {
            binding.metadata.name = Some(format!("{}-{suffix}", binding.name_any()));
            binding.role_ref.name = format!("{}-{suffix}", binding.role_ref.name);
            set_namespace(binding.subjects.iter_mut().flatten().map(|subject| &mut subject.namespace), &self.namespace);
            self.apply(&Api::all(self.client.clone()), binding).await?;
        }
        Ok(())
    }

    /// Grants what the chart grants in the namespace of the release: to hold the lease.
    pub(super) async fn grant_lease(&self, namespace: &str) -> Result<()> {
        self.grant_rendered(RELEASE, namespace).await
    }

    async fn grant_rendered(&self, from: &str, namespace: &str) -> Result<()> {
        for mut role in rendered::<Role>("Role", Some(from))? {
            role.metadata.namespace = Some(namespace.to_owned());
            self.apply(&Api::namespaced(self.client.clone(), namespace), role).await?;
        }
        for mut binding in rendered::<RoleBinding>("RoleBinding", Some(from))? {
            binding.metadata.namespace = Some(namespace.to_owned());
            set_namespace(binding.subjects.iter_mut().flatten().map(|subject| &mut subject.namespace), &self.namespace);
            self.apply(&Api::namespaced(self.client.clone(), namespace), binding).await?;
        }
        Ok(())
    }

    async fn apply<K: Resource + Clone + Debug + Serialize + DeserializeOwned>(
        &self,
        api: &Api<K>,
        object: K,
    ) -> Result<()> {
        let params = PatchParams::apply("paddock-tests").force();
        api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await?;
        Ok(())
    }
}

/// Every rule that the chart grants to the operator.
pub(super) fn rules() -> Result<Vec<PolicyRule>> {
    let roles = rendered::<Role>("Role", Some(WATCHED))?.into_iter().chain(rendered("Role", Some(RELEASE))?);
    let cluster = rendered::<ClusterRole>("ClusterRole", None)?;
    Ok(roles.filter_map(|role| role.rules).chain(cluster.into_iter().filter_map(|role| role.rules)).flatten().collect())
}

/// The rendered objects of a kind that make up the rights of the operator.
fn rendered<K: DeserializeOwned>(kind: &str, namespace: Option<&str>) -> Result<Vec<K>> {
    let text = std::fs::read_to_string(repository().join(RENDERING)).context(RENDERING)?;
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let document = Value::deserialize(document)?;
        let metadata = &document["metadata"];
        let is_of_operator = metadata["name"].as_str().is_some_and(|name| name.starts_with(ACCOUNT));
        if document["kind"] == kind && is_of_operator && metadata["namespace"].as_str() == namespace {
            objects.push(serde_json::from_value(document)?);
        }
    }
    ensure!(!objects.is_empty(), "no {kind} of {namespace:?} in {RENDERING}");
    Ok(objects)
}

fn set_namespace<'a>(namespaces: impl Iterator<Item = &'a mut Option<String>>, value: &str) {
    namespaces.for_each(|namespace| *namespace = Some(value.to_owned()));
}
