//! Addresses to listen on, and URLs to connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::{ExposeSecret, SecretString};

use super::secrets::read_secret;
use crate::{
    error::Error,
    settings::{Environment, ListenSettings, MetricsSettings, OllamaSettings, ServeSettings},
};

/// The default port of the API.
pub(crate) const DEFAULT_PORT: u16 = 8080;
const DEFAULT_METRICS_PORT: u16 = 9090;

/// The address of the API, with PORT applied.
pub(crate) fn listen_addr(settings: &ListenSettings, environment: Environment) -> SocketAddr {
    let host = default_host(environment);
    let mut addr = settings.listen_addr.map_or(SocketAddr::new(host, DEFAULT_PORT), |addr| addr.or_host(host));
    if let Some(port) = settings.port {
        addr.set_port(port);
    }
    addr
}

/// The address of the metrics listener.
pub(crate) fn metrics_addr(settings: &MetricsSettings, environment: Environment) -> SocketAddr {
    let host = default_host(environment);
    settings.metrics_addr.map_or(SocketAddr::new(host, DEFAULT_METRICS_PORT), |addr| addr.or_host(host))
}

fn default_host(environment: Environment) -> IpAddr {
    match environment {
        Environment::Local => Ipv4Addr::LOCALHOST.into(),
        // IPv4 clients too: see `listener`.
        Environment::Prod => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An address to reach a server of this machine at: one that listens on every address is reached on
/// loopback.
pub(crate) fn local_address(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port()) } else { addr }
}

/// The configured URL of the gateway for workloads.
pub(crate) fn public_url(settings: &OllamaSettings) -> Result<Option<url::Url>, Error> {
    settings
        .public_url
        .as_deref()
        .map(|text| parse_base_url("PUBLIC_URL", text, "https://paddock.example.com"))
        .transpose()
}

/// The URL of the gateway for workloads. In local it defaults to the address that is served.
pub(crate) fn gateway_url(
    settings: &OllamaSettings,
    listen_addr: SocketAddr,
    environment: Environment,
) -> Result<Option<String>, Error> {
    Ok(match (public_url(settings)?, environment) {
        (Some(url), _) => Some(url.as_str().trim_end_matches('/').to_owned()),
        (None, Environment::Local) => Some(format!("http://{}", local_address(listen_addr))),
        (None, Environment::Prod) => None,
    })
}

/// The URL of the OpenTelemetry collector.
pub(crate) fn otlp_url(settings: &MetricsSettings) -> Result<Option<url::Url>, Error> {
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    settings
        .otel_exporter_otlp_endpoint
        .as_deref()
        .map(|text| parse_base_url(name, text, "http://collector:4318"))
        .transpose()
}

/// Parses the base URL in a setting, and removes a trailing slash. `example` is a valid value for
/// the error.
pub(crate) fn parse_base_url(name: &str, text: &str, example: &str) -> Result<url::Url, Error> {
    let invalid = |why: &str| Error::config(format!("{name} {why}; set it to a URL such as {example}"));
    let url = url::Url::parse(text.trim_end_matches('/')).map_err(|_| invalid("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(invalid("is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("contains a user name or password, which it must not"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("has a query or a fragment"));
    }
    Ok(url)
}

/// The URL of the Redis for shared rate limits. Errors never repeat it, because it may hold a
/// password.
pub(crate) fn redis_url(settings: &ServeSettings) -> Result<Option<SecretString>, Error> {
    let invalid = |why: &str| {
        Error::config(format!("REDIS_URL {why}; set it to a URL such as redis://:password@redis:6379/0, or unset it"))
    };
    let Some(secret) = read_secret("REDIS_URL", settings.redis_url.as_ref(), settings.redis_url_file.as_deref())?
    else {
        return Ok(None);
    };
    let url = url::Url::parse(secret.expose_secret()).map_err(|_| invalid("is not a URL"))?;
    if !matches!(url.scheme(), "redis" | "rediss") {
        return Err(invalid("is not a redis or rediss URL"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("names no host"));
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(invalid("has a path that is not a database number"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("has a query or a fragment"));
    }
    Ok(Some(secret))
}
