//! The metrics listener: `/metrics` for the scraper, `/livez` and `/readyz` for the kubelet, of API and operator alike.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use paddock_accounts::Accounts;
use paddock_store::clock::{Clock as _, SystemClock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, settings::Environment};

/// What a part of the process says is missing, by name; nothing when it is ready.
pub(crate) type Missing = Box<dyn Fn() -> Vec<&'static str> + Send + Sync>;

#[derive(Clone)]
struct Probes {
    metrics: PrometheusHandle,
    accounts: Accounts,
    parts: Arc<Vec<Missing>>,
}

/// Seconds: from a warm key check to a long answer.
const SECONDS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0];

/// Starts to gather metrics, for the life of the process. Once, before anything counts.
pub(crate) fn gather() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .context("metric buckets")?
        .install_recorder()
        .context("metrics are gathered already")?;
    paddock_api::describe_metrics();
    describe_gauge!("paddock_build_info", "1, labelled with the version of this executable");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "When this process started, in seconds since 1970");
    describe_gauge!("paddock_database_connections", "Connections to the database, by state: used or idle");
    describe_gauge!(
        "paddock_database_connections_max",
        "The most connections to the database that are lent: DB_MAX_CONNECTIONS, on PostgreSQL less the one that hears of changes"
    );
    gauge!("paddock_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("process_start_time_seconds")
        .set(Duration::from_micros(SystemClock.now().micros().unsigned_abs()).as_secs_f64());
    Ok(handle)
}

/// Takes the address; in local a taken port falls back to a free one, as several may run on a laptop.
pub(crate) async fn bind(addr: SocketAddr, environment: Environment) -> Result<TcpListener, Failure> {
    match TcpListener::bind(addr).await {
        Ok(listener) => Ok(listener),
        Err(error) if environment == Environment::Local && error.kind() == std::io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind(SocketAddr::new(addr.ip(), 0)).await?;
            tracing::info!(taken = %addr, instead = %listener.local_addr()?, "METRICS_ADDR is in use");
            Ok(listener)
        }
        Err(error) => Err(address_failure("METRICS_ADDR", addr, &error)),
    }
}

/// An address that cannot be listened on.
pub(crate) fn address_failure(name: &str, addr: SocketAddr, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another process uses it; stop that, or set a free port",
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; use 0.0.0.0 or 127.0.0.1",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; use 8080",
        _ => "set it to host:port, as in 0.0.0.0:8080",
    };
    Failure::Other(anyhow::anyhow!("cannot listen on {name} {addr} ({error}): {hint}"))
}

/// Serves until the token is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    parts: Vec<Missing>,
    accounts: Accounts,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let upkeep = metrics.clone();
    let app = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(|| async { Json(serde_json::json!({"status": "ok"})) }))
        .route("/readyz", get(readyz))
        .with_state(Probes { metrics, accounts, parts: Arc::new(parts) });
    let tidy = stop.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_secs(5));
        while tidy.run_until_cancelled(every.tick()).await.is_some() {
            upkeep.run_upkeep();
        }
    });
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await.context("metrics listener")
}

async fn render(State(probes): State<Probes>) -> impl IntoResponse {
    let connections = probes.accounts.connections();
    let count = |name: &'static str| gauge!("paddock_database_connections", "state" => name);
    count("used").set(connections.used);
    count("idle").set(connections.idle);
    gauge!("paddock_database_connections_max").set(connections.max);
    ([("content-type", "text/plain; version=0.0.4")], probes.metrics.render())
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    let missing: Vec<&str> = probes.parts.iter().flat_map(|part| part()).collect();
    if missing.is_empty() {
        (StatusCode::OK, Json(serde_json::json!({"status": "ready"})))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({"status": "not ready", "missing": missing})))
    }
}
