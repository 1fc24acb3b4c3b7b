//! A real Ollama, with its models in a scratch folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    eventually::eventually,
    process::{Log, Process, Signal, free_port},
    reaper,
    shared_servers::{self, SharedServer},
    testbed::Part,
};

/// The model that chats: `SmolLM2-135M-Instruct`.
pub const CHAT_MODEL: &str = "smollm2:135m";
/// The model that embeds: `all-MiniLM-L6-v2`, 384 dimensions.
pub const EMBEDDING_MODEL: &str = "all-minilm:l6";

const START_TIMEOUT: Duration = Duration::from_secs(30);
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(30);
const CHAT_MODEL_FOLDER: &str = "smollm2-135m";
const CHAT_MODEL_FILE: &str = "model.gguf";
/// The parts of the embedding model that Ollama's converter reads.
const SAFETENSORS: [&str; 8] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "1_Pooling/config.json",
];

/// The file with the chat model's weights, for a registry to serve.
pub fn chat_model_file() -> Result<PathBuf> {
    Ok(Part::Models.locate()?.join(CHAT_MODEL_FOLDER).join(CHAT_MODEL_FILE))
}

/// A running Ollama, started by this process or inherited from `paddock-tests exec`.
#[derive(Debug)]
pub struct Ollama {
    url: String,
    log: Log,
    client: Client,
    server: Option<(Process, TempDir)>,
}

impl Ollama {
    /// The server that all tests share, with both models. Tests must not change its set of models.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Ollama> = OnceCell::const_new();
        let ollama = SHARED
            .get_or_try_init(async || match shared_servers::inherited(SharedServer::Ollama) {
                Some((url, log)) => Ok(Self { url, log, client: client()?, server: None }),
                None => Self::with_models().await,
            })
            .await?;
        crate::story::attach_log(&ollama.log);
        Ok(ollama)
    }

    /// Starts a server for one test, with both models.
    pub async fn with_models() -> Result<Self> {
        let models = Part::Models.locate()?;
        let ollama = Self::empty().await?;
        ollama
            .import(CHAT_MODEL, &models.join(CHAT_MODEL_FOLDER), &[CHAT_MODEL_FILE])
            .await
            .context("importing the chat model")?;
        let folder = models.join("all-minilm-l6");
        ollama.import(EMBEDDING_MODEL, &folder, &SAFETENSORS).await.context("importing the embedding model")?;
        Ok(ollama)
    }

    /// Starts a server for one test, without models.
    pub async fn empty() -> Result<Self> {
        let ollama = Part::Ollama.locate()?;
        let folder = reaper::scratch_dir("ollama")?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let url = format!("http://{address}");
        let mut command = Command::new(ollama);
        command
            .arg("serve")
            .env("OLLAMA_HOST", &address)
            .env("OLLAMA_MODELS", folder.path().join("models"))
            .env("OLLAMA_NO_CLOUD", "1")
            // Ollama stores its key in the home folder.
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path());
        let server = Process::start("ollama", command, Signal::Term)?;
        let client = client()?;
        server
            .wait_until_ready(START_TIMEOUT, async || {
                let version = client.get(format!("{url}/api/version")).send().await?;
                version.error_for_status()?;
                Ok(())
            })
            .await?;
        Ok(Self { url, log: server.log().clone(), client, server: Some((server, folder)) })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The server process, for tests that kill it; `None` when it is inherited.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.server.as_ref().map(|(process, _)| process)
    }

    /// Its version.
    pub async fn version(&self) -> Result<String> {
        let answer: Value = self.client.get(format!("{}/api/version", self.url)).send().await?.json().await?;
        Ok(answer["version"].as_str().context("a version")?.to_owned())
    }

    /// The names of its models.
    pub async fn models(&self) -> Result<Vec<String>> {
        self.list("/api/tags").await
    }

    /// Pulls a model and returns the lines of progress.
    ///
    /// Errors: the last line is not `success`.
    pub async fn pull(&self, model: &str, insecure: bool) -> Result<Vec<Value>> {
        self.lines("/api/pull", &json!({"model": model, "insecure": insecure})).await
    }

    /// Deletes a model.
    pub async fn delete(&self, model: &str) -> Result<()> {
        let answer =
            self.client.delete(format!("{}/api/delete", self.url)).json(&json!({"model": model})).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Creates a model from files below `folder`, as `ollama create` does.
    pub async fn import(&self, model: &str, folder: &Path, files: &[&str]) -> Result<()> {
        let mut digests = Map::new();
        for &name in files {
            let bytes = tokio::fs::read(folder.join(name)).await.with_context(|| format!("the model's {name}"))?;
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
            let upload = self.client.post(format!("{}/api/blobs/{digest}", self.url)).body(bytes);
            upload.send().await?.error_for_status()?;
            digests.insert(name.to_owned(), digest.into());
        }
        self.lines("/api/create", &json!({"model": model, "files": digests})).await?;
        Ok(())
    }

    /// Gives a model a second name. Only for servers of one test.
    pub async fn copy(&self, model: &str, name: &str) -> Result<()> {
        let names = json!({"source": model, "destination": name});
        let answer = self.client.post(format!("{}/api/copy", self.url)).json(&names).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Creates a model with the weights of `from` and another template. Ollama derives from the
    /// template what the model can do.
    pub async fn create_with_template(&self, model: &str, from: &str, template: &str) -> Result<()> {
        self.lines("/api/create", &json!({"model": model, "from": from, "template": template})).await?;
        Ok(())
    }

    /// Removes all models from memory, and with them the cached prompts.
    pub async fn unload_models(&self) -> Result<()> {
        for model in self.loaded_models().await? {
            let unload = json!({"model": model, "keep_alive": 0});
            let answer = self.client.post(format!("{}/api/generate", self.url)).json(&unload).send().await?;
            answer.error_for_status()?;
        }
        eventually("no model in memory", UNLOAD_TIMEOUT, async || {
            let loaded = self.loaded_models().await?;
            ensure!(loaded.is_empty(), "{loaded:?}");
            Ok(())
        })
        .await
    }

    /// The names of the models in memory.
    async fn loaded_models(&self) -> Result<Vec<String>> {
        self.list("/api/ps").await
    }

    /// The names in a list of models.
    async fn list(&self, path: &str) -> Result<Vec<String>> {
        let answer: Value = self.client.get(format!("{}{path}", self.url)).send().await?.json().await?;
        let models = answer["models"].as_array().context("a list of models")?;
        Ok(models.iter().filter_map(|m| Some(m["name"].as_str()?.to_owned())).collect())
    }

    /// The lines of a streamed answer.
    ///
    /// Errors: the last line is not `success`.
    async fn lines(&self, path: &str, body: &Value) -> Result<Vec<Value>> {
        let answer = self.client.post(format!("{}{path}", self.url)).json(body).send().await?;
        let text = answer.text().await?;
        let lines =
            text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().with_context(|| text.clone())?;
        let last = lines.last().context("an answer")?;
        ensure!(last["status"] == "success", "{path}: {last}");
        Ok(lines)
    }
}

/// A client without idle connections. Tests share it, but each test has its own runtime, and
/// connections end with their runtime.
fn client() -> Result<Client> {
    Ok(Client::builder().pool_max_idle_per_host(0).build()?)
}
