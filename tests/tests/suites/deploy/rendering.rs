//! What the chart and kustomize render, and what a real API server says of it.

use std::fs;

use anyhow::ensure;
use paddock_tests::{kubernetes::Kubernetes, process::run, reaper, story::story};

use super::script;

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
