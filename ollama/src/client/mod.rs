//! Administrative client of one Ollama: lists, pulls and deletes models. Requests that pass through
//! the gateway do not use it.

mod error;
mod pull;
mod version;

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode, header::AUTHORIZATION};
use reqwest::{RequestBuilder, Response};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{
    backend::Backend,
    names::{ModelName, NameError},
};

pub use error::ClientError;
pub use pull::{Progress, PullError, PullEvent, PullProgress, PullStep, PullSteps, PullStream};

/// Maximum number of bytes of an error response that the client reads.
const MAX_ERROR_BODY_BYTES: usize = 4 * 1024;

/// The timeouts of a client.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For opening a connection.
    pub connect: Duration,
    /// For a complete request other than a pull.
    pub request: Duration,
    /// For the next line of a pull. Ollama sends nothing while it verifies the received data, which
    /// takes minutes for a large model.
    pub pull_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(30), pull_idle: Duration::from_mins(15) }
    }
}

/// A model in the list of an Ollama.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tag {
    /// The name as Ollama prints it.
    pub name: String,
    /// The digest of the manifest: 64 hexadecimal digits, without `sha256:`.
    pub digest: String,
    /// Size on disk, in bytes.
    pub size: u64,
    /// The host that runs the model, or `None` if this Ollama does.
    #[serde(default, deserialize_with = "non_empty_string")]
    pub remote_host: Option<String>,
}

impl Tag {
    /// Parses the name. Fails for names that Ollama lists but does not accept in a request.
    pub fn model_name(&self) -> Result<ModelName, NameError> {
        ModelName::parse(&self.name)
    }

    /// Returns whether Ollama runs the model on a remote host or in its cloud.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote_host.is_some() || self.model_name().is_ok_and(|name| name.is_cloud())
    }
}

/// A model that an Ollama has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoadedModel {
    /// The name as Ollama prints it.
    pub name: String,
    /// When Ollama unloads the model if it is not used until then, as Ollama writes it (RFC 3339).
    pub expires_at: Option<String>,
    /// The part of the model in GPU memory, in bytes.
    #[serde(default)]
    pub size_vram: u64,
}

/// Client of one Ollama. Clones are cheap and share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    backend: Backend,
    timeouts: Timeouts,
}

#[derive(Serialize)]
struct DeleteRequest<'a> {
    model: &'a str,
}

#[derive(Serialize)]
struct PullRequest<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    stream: bool,
}

#[derive(Deserialize)]
struct Tags {
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Loaded {
    models: Option<Vec<LoadedModel>>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

impl Client {
    /// Creates a client of an Ollama. It follows no redirects and uses no proxy.
    pub fn new(backend: Backend, timeouts: Timeouts) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(backend.tls().clone())
            .no_proxy();
        if let (Some(name), Some(address)) = (backend.base_url().domain(), backend.socket_address()) {
            builder = builder.resolve(name, address);
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { http, backend, timeouts })
    }

    /// Returns the name of the backend; see [`Backend::name`].
    #[must_use]
    pub fn name(&self) -> String {
        self.backend.name()
    }

    /// Fails if this Ollama is older than the oldest version without known holes. A version that
    /// Ollama does not tell counts as new.
    pub async fn check_version(&self) -> Result<(), ClientError> {
        let version = self.get::<Version>("api/version").await.map(|reply| reply.version).unwrap_or_default();
        if version::is_outdated(&version) {
            return Err(ClientError::Outdated { version, minimum: version::MINIMUM });
        }
        Ok(())
    }

    /// Lists the models of this Ollama.
    pub async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        Ok(self.get::<Tags>("api/tags").await?.models.unwrap_or_default())
    }

    /// Lists the models that this Ollama has loaded.
    pub async fn loaded_models(&self) -> Result<Vec<LoadedModel>, ClientError> {
        Ok(self.get::<Loaded>("api/ps").await?.models.unwrap_or_default())
    }

    /// Deletes a model. Returns false if this Ollama did not have it.
    pub async fn delete(&self, name: &ModelName) -> Result<bool, ClientError> {
        let body = DeleteRequest { model: name.as_str() };
        match self.send(self.request_with_timeout(Method::DELETE, "api/delete").json(&body)).await {
            Ok(_) => Ok(true),
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pulls a model. The stream ends after [`PullEvent::Success`] or after the first error.
    /// Dropping the stream stops the pull.
    ///
    /// `insecure` allows Ollama to use plain HTTP and unverified certificates with the name's
    /// registry.
    #[must_use]
    pub fn pull(&self, name: &ModelName, insecure: bool) -> PullStream {
        let body = PullRequest { model: name.as_written(), insecure, stream: true };
        let request = self.request(Method::POST, "api/pull").json(&body);
        let client = self.clone();
        let opened = async move {
            let idle_timeout = client.timeouts.pull_idle;
            let response = timeout(idle_timeout, client.send(request)).await.map_err(|_| ClientError::Timeout)??;
            Ok::<_, PullError>(pull::events(response, idle_timeout))
        };
        stream::once(opened).try_flatten().boxed()
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.send(self.request_with_timeout(Method::GET, path)).await?;
        let body = response.bytes().await.map_err(ClientError::from_transport)?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.backend.base_url().clone();
        url.set_path(&format!("{}/{path}", self.backend.path_prefix()));
        let request = self.http.request(method, url);
        match self.backend.authorization() {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    fn request_with_timeout(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).timeout(self.timeouts.request)
    }

    /// Sends a request. Fails with [`ClientError::Status`] unless the status is a success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let mut response = request.send().await.map_err(ClientError::from_transport)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= MAX_ERROR_BODY_BYTES {
                break;
            }
        }
        let error = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error);
        let message = error.unwrap_or_else(|_| "no reason given".to_owned());
        Err(ClientError::Status { status, message })
    }
}

/// Deserializes an empty string as `None`, because Ollama sends an absent value in either form.
fn non_empty_string<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(field)?.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests;
