//! A release of the chart on a real control plane. Pods cannot run there: the executable runs beside
//! it, with the arguments and the environment of the chart's containers, and with the token and the
//! rights of the chart's service account.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use paddock_tests::{
    eventually::eventually,
    fake_ollama::FakeOllama,
    kubernetes::{CONTEXT, Kubernetes},
    paddock::{Launch, Paddock},
    process::run,
    reaper,
    testbed::Part,
};
use serde_json::Value;
use tempfile::TempDir;

use super::file;

/// How long a new leader may take.
const LEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// A release of the chart.
pub(super) struct Release<'a> {
    cluster: &'a Kubernetes,
    pub(super) namespace: String,
    /// The name of the release, and of its Deployment: it contains `paddock`.
    name: &'static str,
    /// The volume and the secrets of the pod, and the kubeconfig of its account.
    pub(super) folder: TempDir,
}

/// A container of the chart's Deployment.
pub(super) struct Container {
    arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl<'a> Release<'a> {
    /// Installs the chart with tests/deploy/values/embedded.yaml. `options` decide about the
    /// definitions, which the control plane has already.
    pub(super) fn install(
        cluster: &'a Kubernetes,
        namespace: &str,
        name: &'static str,
        options: &[&str],
    ) -> Result<Self> {
        let folder = reaper::scratch_dir("release")?;
        fs::create_dir(folder.path().join("secrets"))?;
        fs::create_dir(folder.path().join("data"))?;
        for (name, secret) in [("jwt-secret", "4d1f7c0a93be5826"), ("audit-signing-key", "b6e2905f1c8d7a43")] {
            fs::write(folder.path().join("secrets").join(name), secret.repeat(4))?;
        }
        let release = Self { cluster, namespace: namespace.to_owned(), name, folder };
        release.install_again(options)?;
        Ok(release)
    }

    /// Installs the release on the volume and with the secrets that it had.
    pub(super) fn install_again(&self, options: &[&str]) -> Result<()> {
        self.helm(&["install", self.name], Some(&file("charts/paddock")), options)?;
        self.write_kubeconfig()
    }

    /// `helm ARGUMENTS [CHART --values ...] OPTIONS`
    pub(super) fn helm(&self, arguments: &[&str], chart: Option<&Path>, options: &[&str]) -> Result<String> {
        let home = self.folder.path().join("helm");
        let mut command = Command::new(Part::Helm.locate()?);
        command.args(arguments);
        if let Some(chart) = chart {
            command.arg(chart).arg("--values").arg(file("tests/deploy/values/embedded.yaml"));
        }
        command.args(options).args(["--namespace", &self.namespace]).env("KUBECONFIG", self.cluster.kubeconfig());
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, &home);
        }
        run(&mut command)
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.cluster.kubectl(&self.namespace)?.args(arguments))
    }

    /// The path of the kubeconfig with the token of the chart's account.
    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let token = self.kubectl(&["create", "token", &format!("{}-operator", self.name)])?;
        let mut document: Value = serde_yaml_ng::from_slice(&fs::read(self.cluster.kubeconfig())?)?;
        document["users"][0]["user"]["token"] = token.trim().into();
        document["contexts"][0]["context"]["namespace"] = self.namespace.as_str().into();
        Ok(fs::write(self.kubeconfig(), serde_yaml_ng::to_string(&document)?)?)
    }

    /// The name of the pod, from which `LEASE_IDENTITY` comes.
    fn pod(&self) -> String {
        format!("{}-pod", self.name)
    }

    /// Waits until the release holds the leader lease of its own name.
    pub(super) async fn wait_until_leader(&self) -> Result<()> {
        let lease = format!("lease/{}-operator", self.name);
        eventually(&lease, LEADER_TIMEOUT, async || {
            let holder = self.kubectl(&["get", &lease, "--output=jsonpath={.spec.holderIdentity}"])?;
            ensure!(holder == self.pod(), "{holder}");
            Ok(())
        })
        .await
    }

    /// A container of the installed Deployment, with this machine's paths.
    pub(super) fn container(&self, name: &str) -> Result<Container> {
        let deployment = self.kubectl(&["get", "deployment", self.name, "--output=json"])?;
        let deployment: Value = serde_json::from_str(&deployment)?;
        let pod = &deployment["spec"]["template"]["spec"];
        let all = ["initContainers", "containers"].into_iter().filter_map(|kind| pod[kind].as_array()).flatten();
        let found = all.into_iter().find(|container| container["name"] == name).context("no such container")?;
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        let here = |value: &str| {
            value
                .replace("/etc/paddock/secrets", &self.folder.path().join("secrets").display().to_string())
                .replace("/var/lib/paddock", &self.folder.path().join("data").display().to_string())
        };
        let variables = found["env"].as_array().context("an environment")?;
        let environment = variables.iter().map(|variable| {
            let value = variable["value"].as_str().map_or_else(|| self.pod(), here);
            (variable["name"].as_str().unwrap_or_default().to_owned(), value)
        });
        Ok(Container { arguments: texts(&found["args"]), environment: environment.collect() })
    }

    /// The launch of a container.
    fn launch(&self, container: &Container, ollama: &FakeOllama) -> Result<Launch> {
        // Out of a pod, the operator and `seed --secret` want to be told the cluster.
        let named = container.arguments.iter().any(|argument| argument == "--operator" || argument == "--secret");
        let context: &[&str] = if named { &["--context", CONTEXT] } else { &[] };
        let arguments: Vec<&str> =
            container.arguments.iter().map(String::as_str).chain(context.iter().copied()).collect();
        let mut launch = Launch::new(&arguments, "")?.env("JWT_SECRET", "").env("AUDIT_SIGNING_KEY", "");
        for (name, value) in &container.environment {
            launch = launch.env(name, value);
        }
        Ok(launch.ollama(&ollama.url()).env("KUBECONFIG", &self.kubeconfig().display().to_string()))
    }

    /// Runs the init containers to their ends, and starts the server.
    pub(super) async fn start(&self, ollama: &FakeOllama) -> Result<Paddock> {
        for name in ["migrate", "bootstrap"] {
            let server = self.launch(&self.container(name)?, ollama)?.spawn()?;
            let status = server.process().wait_for_exit(Duration::from_secs(30)).await?;
            ensure!(status.success(), "{name}: {status} {}", server.process().log().text());
        }
        self.launch(&self.container("paddock")?, ollama)?.start().await
    }

    /// An entry of a Secret.
    pub(super) fn secret(&self, name: &str, entry: &str) -> Result<String> {
        let path = format!("--output=jsonpath={{.data.{entry}}}");
        let text = self.kubectl(&["get", "secret", name, &path])?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    }
}
