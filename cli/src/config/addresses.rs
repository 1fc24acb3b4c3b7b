//! Where we listen, and whom we speak to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use secrecy::{ExposeSecret, SecretString};

use super::secrets::secret;
use crate::{
    failure::Failure,
    settings::{Environment, ListenSettings, MetricsSettings, OllamaSettings, ServeSettings},
};

/// The default port of the API.
pub(crate) const PORT: u16 = 8080;
const METRICS_PORT: u16 = 9090;

/// Where the API listens.
pub(crate) fn listen_addr(settings: &ListenSettings, environment: Environment) -> SocketAddr {
    let mut addr = settings.listen_addr.unwrap_or_else(|| SocketAddr::new(home(environment), PORT));
    if let Some(port) = settings.port {
        addr.set_port(port);
    }
    addr
}

/// Where metrics listen: `host:port`, or `:port` for the environment's own host.
pub(crate) fn metrics_addr(settings: &MetricsSettings, environment: Environment) -> Result<SocketAddr, Failure> {
    let Some(text) = &settings.metrics_addr else {
        return Ok(SocketAddr::new(home(environment), METRICS_PORT));
    };
    let full = if text.starts_with(':') { format!("{}{text}", home(environment)) } else { text.clone() };
    full.parse().map_err(|_| {
        Failure::config(format!("METRICS_ADDR `{text}` is not host:port; set it to 0.0.0.0:9090 or :9090"))
    })
}

fn home(environment: Environment) -> IpAddr {
    match environment {
        Environment::Local => Ipv4Addr::LOCALHOST.into(),
        Environment::Prod => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Where Ollama answers.
pub(crate) fn ollama_url(settings: &OllamaSettings, environment: Environment) -> Result<url::Url, Failure> {
    let text = settings.ollama_base_url.as_deref().unwrap_or(match environment {
        Environment::Local => "http://localhost:11434",
        Environment::Prod => "http://ollama.default.svc.cluster.local:11434",
    });
    base_url("OLLAMA_BASE_URL", text, "http://ollama.default.svc:11434")
}

/// Where workloads reach the gateway, if it is said.
pub(crate) fn public_url(settings: &OllamaSettings) -> Result<Option<url::Url>, Failure> {
    settings.public_url.as_deref().map(|text| base_url("PUBLIC_URL", text, "https://paddock.example.com")).transpose()
}

/// Where workloads reach the gateway: as it is said, or in local where it is served.
pub(crate) fn gateway_url(
    settings: &OllamaSettings,
    served: SocketAddr,
    environment: Environment,
) -> Result<Option<String>, Failure> {
    Ok(match (public_url(settings)?, environment) {
        (Some(url), _) => Some(url.as_str().trim_end_matches('/').to_owned()),
        (None, Environment::Local) => Some(format!("http://{served}")),
        (None, Environment::Prod) => None,
    })
}

/// Where traces go, if anywhere.
pub(crate) fn traces_url(settings: &MetricsSettings) -> Result<Option<url::Url>, Failure> {
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    settings
        .otel_exporter_otlp_endpoint
        .as_deref()
        .map(|text| base_url(name, text, "http://collector:4318"))
        .transpose()
}

/// The URL that a setting holds, without a trailing slash; `example`: one that would do.
pub(crate) fn base_url(name: &str, text: &str, example: &str) -> Result<url::Url, Failure> {
    let wrong = |why: &str| Failure::config(format!("{name} {why}; set it to a URL such as {example}"));
    let url = url::Url::parse(text.trim_end_matches('/')).map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user name or password, which do not belong in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    Ok(url)
}

/// The Redis in which requests are counted, if there is one. No part of it is repeated in an error: it may hold a password.
pub(crate) fn redis_url(settings: &ServeSettings) -> Result<Option<SecretString>, Failure> {
    let wrong = |why: &str| {
        Failure::config(format!(
            "REDIS_URL {why}; set it to a URL such as redis://:password@redis:6379/0, or leave it out"
        ))
    };
    let Some(secret) = secret("REDIS_URL", settings.redis_url.as_ref(), settings.redis_url_file.as_deref())? else {
        return Ok(None);
    };
    let url = url::Url::parse(secret.expose_secret()).map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "redis" | "rediss") {
        return Err(wrong("is not a redis or rediss URL"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    let number = url.path().trim_start_matches('/');
    if !number.is_empty() && number.parse::<u16>().is_err() {
        return Err(wrong("has a path that is not the number of a database"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    Ok(Some(secret))
}
