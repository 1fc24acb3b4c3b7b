//! The API against its own document: schemathesis generates valid and invalid requests from it, and
//! the document must cover every answer. Exceptions are in `schemathesis.toml`.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::{FakeOllama, Script, chat_events, chat_lines},
    paddock::{Launch, Paddock, SCOPES, fetch_json},
    reaper,
    story::{soak_or, story},
    testbed::Part,
};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;

const MODEL: &str = "smollm2:135m";
const CONFIGURATION: &str = include_str!("schemathesis.toml");
const HOOKS: &str = include_str!("hooks.py");

/// The kinds of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Admin,
    User,
    Nobody,
}

/// The seeds of a run, and the number of examples of each kind for each operation.
fn seeds_and_examples() -> (&'static [u32], u32) {
    soak_or((&[1, 2, 3], 50), (&[1], 4))
}

#[rstest]
#[case::an_admin(Identity::Admin, Engine::Postgres)]
#[case::a_user(Identity::User, Engine::Sqlite)]
#[case::nobody(Identity::Nobody, Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_conforms_to_the_document(#[case] identity: Identity, #[case] engine: Engine) {
    story(async {
        let schemathesis = Part::Python.locate()?.with_file_name("schemathesis");
        let (database, ollama) = (Box::pin(Database::new(engine)).await?, ollama().await?);
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        let launch = launch.env("RATE_LIMIT_PER_MINUTE", "1000000").env("LOG_LEVEL", "error");
        let (paddock, admin) = Box::pin(Paddock::seeded(launch)).await?;
        let roles = if identity == Identity::Admin { json!(["admin"]) } else { json!(["user"]) };
        let user = admin.create_user(json!({"roles": roles})).await?;
        let fields = if identity == Identity::Admin { json!({"scopes": SCOPES}) } else { json!({}) };
        let (key, caller) = admin.create_key(user, fields).await?;
        let (seeds, examples) = seeds_and_examples();
        for seed in seeds {
            let mut run = Command::new(&schemathesis);
            run.args(["--config-file", "schemathesis.toml", "run", &format!("{}/openapi.json", paddock.url())]);
            run.args(["--seed", &seed.to_string(), "--max-examples", &examples.to_string()]);
            run.args(["--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"]);
            run.args(["--no-color", "--continue-on-failure", "--warnings", "off"]);
            if identity != Identity::Nobody {
                run.arg("--header").arg(format!("Authorization: Bearer {}", caller.key()));
            }
            run.env("CALLER_USER", user.to_string()).env("CALLER_KEY", key.to_string());
            assert_no_findings(run).await.with_context(|| format!("{identity:?} with seed {seed}"))?;
        }
        // The caller was authenticated to the end, and its requests had effects.
        fetch_json(caller.get("/me")).await?;
        if identity == Identity::Admin { assert_effects(&database).await } else { Ok(()) }
    })
    .await;
}

/// An Ollama that answers every request.
async fn ollama() -> Result<FakeOllama> {
    let fake = FakeOllama::start(&[MODEL]).await?;
    fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 2)));
    fake.script("/api/generate", Script::ndjson([json!({"model": MODEL, "response": "w", "done": true})]));
    fake.script("/api/embed", Script::json(StatusCode::OK, &json!({"embeddings": [[0.5]], "prompt_eval_count": 1})));
    fake.script("/v1/chat/completions", Script::events(chat_events(MODEL, 2, true)));
    Ok(fake)
}

/// Runs schemathesis in its own folder, and asserts that it finds nothing.
async fn assert_no_findings(mut run: Command) -> Result<()> {
    let folder = reaper::scratch_dir("schemathesis")?;
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    put("schemathesis.toml", CONFIGURATION)?;
    put("hooks.py", HOOKS)?;
    run.current_dir(folder.path());
    // The servers of this process must answer meanwhile.
    let output = tokio::task::spawn_blocking(move || run.output()).await??;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Asserts that requests had effects. A run of refused requests would find nothing either.
async fn assert_effects(database: &Database) -> Result<()> {
    let events: Vec<(String, i64)> =
        database.rows("SELECT event_type, count(*) FROM audit_logs GROUP BY event_type").await?;
    let events: BTreeMap<_, _> = events.into_iter().collect();
    for (event, other) in [("user_created", 1), ("user_deleted", 0), ("api_key_issued", 2), ("api_key_revoked", 0)] {
        ensure!(events.get(event).is_some_and(|&count| count > other), "hardly any {event}: {events:?}");
    }
    Ok(())
}
