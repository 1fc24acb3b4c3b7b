//! The chart, installed on a real control plane. Pods cannot run there: the executable runs beside
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
    fake_ollama::FakeOllama,
    kubernetes::{CONTEXT, Kubernetes},
    paddock::{Launch, Paddock},
    process::run,
    reaper,
    story::story,
    testbed::Part,
};
use serde::Deserialize as _;
use serde_json::Value;
use tempfile::TempDir;

use super::file;

const READY: &str = "--for=condition=Ready";
const WAIT: &str = "--timeout=60s";
const MODEL: &str = "smollm2:135m";

/// A release of the chart in a namespace of its own control plane.
struct Release {
    cluster: Kubernetes,
    namespace: String,
    /// The volume and the secrets of the pod, and the kubeconfig of its account.
    folder: TempDir,
}

/// A container of the chart's Deployment.
struct Container {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Release {
    /// Installs the chart with tests/deploy/values/embedded.yaml. It takes over the definitions that
    /// the control plane has.
    async fn install() -> Result<Self> {
        let cluster = Kubernetes::start().await?;
        let namespace = cluster.namespace().await?;
        let folder = reaper::scratch_dir("release")?;
        fs::create_dir(folder.path().join("secrets"))?;
        fs::create_dir(folder.path().join("data"))?;
        for (name, secret) in [("jwt-secret", "4d1f7c0a93be5826"), ("audit-signing-key", "b6e2905f1c8d7a43")] {
            fs::write(folder.path().join("secrets").join(name), secret.repeat(4))?;
        }
        let release = Self { cluster, namespace, folder };
        release.helm(&["install", "paddock"], Some(&file("charts/paddock")), &["--take-ownership"])?;
        release.write_kubeconfig()?;
        Ok(release)
    }

    /// `helm ARGUMENTS [CHART --values ...] OPTIONS`
    fn helm(&self, arguments: &[&str], chart: Option<&Path>, options: &[&str]) -> Result<String> {
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

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.cluster.kubectl(&self.namespace)?.args(arguments))
    }

    /// The path of the kubeconfig with the token of the chart's account.
    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let token = self.kubectl(&["create", "token", "paddock-operator"])?;
        let mut document: Value = serde_yaml_ng::from_slice(&fs::read(self.cluster.kubeconfig())?)?;
        document["users"][0]["user"]["token"] = token.trim().into();
        document["contexts"][0]["context"]["namespace"] = self.namespace.as_str().into();
        Ok(fs::write(self.kubeconfig(), serde_yaml_ng::to_string(&document)?)?)
    }

    /// A container of the installed Deployment, with this machine's paths.
    fn container(&self, name: &str) -> Result<Container> {
        let deployment: Value =
            serde_json::from_str(&self.kubectl(&["get", "deployment/paddock", "--output=json"])?)?;
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
            // LEASE_IDENTITY comes from the pod's name.
            let value = variable["value"].as_str().unwrap_or("paddock-pod");
            (variable["name"].as_str().unwrap_or_default().to_owned(), here(value))
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
    async fn start(&self, ollama: &FakeOllama) -> Result<Paddock> {
        for name in ["migrate", "bootstrap"] {
            let server = self.launch(&self.container(name)?, ollama)?.spawn()?;
            let status = server.process().wait_for_exit(Duration::from_secs(30)).await?;
            ensure!(status.success(), "{name}: {status} {}", server.process().log().text());
        }
        self.launch(&self.container("paddock")?, ollama)?.start().await
    }

    /// An entry of a Secret.
    fn secret(&self, name: &str, entry: &str) -> Result<String> {
        let path = format!("--output=jsonpath={{.data.{entry}}}");
        let text = self.kubectl(&["get", "secret", name, &path])?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    }
}

/// Asserts that a key lists the models.
async fn assert_serves(paddock: &Paddock, key: &str) -> Result<()> {
    let tags = paddock.caller(key).get("/api/tags").send().await?;
    let status = tags.status();
    ensure!(status.is_success(), "{status}");
    let text = tags.text().await?;
    ensure!(text.contains(MODEL), "{text}");
    Ok(())
}

/// Does what `helm test` does: creates the hooks' objects, runs the Job's command with the issued key,
/// and removes the objects.
fn run_chart_test(release: &Release, paddock: &Paddock) -> Result<()> {
    let hooks = release.helm(&["get", "hooks", "paddock"], None, &[])?;
    let documents = serde_yaml_ng::Deserializer::from_str(&hooks).map(Value::deserialize);
    let hooks: Vec<Value> = documents.collect::<Result<_, _>>()?;
    let (jobs, objects): (Vec<_>, Vec<_>) = hooks.into_iter().partition(|hook| hook["kind"] == "Job");
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let manifest = release.folder.path().join("hooks.json");
    fs::write(&manifest, list.to_string())?;
    let manifest = manifest.display().to_string();
    release.kubectl(&["apply", "--filename", &manifest])?;
    release.kubectl(&["wait", READY, WAIT, "apiuser/paddock-test", "apikey/paddock-test"])?;
    let container = &jobs.first().context("a Job")?["spec"]["template"]["spec"]["containers"][0];
    let source = &container["env"][0]["valueFrom"]["secretKeyRef"];
    let entry = source["key"].as_str().context("an entry")?;
    let key = release.secret(source["name"].as_str().context("a Secret")?, entry)?;
    let service = format!("http://paddock.{}.svc:8080", release.namespace);
    let mut curl = Command::new(container["command"][0].as_str().context("a command")?);
    for argument in container["args"].as_array().context("arguments")? {
        let argument = argument.as_str().unwrap_or_default();
        curl.arg(argument.replace("$(API_KEY)", &key).replace(&service, paddock.url()));
    }
    let answer = run(&mut curl)?;
    ensure!(answer.contains(MODEL), "{answer}");
    release.kubectl(&["delete", "--filename", &manifest, "--wait", WAIT])?;
    Ok(())
}

/// A copy of the chart with another version.
fn newer_chart(folder: &Path) -> Result<PathBuf> {
    let chart = folder.join("newer");
    run(Command::new("cp").arg("-r").arg(file("charts/paddock")).arg(&chart))?;
    let path = chart.join("Chart.yaml");
    let text = fs::read_to_string(&path)?;
    let text = text.replace("version: 0.1.0", "version: 0.2.0").replace("appVersion: 0.1.0", "appVersion: 0.2.0");
    fs::write(path, text)?;
    Ok(chart)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_release_serves_through_upgrade_rollback_and_uninstall() {
    story(async {
        let ollama = FakeOllama::start(&[MODEL]).await?;
        let release = Release::install().await?;
        let paddock = release.start(&ollama).await?;
        run_chart_test(&release, &paddock)?;

        for object in ["apiuser", "apikey"] {
            let path = file("examples/quickstart").join(format!("{object}.yaml"));
            release.kubectl(&["apply", "--filename", &path.display().to_string()])?;
        }
        release.kubectl(&["wait", READY, WAIT, "apiuser/ada", "apikey/ada"])?;
        let (key, admin) = (
            release.secret("ada-apikey", "api-key")?,
            release.secret("paddock-bootstrap-admin", "BOOTSTRAP_ADMIN_API_KEY")?,
        );
        drop(paddock);

        let newer = newer_chart(release.folder.path())?;
        release.helm(&["upgrade", "paddock"], Some(&newer), &["--set", "config.rateLimitPerMinute=120"])?;
        let limit = ("RATE_LIMIT_PER_MINUTE".to_owned(), "120".to_owned());
        ensure!(release.container("paddock")?.environment.contains(&limit));
        let paddock = release.start(&ollama).await?;
        assert_serves(&paddock, &key).await?;
        assert_serves(&paddock, &admin).await?;
        drop(paddock);

        release.helm(&["rollback", "paddock", "1"], None, &[])?;
        let paddock = release.start(&ollama).await?;
        assert_serves(&paddock, &key).await?;
        let log = paddock.process().log().text();
        ensure!(!log.contains("forbidden"), "{log}");

        release.helm(&["uninstall", "paddock"], None, &[])?;
        assert_serves(&paddock, &key).await?;
        ensure!(release.secret("ada-apikey", "api-key")? == key);
        for kept in ["crd/apikeys.paddock.dev", "apikey/ada", "pvc/paddock-data", "secret/paddock-bootstrap-admin"] {
            release.kubectl(&["get", kept])?;
        }
        ensure!(release.kubectl(&["get", "deployment/paddock"]).is_err());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn definitions_that_exist_are_not_taken_over_by_accident() {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        let mut command = Command::new(Part::Helm.locate()?);
        command.args(["install", "paddock", "--namespace", &namespace]).arg(file("charts/paddock"));
        command.arg("--values").arg(file("tests/deploy/values/embedded.yaml"));
        let refused = run(command.env("KUBECONFIG", cluster.kubeconfig()));
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(message.contains("invalid ownership metadata"), "{message}");
        Ok(())
    })
    .await;
}
