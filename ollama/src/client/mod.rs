//! The administrative client of one Ollama: versions, models, pulls. The gateway's own traffic does not go through it.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::{Method, StatusCode};
use memchr::memchr;
use reqwest::{RequestBuilder, Response, Url};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::names::{ModelName, NameError};

/// The most of an error answer that is read, in bytes.
const MAX_ERROR_BODY: usize = 4 * 1024;
/// The longest line of a pull that is accepted, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the whole of any request but a pull.
    pub request: Duration,
    /// For the next line of a pull. Ollama is silent while it verifies what has arrived, for minutes if that is much.
    pub pull_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(30), pull_idle: Duration::from_mins(15) }
    }
}

/// Why a request to Ollama failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The base URL is not one of `http` or `https` with a host.
    #[error("the URL of Ollama must be like http://host:11434")]
    BaseUrl,
    /// The client could not be made.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// No connection, or it broke.
    #[error("Ollama cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in time.
    #[error("Ollama did not answer in time")]
    Timeout,
    /// An answer with the status of an error.
    #[error("Ollama answered {status}: {message}")]
    Status {
        /// The status.
        status: StatusCode,
        /// Ollama's own words.
        message: String,
    },
    /// An answer that is not what Ollama answers.
    #[error("Ollama's answer was not understood: {0}")]
    Protocol(String),
}

/// Why a pull failed. Whatever has arrived is kept by Ollama, so that trying again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Ollama gave up, and says why; this comes as a line under status 200.
    #[error("{0}")]
    Failed(String),
    /// The answer ended before success was told.
    #[error("the pull ended before it was complete")]
    Cut,
    /// The request itself failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A step of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// What Ollama is doing: `pulling manifest`, `verifying sha256 digest`.
    Status(String),
    /// How much of a layer has arrived.
    Layer {
        /// The layer's digest, `sha256:...`.
        digest: String,
        /// Bytes that have arrived.
        completed: u64,
        /// Bytes of the layer.
        total: u64,
    },
    /// The model is there. This is the only end that is success.
    Success,
}

/// The steps of a pull.
pub type PullStream = BoxStream<'static, Result<PullEvent, PullError>>;

/// A model that an Ollama has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tag {
    /// The name as Ollama prints it.
    pub name: String,
    /// The digest of the manifest: 64 hexadecimal digits, without `sha256:`.
    pub digest: String,
    /// Size on disk, in bytes.
    pub size: u64,
    /// When it was pulled or created, in RFC 3339 with the server's offset.
    #[serde(default)]
    pub modified_at: String,
    /// The host that runs it, if it is not this Ollama.
    #[serde(default, deserialize_with = "some_text")]
    pub remote_host: Option<String>,
    /// Its name there.
    #[serde(default, deserialize_with = "some_text")]
    pub remote_model: Option<String>,
}

impl Tag {
    /// The name in canonical form. Ollama can hold names that it would not take itself.
    pub fn model(&self) -> Result<ModelName, NameError> {
        ModelName::parse(&self.name)
    }

    /// Whether Ollama would run it elsewhere: on a remote host or in its cloud.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote_host.is_some() || self.model().is_ok_and(|name| name.is_cloud())
    }
}

/// What Ollama tells of one model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Show {
    /// What it can do: `completion`, `embedding`, `tools`, `thinking`, `vision`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its family, size and quantisation.
    #[serde(default)]
    pub details: Details,
    /// The host that runs it, if it is not this Ollama.
    #[serde(default, deserialize_with = "some_text")]
    pub remote_host: Option<String>,
}

/// What kind of model it is, in Ollama's words; empty where Ollama does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Details {
    /// As in `llama`.
    pub family: String,
    /// As in `134.52M`.
    pub parameter_size: String,
    /// As in `Q4_1`.
    pub quantization_level: String,
}

/// A client of the Ollama at one base URL. Cloning it is cheap and shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    timeouts: Timeouts,
}

#[derive(Serialize)]
struct Named<'a> {
    model: &'a str,
}

#[derive(Serialize)]
struct Pull<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    stream: bool,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Tags {
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

impl Client {
    /// A client of the Ollama at `base_url`, such as `http://localhost:11434`. It follows no redirect and uses no proxy.
    pub fn new(base_url: &str, timeouts: Timeouts) -> Result<Self, ClientError> {
        let base = Url::parse(base_url).map_err(|_| ClientError::BaseUrl)?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(ClientError::BaseUrl);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, base, timeouts })
    }

    /// The base URL.
    #[must_use]
    pub fn base_url(&self) -> &Url {
        &self.base
    }

    /// Ollama's version, as in `0.32.15`.
    pub async fn version(&self) -> Result<String, ClientError> {
        let answer = self.answer(self.bounded(Method::GET, "api/version")).await?;
        Ok(read::<Version>(answer).await?.version)
    }

    /// The models that this Ollama has.
    pub async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        let answer = self.answer(self.bounded(Method::GET, "api/tags")).await?;
        Ok(read::<Tags>(answer).await?.models.unwrap_or_default())
    }

    /// What this Ollama knows of a model; `None` if it does not have it.
    pub async fn show(&self, name: &ModelName) -> Result<Option<Show>, ClientError> {
        let request = self.bounded(Method::POST, "api/show").json(&Named { model: name.as_str() });
        match self.answer(request).await {
            Ok(answer) => read(answer).await.map(Some),
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a model; false if this Ollama did not have it.
    pub async fn delete(&self, name: &ModelName) -> Result<bool, ClientError> {
        let request = self.bounded(Method::DELETE, "api/delete").json(&Named { model: name.as_str() });
        match self.answer(request).await {
            Ok(_) => Ok(true),
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pulls a model. The stream ends after [`PullEvent::Success`] or after the first error; dropping it stops the pull.
    ///
    /// `insecure` lets Ollama use plain HTTP and unverified certificates with the name's registry.
    #[must_use]
    pub fn pull(&self, name: &ModelName, insecure: bool) -> PullStream {
        let pull = Pull { model: name.as_written(), insecure, stream: true };
        let request = self.request(Method::POST, "api/pull").json(&pull);
        let client = self.clone();
        let opened = async move {
            let idle = client.timeouts.pull_idle;
            let answer = timeout(idle, client.answer(request)).await.map_err(|_| ClientError::Timeout)??;
            Ok::<_, PullError>(events(Lines { answer, buffer: BytesMut::new(), idle }))
        };
        stream::once(opened).try_flatten().boxed()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        self.http.request(method, url)
    }

    fn bounded(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).timeout(self.timeouts.request)
    }

    /// Sends a request and turns an error's status into an error.
    async fn answer(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let mut answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= MAX_ERROR_BODY {
                break;
            }
        }
        let told = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error);
        let message = told.unwrap_or_else(|_| "no reason given".to_owned());
        Err(ClientError::Status { status, message })
    }
}

async fn read<T: for<'de> Deserialize<'de>>(answer: Response) -> Result<T, ClientError> {
    let body = answer.bytes().await.map_err(transport)?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Protocol(error.to_string()))
}

fn transport(error: reqwest::Error) -> ClientError {
    if error.is_timeout() { ClientError::Timeout } else { ClientError::Unreachable(error) }
}

/// Reads an empty text as none: Ollama leaves a field out or empty alike.
fn some_text<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(field)?.filter(|text| !text.is_empty()))
}

/// The lines of a pull's answer.
struct Lines {
    answer: Response,
    buffer: BytesMut,
    idle: Duration,
}

fn events(lines: Lines) -> impl Stream<Item = Result<PullEvent, PullError>> {
    stream::unfold(Some(lines), async |lines| {
        let mut lines = lines?;
        let event = lines.event().await;
        let goes_on = matches!(event, Ok(PullEvent::Status(_) | PullEvent::Layer { .. }));
        Some((event, goes_on.then_some(lines)))
    })
}

impl Lines {
    async fn event(&mut self) -> Result<PullEvent, PullError> {
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end + 1);
                if !line.trim_ascii().is_empty() {
                    return read_event(&line);
                }
                continue;
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::Protocol("a line is too long".to_owned()).into());
            }
            let chunk = timeout(self.idle, self.answer.chunk()).await.map_err(|_| ClientError::Timeout)?;
            match chunk.map_err(transport)? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                // The last line may lack its end; a line that was cut is no JSON.
                None => match read_event(&self.buffer.split()) {
                    Err(PullError::Client(_)) => return Err(PullError::Cut),
                    event => return event,
                },
            }
        }
    }
}

#[derive(Deserialize)]
struct Line {
    error: Option<String>,
    #[serde(default)]
    status: String,
    digest: Option<String>,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    completed: u64,
}

fn read_event(line: &[u8]) -> Result<PullEvent, PullError> {
    let line: Line = serde_json::from_slice(line).map_err(|error| ClientError::Protocol(error.to_string()))?;
    Ok(match line {
        Line { error: Some(error), .. } => return Err(PullError::Failed(error)),
        Line { digest: Some(digest), completed, total, .. } => PullEvent::Layer { digest, completed, total },
        Line { status, .. } if status == "success" => PullEvent::Success,
        Line { status, .. } => PullEvent::Status(status),
    })
}

#[cfg(test)]
mod tests;
