//! The dashboard and the alerts, against the metrics of a running Paddock.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    kubernetes::{CONTEXT, Kubernetes},
    paddock::{Launch, Paddock, fetch_json},
    process::run,
    reaper,
    story::story,
    testbed::Part,
};
use serde_json::{Value, json};

use super::{file, yaml};

const MODEL: &str = "smollm2:135m";
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(30);
/// Metrics of failures, which exist from the first failure on.
const FAILURES: [&str; 3] =
    ["paddock_usage_lost_total", "paddock_audit_head_failures_total", "paddock_shared_limits_available"];

/// The names of Paddock's metrics in an expression, without the suffixes of a histogram.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("paddock_") || word.starts_with("process_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

/// Collects the strings below each member `expr`.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if name == "expr" => found.push(text.to_owned()),
                    _ => expressions(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The metrics that a file of dashboards or rules names.
fn metrics_of(document: &Value) -> BTreeSet<String> {
    let mut found = Vec::new();
    expressions(document, &mut found);
    found.iter().flat_map(|expression| metrics_in(expression)).collect()
}

/// The names of the metrics that a process exposes.
async fn scrape(paddock: &Paddock) -> Result<BTreeSet<String>> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.text().await?;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    Ok(types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect())
}

/// A server with an operator that has served every kind of request, refusals included.
async fn busy_server(database: &Database, ollama: &FakeOllama) -> Result<Paddock> {
    let cluster = Kubernetes::shared().await?;
    let namespace = cluster.namespace().await?;
    let launch = Launch::new(&["run", "--operator", "--context", CONTEXT], database.url())?
        .ollama(&ollama.url())
        .env("KUBECONFIG", &cluster.kubeconfig().display().to_string())
        .env("WATCH_NAMESPACES", &namespace)
        .env("LEASE_NAMESPACE", &namespace);
    let (paddock, admin) = Paddock::seeded(launch).await?;
    let user = admin.create_user(json!({"roles": ["user"]})).await?;
    let (_, caller) = admin.create_key(user, json!({"limits": {"requests_per_minute": 1}})).await?;
    ollama.script("/api/chat", Script::ndjson(chat_lines(MODEL, 3)));
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]});
    let first = caller.post("/api/chat", &body).send().await?;
    ensure!(first.status().is_success(), "{}", first.status());
    first.bytes().await?;
    let over_limit = caller.post("/api/chat", &body).send().await?;
    ensure!(over_limit.status() == 429, "{}", over_limit.status());
    let unknown = paddock.caller("pdk_unknown").get("/me").send().await?;
    ensure!(unknown.status() == 401, "{}", unknown.status());
    fetch_json(admin.get("/users")).await?;
    // Its pull fails, so that a pull has ended.
    let model =
        "{apiVersion: paddock.dev/v1alpha1, kind: OllamaModel, metadata: {name: m}, spec: {model: 'missing:1'}}";
    let manifest = reaper::scratch_dir("model")?;
    fs::write(manifest.path().join("model.yaml"), model)?;
    run(cluster.kubectl(&namespace)?.arg("apply").arg("--filename").arg(manifest.path()))?;
    Ok(paddock)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_dashboard_and_alerts_is_exposed() {
    story(async {
        let dashboard: Value = serde_json::from_slice(&fs::read(file("charts/paddock/files/dashboard.json"))?)?;
        let mut named = metrics_of(&dashboard);
        ensure!(named.len() > 15, "{named:?}");
        named.extend(metrics_of(&yaml("charts/paddock/files/alerts.yaml")?));
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&[MODEL]).await?);
        let paddock = busy_server(&database, &ollama).await?;
        eventually("every metric", SCRAPE_TIMEOUT, async || {
            let exposed = scrape(&paddock).await?;
            let missing: Vec<_> =
                named.difference(&exposed).filter(|name| !FAILURES.contains(&name.as_str())).collect();
            ensure!(missing.is_empty(), "{missing:?}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn every_alert_has_a_runbook_and_a_test() {
    story(async {
        let alerts = yaml("charts/paddock/files/alerts.yaml")?;
        let runbook = fs::read_to_string(file("docs/alerts.md"))?;
        let tests = fs::read_to_string(file("tests/deploy/alerts.test.yaml"))?;
        let operations = fs::read_to_string(file("docs/operations.md"))?;
        for rule in alerts["groups"][0]["rules"].as_array().context("rules")? {
            let name = rule["alert"].as_str().context("a name")?;
            let anchor = format!("#{}", name.to_lowercase());
            ensure!(rule["annotations"]["runbook_url"].as_str().is_some_and(|url| url.ends_with(&anchor)), "{name}");
            ensure!(runbook.contains(&format!("\n## {name}\n")), "docs/alerts.md has no section {name}");
            ensure!(tests.contains(&format!("alertname=\"{name}\"")), "alerts.test.yaml has no {name}");
        }
        for name in metrics_of(&alerts) {
            ensure!(operations.contains(&name), "docs/operations.md has no {name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn each_alert_fires_on_its_cause_only() {
    story(async {
        let tests = file("tests/deploy/alerts.test.yaml");
        run(Command::new(Part::Promtool.locate()?).args(["test", "rules"]).arg(tests))?;
        Ok(())
    })
    .await;
}
