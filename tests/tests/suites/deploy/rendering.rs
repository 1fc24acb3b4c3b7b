//! What the chart and kustomize render, and what a real API server says of it.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{kubernetes::Kubernetes, paddock::Launch, process::run, reaper, story::story};
use serde::Deserialize as _;
use serde_json::Value;

use super::{file, script};

/// A Deployment without any security context.
const ROOT_DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: root, namespace: paddock}
spec:
  selector: {matchLabels: {app: root}}
  template:
    metadata: {labels: {app: root}}
    spec: {containers: [{name: root, image: root}]}
";

#[tokio::test]
async fn the_chart_renders_as_recorded_and_refuses_contradictions() {
    story(async {
        run(&mut script("chart")?)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn kustomize_renders_what_the_chart_renders() {
    story(async {
        run(&mut script("kustomize")?)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_api_server_accepts_every_rendering_under_pod_security() {
    story(async {
        let cluster = Kubernetes::shared().await?;
        run(script("dry-run")?.env("KUBECONFIG", cluster.kubeconfig()))?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_may_run_as_root_is_refused() {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let folder = reaper::scratch_dir("root-deployment")?;
        let path = folder.path().join("deployment.yaml");
        fs::write(&path, ROOT_DEPLOYMENT)?;
        let refused = run(script("dry-run")?.arg(&path).env("KUBECONFIG", cluster.kubeconfig()));
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(message.contains("violates PodSecurity"), "{message}");
        Ok(())
    })
    .await;
}

/// The names of the variables of Paddock's containers in a rendering.
fn variables(rendering: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for document in serde_yaml_ng::Deserializer::from_str(rendering) {
        let document = Value::deserialize(document)?;
        let pod = &document["spec"]["template"]["spec"];
        let containers = ["initContainers", "containers"].into_iter().filter_map(|kind| pod[kind].as_array()).flatten();
        let own =
            containers.filter(|container| container["image"].as_str().is_some_and(|i| i.contains("paddock-dev/")));
        let variables = own.filter_map(|container| container["env"].as_array()).flatten();
        names.extend(variables.filter_map(|variable| Some(variable["name"].as_str()?.to_owned())));
    }
    Ok(names)
}

#[tokio::test]
async fn every_variable_of_the_chart_is_a_setting() {
    story(async {
        let config = run(&mut Launch::new(&[], "sqlite:paddock.db")?.command(&["config", "--output", "json"])?)?;
        let config: Value = serde_json::from_str(&config)?;
        let settings = config.as_object().context("an object of settings")?;
        let mut found = BTreeSet::new();
        for golden in fs::read_dir(file("tests/deploy/golden"))? {
            found.extend(variables(&fs::read_to_string(golden?.path())?)?);
        }
        // The value extraEnv of a test.
        found.remove("OTEL_RESOURCE_ATTRIBUTES");
        ensure!(found.len() > 30, "{found:?}");
        let unknown: Vec<_> = found.iter().filter(|name| !settings.contains_key(name.as_str())).collect();
        ensure!(unknown.is_empty(), "{unknown:?}");
        Ok(())
    })
    .await;
}
