//! The harness itself: each server starts, does what the other suites expect, and leaves nothing
//! behind.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use http::StatusCode;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{End, FakeOllama, Outcome, Script, chat_lines},
    kubernetes::Kubernetes,
    ollama::{CHAT_MODEL, EMBEDDING_MODEL, Ollama, chat_model_file},
    postgres::Postgres,
    process::{Process, Signal, run},
    reaper::scratch_dir,
    registry::{Fault, Registry},
    story::story,
    testbed::Part,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_with_its_whole_group_and_its_log_stays() {
    story(async {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo child $!; wait"]);
        let process = Process::start("shell", shell, Signal::Term)?;
        let log = process.log().clone();
        let child = eventually("the shell's child", Duration::from_secs(10), async || {
            let text = log.text();
            let id = text.strip_prefix("child ").and_then(|line| line.trim().parse::<u32>().ok());
            id.context("nothing yet")
        })
        .await?;
        drop(process);
        eventually("the child to be gone", Duration::from_secs(10), async || {
            ensure!(!is_alive(child), "it is alive");
            Ok(())
        })
        .await?;
        ensure!(log.tail(1).starts_with("child "));
        Ok(())
    })
    .await;
}

/// Whether a process is alive. A zombie counts as dead.
fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_passes_servers_to_the_command_and_leaves_nothing() {
    story(async {
        Part::Postgres.locate()?;
        let temporary = scratch_dir("exec")?;
        let mut exec = exec_postgres(temporary.path(), "echo $PADDOCK_TEST_POSTGRES_URL; exit 3");
        let output = tokio::task::spawn_blocking(move || exec.output()).await??;
        let url = String::from_utf8(output.stdout)?;
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(PgConnection::connect(url.trim()).await.is_err(), "{url} still answers");
        assert_eq!(std::fs::read_dir(temporary.path())?.count(), 0);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_end_when_their_parent_is_killed() {
    story(async {
        Part::Postgres.locate()?;
        let temporary = scratch_dir("killed")?;
        let exec = exec_postgres(temporary.path(), "echo $PADDOCK_TEST_POSTGRES_URL; exec sleep 1000");
        let exec = Process::start("exec", exec, Signal::Kill)?;
        let log = exec.log().clone();
        let url = exec
            .wait_until_ready(Duration::from_mins(1), async || {
                let text = log.text();
                let url = text.lines().find(|line| line.starts_with("postgres://")).context("no URL yet")?;
                Ok(url.to_owned())
            })
            .await?;
        PgConnection::connect(&url).await?.close().await?;
        exec.signal(Signal::Kill)?;
        eventually("the server and its folder to be gone", Duration::from_secs(20), async || {
            ensure!(PgConnection::connect(&url).await.is_err(), "{url} still answers");
            let left: Vec<_> = std::fs::read_dir(temporary.path())?.collect();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await
    })
    .await;
}

/// `paddock-tests exec` with its own PostgreSQL, and its temporary files in this folder.
fn exec_postgres(temporary: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paddock-tests"));
    command.args(["exec", "--only", "postgres", "--", "sh", "-c", script]).env("TMPDIR", temporary);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn each_test_has_its_own_database() {
    story(async {
        let postgres = Postgres::shared().await?;
        let (first, second) = (postgres.empty_database().await?, postgres.empty_database().await?);
        let mut connection = PgConnection::connect(&first).await?;
        sqlx::query("create table mine (id bigint)").execute(&mut connection).await?;
        let mut connection = PgConnection::connect(&second).await?;
        let found: Option<String> =
            sqlx::query_scalar("select to_regclass('mine')::text").fetch_one(&mut connection).await?;
        ensure!(found.is_none(), "{found:?} is visible in another test's database");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_chats_and_embeds() {
    story(async {
        let ollama = Ollama::shared().await?;
        let mut models = ollama.models().await?;
        models.sort();
        assert_eq!(models, [EMBEDDING_MODEL, CHAT_MODEL]);
        let client = reqwest::Client::new();
        let chat = json!({
            "model": CHAT_MODEL, "stream": false, "options": {"num_predict": 8},
            "messages": [{"role": "user", "content": "Say hello."}],
        });
        let answer: Value = client.post(format!("{}/api/chat", ollama.url())).json(&chat).send().await?.json().await?;
        assert_eq!(answer["done"], true, "{answer}");
        ensure!(answer["eval_count"].as_u64() > Some(0), "{answer}");
        let embed = json!({"model": EMBEDDING_MODEL, "input": "hello"});
        let answer: Value =
            client.post(format!("{}/api/embed", ollama.url())).json(&embed).send().await?.json().await?;
        let vector = answer["embeddings"][0].as_array().with_context(|| answer.to_string())?;
        assert_eq!(vector.len(), 384);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_pulls_the_model_from_the_registry_and_runs_it() {
    story(async {
        let ollama = Ollama::empty().await?;
        let registry = Registry::start().await?;
        let (name, digest) = registry.add_gguf("library/smollm2:135m", &chat_model_file()?)?;
        let lines = ollama.pull(&name, true).await?;
        ensure!(lines.iter().any(|line| line["completed"].as_u64() > Some(0)), "{lines:?}");
        let tags: Value = reqwest::get(format!("{}/api/tags", ollama.url())).await?.json().await?;
        assert_eq!(tags["models"][0]["name"], *name);
        assert_eq!(format!("sha256:{}", tags["models"][0]["digest"].as_str().unwrap_or_default()), digest);
        let chat = json!({
            "model": name, "stream": false, "options": {"num_predict": 8},
            "messages": [{"role": "user", "content": "Say hello."}],
        });
        let answer: Value =
            reqwest::Client::new().post(format!("{}/api/chat", ollama.url())).json(&chat).send().await?.json().await?;
        assert_eq!(answer["done"], true, "{answer}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_fails_when_the_registry_fails() {
    story(async {
        let ollama = Ollama::empty().await?;
        let registry = Registry::start().await?;
        let (name, _) = registry.add_noise("library/noise:1", 1 << 20, 7)?;
        for fault in [
            Fault::Corrupt,
            Fault::Manifests(StatusCode::NOT_FOUND),
            Fault::Manifests(StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            registry.set_fault(Some(fault));
            let refused = ollama.pull(&name, true).await;
            ensure!(refused.is_err(), "{fault:?} was not noticed: {refused:?}");
        }
        registry.set_fault(None);
        ollama.pull(&name, true).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_deletes_namespaces_and_enforces_rbac() {
    story(async {
        let kubernetes = Kubernetes::shared().await?;
        let namespace = kubernetes.namespace().await?;
        let maps: Api<ConfigMap> = Api::namespaced(kubernetes.client().await?, &namespace);
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some("map".to_owned()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        maps.create(&PostParams::default(), &map).await?;

        let kubeconfig = kubernetes.service_account(&namespace, "nobody").await?;
        let refused = run(Command::new(Part::Kubernetes.locate()?.join("kubectl"))
            .args(["get", "configmaps"])
            .env("KUBECONFIG", kubeconfig));
        let refused = format!("{:#}", refused.expect_err("it has no rights"));
        ensure!(refused.contains(&format!("system:serviceaccount:{namespace}:nobody")), "{refused}");

        let namespaces: Api<Namespace> = Api::all(kubernetes.client().await?);
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        eventually("the namespace to be gone", Duration::from_mins(1), async || {
            ensure!(namespaces.get_opt(&namespace).await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

fn chat(fake: &FakeOllama) -> reqwest::RequestBuilder {
    reqwest::Client::new().post(format!("{}/api/chat", fake.url())).json(&json!({"model": CHAT_MODEL}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_ollama_keeps_its_pace() {
    story(async {
        let fake = FakeOllama::start(&[CHAT_MODEL]).await?;
        fake.script("/api/chat", Script::ndjson(chat_lines(CHAT_MODEL, 10)).every(Duration::from_millis(20)));
        let start = Instant::now();
        let text = chat(&fake).send().await?.text().await?;
        assert_eq!(text.lines().count(), 11);
        ensure!(start.elapsed() >= Duration::from_millis(200));
        let requests = fake.requests("/api/chat");
        assert_eq!(requests[0].outcome(Duration::from_secs(5)).await?, Outcome::Sent);
        assert_eq!(requests[0].json()["model"], CHAT_MODEL);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_ollama_notices_a_client_that_leaves() {
    story(async {
        let fake = FakeOllama::start(&[CHAT_MODEL]).await?;
        fake.script("/api/chat", Script::ndjson(chat_lines(CHAT_MODEL, 2)).ending(End::Hang));
        let mut body = chat(&fake).send().await?.bytes_stream();
        body.next().await.context("a frame")??;
        drop(body);
        let left = Instant::now();
        let outcome = fake.requests("/api/chat")[0].outcome(Duration::from_secs(5)).await?;
        let Outcome::Abandoned(at) = outcome else {
            anyhow::bail!("{outcome:?}");
        };
        ensure!(at.saturating_duration_since(left) < Duration::from_millis(500));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_ollama_breaks_a_connection_on_command() {
    story(async {
        let fake = FakeOllama::start(&[CHAT_MODEL]).await?;
        let lines = Script::ndjson(chat_lines(CHAT_MODEL, 2)).every(Duration::from_millis(20));
        fake.script("/api/chat", lines.ending(End::Abort));
        let cut = chat(&fake).send().await?.text().await;
        ensure!(cut.is_err(), "the connection should have broken: {cut:?}");
        Ok(())
    })
    .await;
}
