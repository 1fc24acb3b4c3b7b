//! The quickstart end to end: from three YAMLs to an answered chat, with every step in the audit
//! log.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    demo::{OBJECTS, SECRET},
    eventually::eventually,
    kubernetes::{CONTEXT, Kubernetes},
    ollama::{Ollama, chat_model_file},
    paddock::{Caller, Launch, Paddock, fetch_json},
    process::{Signal, run},
    reaper,
    registry::Registry,
    story::story,
    testbed::{Part, repository},
    workload::Workload,
};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn three_yamls_become_an_answered_chat(#[case] engine: Engine) {
    story(quickstart_story(engine)).await;
}

async fn quickstart_story(engine: Engine) -> Result<()> {
    let cluster = Kubernetes::shared().await?;
    Part::Python.locate()?;
    let ollama = Ollama::empty().await?;
    let registry = Registry::start().await?;
    let (model, _) = registry.add_gguf("library/smollm2:135m", &chat_model_file()?)?;
    let database = Database::new(engine).await?;
    let namespace = cluster.namespace().await?;
    let launch = Launch::new(&["run", "--operator", "--context", CONTEXT], database.url())?
        .ollama(ollama.url())
        .env("KUBECONFIG", &cluster.kubeconfig().display().to_string())
        .env("WATCH_NAMESPACES", &namespace)
        .env("LEASE_NAMESPACE", &namespace)
        .env("MODEL_REGISTRIES", &registry.url());
    let (paddock, admin) = Paddock::seeded(launch.clone()).await?;

    let kubectl = |arguments: &[&str]| run(cluster.kubectl(&namespace)?.args(arguments));
    let manifests = quickstart(&model)?;
    kubectl(&["apply", "--filename", &manifests.path().display().to_string()])?;
    for object in OBJECTS {
        kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", object])
            .with_context(|| kubectl(&["get", object, "--output=yaml"]).unwrap_or_default())?;
    }
    let workload = Workload::new(&kubectl(&["get", "secret", SECRET, "--output=json"])?, &model)?;

    let lines = run(&mut workload.curl())?;
    let last: Value = serde_json::from_str(lines.lines().last().context("lines")?)?;
    ensure!(lines.lines().count() > 1 && last["done"] == true, "{lines}");
    for mut sdk in [workload.ollama_sdk()?, workload.openai_sdk()?] {
        let text = run(&mut sdk)?;
        ensure!(!text.trim().is_empty(), "an empty answer");
    }

    let rows = eventually("three usage rows", Duration::from_secs(10), async || {
        let rows = database.usage_rows().await?;
        ensure!(rows.len() == 3, "{rows:?}");
        Ok(rows)
    })
    .await?;
    assert_eq!(rows[0].prompt_tokens, last["prompt_eval_count"].as_i64());
    assert_eq!(rows[0].completion_tokens, last["eval_count"].as_i64());
    ensure!(rows.iter().all(|row| row.http_status == 200 && row.tokens_estimated == 0), "{rows:?}");
    assert_audited(&admin, &namespace).await?;

    assert_restart_changes_nothing(cluster, &namespace, paddock, &launch).await?;
    assert_sealed(&database, &launch).await
}

/// The files of `examples/quickstart/`, with a model from the test's registry instead of the public
/// one.
fn quickstart(model: &str) -> Result<TempDir> {
    let folder = reaper::scratch_dir("quickstart")?;
    for file in fs::read_dir(repository().join("examples/quickstart"))? {
        let file = file?;
        let text = fs::read_to_string(file.path())?;
        let text = text.replace("model: smollm2:135m", &format!("model: {model}\n  insecureRegistry: true"));
        fs::write(folder.path().join(file.file_name()), text)?;
    }
    Ok(folder)
}

/// Asserts that the audit log has the steps in order, each with the object and its field manager.
async fn assert_audited(admin: &Caller, namespace: &str) -> Result<()> {
    let audit = fetch_json(admin.get("/audit?limit=500")).await?;
    let mut events = audit.as_array().context("a list")?.clone();
    events.reverse();
    let by_operator: Vec<_> = events.iter().filter(|event| event["actor"].to_string().contains(namespace)).collect();
    let types: Vec<_> = by_operator.iter().filter_map(|event| event["event_type"].as_str()).collect();
    for wanted in ["user_created", "api_key_issued", "model_pulled"] {
        ensure!(types.iter().filter(|&&t| t == wanted).count() == 1, "one {wanted} in {types:?}");
    }
    let place = |wanted: &str| types.iter().position(|&t| t == wanted);
    ensure!(place("user_created") < place("api_key_issued"), "{types:?}");
    for (event_type, object) in
        [("user_created", "ApiUser"), ("api_key_issued", "ApiKey"), ("model_pulled", "OllamaModel")]
    {
        let event = by_operator.iter().find(|event| event["event_type"] == event_type).context(event_type)?;
        // The actor is the author of the object, not the operator.
        let actor = format!("operator:kubectl-client-side-apply:{object}/{namespace}/");
        ensure!(event["actor"].as_str().is_some_and(|found| found.starts_with(&actor)), "{event}");
    }
    Ok(())
}

/// Asserts that a restart leaves all objects as they are.
async fn assert_restart_changes_nothing(
    cluster: &Kubernetes,
    namespace: &str,
    paddock: Paddock,
    launch: &Launch,
) -> Result<()> {
    let versions = || -> Result<Vec<String>> {
        let version = "--output=jsonpath={.metadata.resourceVersion}";
        let secret = format!("secret/{SECRET}");
        let all = OBJECTS.into_iter().chain([secret.as_str()]);
        all.map(|object| run(cluster.kubectl(namespace)?.args(["get", object, version]))).collect()
    };
    let before = versions()?;
    paddock.process().signal(Signal::Term)?;
    let status = paddock.process().wait_for_exit(Duration::from_secs(40)).await?;
    ensure!(status.success(), "{status}");
    let _again = launch.clone().start().await?;
    assert_eq!(versions()?, before);
    Ok(())
}

/// Asserts that the audit log verifies, and no longer does after a changed letter.
async fn assert_sealed(database: &Database, launch: &Launch) -> Result<()> {
    let verify = || run(&mut launch.command(&["audit", "verify"])?);
    verify()?;
    let changed = database.execute("update audit_logs set actor = replace(actor, 'ApiKey', 'ApiKez')").await?;
    ensure!(changed > 0);
    let broken = format!("{:#}", verify().expect_err("a changed row"));
    ensure!(broken.contains("exit code 1"), "{broken}");
    Ok(())
}
