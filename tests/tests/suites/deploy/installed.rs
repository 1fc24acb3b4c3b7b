//! The chart, installed on a real control plane: upgrade, rollback, uninstall, two releases.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    fake_ollama::FakeOllama, kubernetes::Kubernetes, paddock::Paddock, process::run, story::story, testbed::Part,
};
use serde::Deserialize as _;
use serde_json::Value;

use super::{file, release::Release};

const READY: &str = "--for=condition=Ready";
const WAIT: &str = "--timeout=60s";
const MODEL: &str = "smollm2:135m";
/// Hands definitions that exist to the release.
const ADOPT: &[&str] = &["--take-ownership"];

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
fn run_chart_test(release: &Release<'_>, paddock: &Paddock) -> Result<()> {
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
        let cluster = Kubernetes::start().await?;
        let release = Release::install(&cluster, &cluster.namespace().await?, "paddock", ADOPT)?;
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
        drop(paddock);

        release.install_again(&[])?;
        let paddock = release.start(&ollama).await?;
        assert_serves(&paddock, &key).await?;
        release.kubectl(&["wait", READY, WAIT, "apiuser/ada", "apikey/ada"])?;
        ensure!(release.secret("ada-apikey", "api-key")? == key);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_in_one_namespace_lead_side_by_side() {
    story(async {
        let ollama = FakeOllama::start(&[MODEL]).await?;
        let cluster = Kubernetes::start().await?;
        let namespace = cluster.namespace().await?;
        let mut running = Vec::new();
        for (name, options) in [("paddock", ADOPT), ("paddock-two", &["--set", "crds.install=false"])] {
            let release = Release::install(&cluster, &namespace, name, options)?;
            running.push((release.start(&ollama).await?, release));
        }
        for (paddock, release) in &running {
            release.wait_until_leader().await?;
            let log = paddock.process().log().text();
            ensure!(!log.contains("forbidden"), "{log}");
        }
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
