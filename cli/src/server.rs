//! Builds the parts of a server from the settings, for `api`, `operator` and `run`.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Context as _;
use paddock_accounts::Accounts;
use paddock_operator::{Cluster, OnLostLease};
use tokio::net::TcpListener;

use crate::{
    config,
    error::Error,
    listener,
    probes::{self, Health, HealthCheck},
    settings::{DrainSettings, Environment, OllamaSettings, OperatorSettings, ServeSettings},
};

/// Binds the address of the API. Never falls back to another port.
pub(crate) async fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    let name = "LISTEN_ADDR";
    listener::bind(addr).await.map_err(|error| probes::bind_error(name, addr, &error))
}

/// The configuration of the API and the gateway.
pub(crate) fn api_config(
    serve: &ServeSettings,
    ollama: &OllamaSettings,
    environment: Environment,
) -> Result<paddock_api::Config, Error> {
    let mut config = paddock_api::Config::new(config::ollama_source(ollama, environment)?);
    config.public_url = config::public_url(ollama)?.map(String::from);
    config.drain_timeout = serve.drain.drain_timeout;
    config.requests_per_minute = serve.rate_limit_per_minute;
    config.redis_url = config::redis_url(serve)?;
    config.auth_failures_per_minute = serve.auth_failures_per_minute;
    config.trusted_proxies.clone_from(&serve.trusted_proxies);
    config.cors_allowed_origins.clone_from(&serve.cors_allowed_origins);
    config.cors_allow_local = environment == Environment::Local;
    config.model_registries = model_registries(ollama)?;
    config.max_pulls = serve.max_pulls;
    config.timeouts = config::timeouts(serve)?;
    config.queue = paddock_api::QueueLimits {
        max_concurrent_per_model: serve.max_concurrent_per_model,
        size: serve.queue_size,
        timeout: serve.queue_timeout,
    };
    Ok(config)
}

/// The health of the API.
pub(crate) fn api_health(readiness: paddock_api::Readiness) -> HealthCheck {
    Box::new(move || Health { missing: readiness.report().missing, ..Health::default() })
}

/// The health of the operator.
pub(crate) fn operator_health(readiness: paddock_operator::Readiness) -> HealthCheck {
    Box::new(move || Health {
        missing: readiness.missing().into_iter().collect(),
        details: readiness.details(),
        is_dead: !readiness.is_alive(),
    })
}

/// The cluster of the operator: the named context, else in a pod its own cluster.
pub(crate) fn cluster(context: Option<&str>) -> Cluster {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if context.is_none() && in_pod { Cluster::Pod } else { Cluster::Context(context.map(str::to_owned)) }
}

/// The gateway's URL that the operator writes into Secrets.
pub(crate) fn public_url(
    ollama: &OllamaSettings,
    listen_addr: SocketAddr,
    environment: Environment,
) -> Result<String, Error> {
    config::gateway_url(ollama, listen_addr, environment)?.ok_or_else(|| {
        Error::config(
            "PUBLIC_URL is not set: set it to the URL at which workloads reach the gateway, such as http://paddock.paddock.svc:8080",
        )
    })
}

/// The configuration of the operator.
pub(crate) fn operator_config(
    kube: kube::Config,
    operator: &OperatorSettings,
    ollama: &OllamaSettings,
    drain: DrainSettings,
    public_url: String,
    on_lost_lease: OnLostLease,
) -> Result<paddock_operator::Config, Error> {
    let model_registries = model_registries(ollama)?;
    let names = |list: &[String]| list.iter().filter(|name| !name.is_empty()).cloned().collect::<BTreeSet<_>>();
    Ok(paddock_operator::Config {
        lease: lease(operator, &kube)?,
        on_lost_lease,
        kube,
        watch_namespaces: names(&operator.watch_namespaces),
        admin_namespaces: names(&operator.admin_namespaces),
        adoption_namespaces: names(operator.adoption_namespaces.as_ref().unwrap_or(&operator.admin_namespaces)),
        public_url,
        model_registries,
        pull_stall_timeout: operator.pull_stall_timeout,
        concurrency: 8,
        drain_timeout: drain.drain_timeout,
    })
}

/// The registries of MODEL_REGISTRIES.
pub(crate) fn model_registries(ollama: &OllamaSettings) -> Result<Vec<paddock_ollama::ModelRegistry>, Error> {
    let entries = (1..).zip(&ollama.model_registries).filter(|(_, text)| !text.is_empty());
    let invalid = |number: u32, error| Error::config(format!("MODEL_REGISTRIES: entry {number} {error}"));
    entries
        .map(|(number, text)| text.parse().map_err(|error: paddock_ollama::InvalidRegistry| invalid(number, error)))
        .collect()
}

/// The leader election lease of this process.
fn lease(settings: &OperatorSettings, kube: &kube::Config) -> Result<paddock_operator::Lease, Error> {
    let namespace = settings.lease_namespace.clone().unwrap_or_else(|| kube.default_namespace.clone());
    let identity = match (&settings.lease_identity, std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"))) {
        (Some(identity), _) => identity.clone(),
        // In a pod, the host name is the pod's name, which is unique.
        (None, Ok(pod)) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => pod,
        (None, host) => format!("{}-{}", host.unwrap_or_else(|_| "paddock".to_owned()), std::process::id()),
    };
    let name = settings.lease_name.clone();
    if [&namespace, &name, &identity].iter().any(|text| text.is_empty()) {
        return Err(Error::config(
            "LEASE_IDENTITY, LEASE_NAME and LEASE_NAMESPACE must not be empty; unset them, or set them to names",
        ));
    }
    Ok(paddock_operator::Lease { namespace, name, identity })
}

/// Runs the operator until it stops.
pub(crate) async fn run_operator(
    config: paddock_operator::Config,
    accounts: Accounts,
    ollama: paddock_ollama::BackendSource,
    stop: tokio_util::sync::CancellationToken,
    readiness: paddock_operator::Readiness,
) -> anyhow::Result<()> {
    paddock_operator::run(config, accounts, ollama, stop, readiness).await.context("the operator failed")
}
