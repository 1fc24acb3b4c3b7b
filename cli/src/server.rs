//! What a serving process is made of, put together once for `api`, `operator` and `run`.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Context as _;
use paddock_accounts::Accounts;
use paddock_operator::Cluster;
use tokio::net::TcpListener;

use crate::{
    config,
    failure::Failure,
    probes::{self, Missing},
    settings::{Environment, OllamaSettings, OperatorSettings, ServeSettings},
};

/// Takes the address of the API, exactly.
pub(crate) async fn bind(addr: SocketAddr) -> Result<TcpListener, Failure> {
    let name = "LISTEN_ADDR";
    TcpListener::bind(addr).await.map_err(|error| probes::address_failure(name, addr, &error))
}

/// How the API serves.
pub(crate) fn api_config(
    serve: &ServeSettings,
    ollama: &OllamaSettings,
    environment: Environment,
) -> Result<paddock_api::Config, Failure> {
    let url = config::ollama_url(ollama, environment)?;
    let mut config = paddock_api::Config::new(url.as_str().trim_end_matches('/'));
    config.public_url = config::public_url(ollama)?.map(String::from);
    config.secure_cookies = environment == Environment::Prod;
    config.drain_timeout = serve.drain_timeout;
    config.requests_per_minute = serve.rate_limit_per_minute;
    config.redis_url = config::redis_url(serve)?;
    config.auth_failures_per_minute = serve.auth_failures_per_minute;
    config.trusted_proxies.clone_from(&serve.trusted_proxies);
    config.cors_allowed_origins.clone_from(&serve.cors_allowed_origins);
    config.cors_allow_local = environment == Environment::Local;
    config.timeouts = paddock_api::Timeouts {
        headers: serve.upstream_headers_timeout,
        idle: serve.upstream_idle_timeout,
        total: serve.upstream_total_timeout,
        lifetime: serve.upstream_lifetime_timeout,
    };
    Ok(config)
}

/// What keeps the API from serving.
pub(crate) fn api_missing(readiness: paddock_api::Readiness) -> Missing {
    Box::new(move || readiness.report().missing)
}

/// What keeps the operator from working.
pub(crate) fn operator_missing(readiness: paddock_operator::Readiness) -> Missing {
    Box::new(move || readiness.missing().into_iter().collect())
}

/// Which cluster the operator works on: a context, or in a pod the pod's own.
pub(crate) fn cluster(context: Option<&str>) -> Cluster {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if context.is_none() && in_pod { Cluster::Pod } else { Cluster::Context(context.map(str::to_owned)) }
}

/// Where the operator says that workloads reach the gateway.
pub(crate) fn public_url(
    ollama: &OllamaSettings,
    served: SocketAddr,
    environment: Environment,
) -> Result<String, Failure> {
    config::gateway_url(ollama, served, environment)?.ok_or_else(|| {
        Failure::config(
            "PUBLIC_URL is not set: set it to where workloads reach the gateway, such as http://paddock.paddock.svc:8080",
        )
    })
}

/// How the operator works.
pub(crate) fn operator_config(
    kube: kube::Config,
    operator: &OperatorSettings,
    ollama: &OllamaSettings,
    serve: &ServeSettings,
    public_url: String,
) -> Result<paddock_operator::Config, Failure> {
    let model_registries = registries(ollama)?;
    let names = |list: &[String]| list.iter().filter(|name| !name.is_empty()).cloned().collect::<BTreeSet<_>>();
    Ok(paddock_operator::Config {
        lease: lease(operator, &kube)?,
        kube,
        watch_namespaces: names(&operator.watch_namespaces),
        admin_namespaces: names(&operator.admin_namespaces),
        public_url,
        model_registries,
        concurrency: 8,
        drain_timeout: serve.drain_timeout,
    })
}

/// The registries that models may come from.
pub(crate) fn registries(ollama: &OllamaSettings) -> Result<Vec<paddock_operator::ModelRegistry>, Failure> {
    let named = (1..).zip(&ollama.model_registries).filter(|(_, text)| !text.is_empty());
    let wrong = |number: u32, error| Failure::config(format!("MODEL_REGISTRIES: entry {number} {error}"));
    named
        .map(|(number, text)| text.parse().map_err(|error: paddock_operator::InvalidRegistry| wrong(number, error)))
        .collect()
}

/// The lease of this process.
fn lease(settings: &OperatorSettings, kube: &kube::Config) -> Result<paddock_operator::Lease, Failure> {
    let namespace = settings.lease_namespace.clone().unwrap_or_else(|| kube.default_namespace.clone());
    let identity = match (&settings.lease_identity, std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"))) {
        (Some(identity), _) => identity.clone(),
        // In a pod the host is named after it, and nothing else has that name.
        (None, Ok(pod)) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => pod,
        (None, host) => format!("{}-{}", host.unwrap_or_else(|_| "paddock".to_owned()), std::process::id()),
    };
    if identity.is_empty() || namespace.is_empty() {
        return Err(Failure::config(
            "LEASE_IDENTITY and LEASE_NAMESPACE must not be empty; leave them out, or name them",
        ));
    }
    Ok(paddock_operator::Lease { namespace, name: "paddock-operator".to_owned(), identity })
}

/// The client for Ollama's own operations.
pub(crate) fn ollama_client(
    ollama: &OllamaSettings,
    environment: Environment,
) -> Result<paddock_ollama::Client, Failure> {
    let url = config::ollama_url(ollama, environment)?;
    Ok(paddock_ollama::Client::new(url.as_str(), paddock_ollama::Timeouts::default()).context("OLLAMA_BASE_URL")?)
}

/// Runs the operator until it ends; losing the lease ends it with an error.
pub(crate) async fn run_operator(
    config: paddock_operator::Config,
    accounts: Accounts,
    ollama: paddock_ollama::Client,
    stop: tokio_util::sync::CancellationToken,
    readiness: paddock_operator::Readiness,
) -> anyhow::Result<()> {
    paddock_operator::run(config, accounts, vec![ollama], stop, readiness).await.context("operator")
}
