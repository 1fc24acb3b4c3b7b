//! Models: pulls by a real Ollama from a registry, their progress, and deletions.

mod crash;
mod native;
mod pulls;
mod registries;
mod replicas;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    ollama::Ollama,
    paddock::{Caller, Launch, Paddock, fetch_json},
    registry::{Fault, Registry},
};
use reqwest::Response;
use serde_json::{Value, json};

/// How long a pull may take to reach a state.
const STATE_TIMEOUT: Duration = Duration::from_secs(40);
/// Bytes per second of a slow registry.
const SLOW: u32 = 200_000;
/// The size of a model that a slow registry sends for about ten seconds.
const SLOW_SIZE: usize = 2_000_000;

/// An Ollama without models, a registry, and a Paddock in front of them.
struct Fixture {
    ollama: Ollama,
    registry: Registry,
    database: Database,
    launch: Launch,
    paddock: Option<Paddock>,
    admin: Caller,
}

impl Fixture {
    async fn start(engine: Engine) -> Result<Self> {
        Self::with_settings(engine, |launch| launch).await
    }

    async fn with_settings(engine: Engine, settings: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let registry = Registry::start().await?;
        let registries = registry.url();
        Self::with_registry(engine, registry, |launch| settings(launch.env("MODEL_REGISTRIES", &registries))).await
    }

    async fn with_registry(
        engine: Engine,
        registry: Registry,
        settings: impl FnOnce(Launch) -> Launch,
    ) -> Result<Self> {
        let ollama = Ollama::empty().await?;
        let database = Database::new(engine).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(ollama.url());
        let launch = settings(launch);
        let (paddock, admin) = Box::pin(Paddock::seeded(launch.clone())).await?;
        Ok(Self { ollama, registry, database, launch, paddock: Some(paddock), admin })
    }

    /// Adds a model to the registry, and returns its full name.
    fn add_model(&self, model: &str, size: usize, seed: u64) -> Result<String> {
        Ok(self.registry.add_noise(model, size, seed)?.0)
    }

    /// Starts a pull of a model that takes about ten seconds, and returns the model and the job.
    async fn start_slow_pull(&self) -> Result<(String, i64)> {
        let model = self.add_model("library/slow:1", SLOW_SIZE, 7)?;
        self.registry.set_fault(Some(Fault::Throttle(SLOW)));
        let job = self.start_pull(&model).await?;
        Ok((model, job))
    }

    async fn start_pull(&self, model: &str) -> Result<i64> {
        let pull = fetch_json(self.admin.post("/models/pull", &json!({"model": model}))).await?;
        pull["job"].as_i64().with_context(|| pull.to_string())
    }

    async fn pull(&self, job: i64) -> Result<Value> {
        fetch_json(self.admin.get(&format!("/models/pull/{job}"))).await
    }

    /// Waits until a pull is in this state.
    async fn wait_for(&self, job: i64, state: &str) -> Result<Value> {
        eventually(&format!("pull {job} to be {state}"), STATE_TIMEOUT, async || {
            let pull = self.pull(job).await?;
            ensure!(pull["state"] == state, "{pull}");
            Ok(pull)
        })
        .await
    }

    /// Waits until a running pull has received data.
    async fn wait_for_progress(&self, job: i64) -> Result<Value> {
        eventually(&format!("progress of pull {job}"), STATE_TIMEOUT, async || {
            let pull = self.pull(job).await?;
            ensure!(pull["state"] == "running" && pull["completed_bytes"].as_i64() > Some(100_000), "{pull}");
            Ok(pull)
        })
        .await
    }

    /// Follows the events of a pull.
    async fn follow(&self, job: i64) -> Result<Events> {
        let answer = self.admin.get(&format!("/models/pull/{job}/events")).send().await?.error_for_status()?;
        Ok(Events { answer, text: String::new() })
    }

    /// Makes a Kubernetes object the owner of a model, directly in the database.
    async fn own_model(&self, model: &str) -> Result<()> {
        let owned = format!(
            "INSERT INTO models (model, origin, managed_cluster, managed_namespace, managed_name, managed_uid, created_at, updated_at) \
             SELECT '{model}', 'pulled', 'c', 'team-a', 'm', 'u', created_at, created_at FROM users WHERE id = 1"
        );
        self.database.execute(&owned).await?;
        Ok(())
    }

    /// The types of the events about models, oldest first.
    async fn audit_events(&self) -> Result<Vec<String>> {
        let events = "SELECT event_type FROM audit_logs WHERE event_type LIKE 'model_%' ORDER BY id";
        self.database.texts(events).await
    }
}

/// The server-sent events of a pull.
struct Events {
    answer: Response,
    text: String,
}

impl Events {
    /// The name and the data of the next event; `None` at the end.
    async fn next(&mut self) -> Result<Option<(String, Value)>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let found = field("event: ").zip(field("data: "));
                let found = found
                    .map(|(name, data)| Ok::<_, serde_json::Error>((name.to_owned(), serde_json::from_str(data)?)));
                let found = found.transpose()?;
                let read = self.text.len() - rest.len();
                self.text.drain(..read);
                if found.is_some() {
                    return Ok(found);
                }
                continue;
            }
            match self.answer.chunk().await? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk)?),
                None => return Ok(None),
            }
        }
    }

    /// All remaining events.
    async fn rest(mut self) -> Result<Vec<(String, Value)>> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

/// Asserts that no figure of the progress decreases.
fn assert_monotone<'a>(pulls: impl IntoIterator<Item = &'a Value>) -> Result<()> {
    let mut last = [0; 3];
    for pull in pulls {
        let figures = ["percent", "completed_bytes", "total_bytes"].map(|name| pull[name].as_i64().unwrap_or(-1));
        ensure!(last.iter().zip(figures).all(|(last, now)| *last <= now), "{last:?} became {pull}");
        last = figures;
    }
    Ok(())
}
