//! The metrics listener of API and operator: `/metrics`, and the probes `/livez` and `/readyz`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use paddock_accounts::Accounts;
use paddock_store::clock::{Clock as _, SystemClock};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{error::Error, listener, settings::Environment};

/// Reports the health of one part of the process.
pub(crate) type HealthCheck = Box<dyn Fn() -> Health + Send + Sync>;

/// The health of one part of the process.
#[derive(Default)]
pub(crate) struct Health {
    /// What is not ready, by name. Empty: the part is ready.
    pub(crate) missing: Vec<&'static str>,
    /// Sentences for people, also about what does not keep the part from being ready.
    pub(crate) details: Vec<String>,
    /// Whether only a restart can help.
    pub(crate) is_dead: bool,
}

#[derive(Clone)]
struct ProbeState {
    metrics: PrometheusHandle,
    accounts: Accounts,
    checks: Arc<Vec<HealthCheck>>,
}

/// Bucket bounds of durations in seconds: from a cached key check to a long answer.
const DURATION_BUCKETS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0];

/// Installs the metrics recorder for the life of the process. Call it once, before anything records
/// a metric.
pub(crate) fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
        .context("invalid metric buckets")?
        .install_recorder()
        .context("the metrics recorder is already installed")?;
    paddock_api::describe_metrics();
    describe_gauge!("paddock_build_info", "Always 1, labelled with the version of this executable");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "When this process started, in seconds since 1970");
    describe_gauge!("paddock_database_connections", "Connections to the database, by state: used or idle");
    describe_gauge!(
        "paddock_database_connections_max",
        "Maximum of connections to the database: DB_MAX_CONNECTIONS, on PostgreSQL minus the connection that listens for changes"
    );
    describe_gauge!(
        "paddock_watch_age_seconds",
        Unit::Seconds,
        "Time since each watch of the leading operator received an event or bookmark, by resource and namespace"
    );
    gauge!("paddock_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("process_start_time_seconds")
        .set(Duration::from_micros(SystemClock.now().micros().unsigned_abs()).as_secs_f64());
    Ok(handle)
}

/// Binds the address. In local, falls back to a free port if it is in use, because several servers
/// may run on one machine.
pub(crate) async fn bind(addr: SocketAddr, environment: Environment) -> Result<TcpListener, Error> {
    match listener::bind(addr).await {
        Ok(listener) => Ok(listener),
        Err(error) if environment == Environment::Local && error.kind() == std::io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind(SocketAddr::new(addr.ip(), 0)).await?;
            tracing::info!(address = %addr, fallback = %listener.local_addr()?, "METRICS_ADDR is in use, falling back to a free port");
            Ok(listener)
        }
        Err(error) => Err(bind_error("METRICS_ADDR", addr, &error)),
    }
}

/// The error for an address that cannot be bound, with a hint.
pub(crate) fn bind_error(name: &str, addr: SocketAddr, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another process uses it; stop that process, or set a free port",
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; use [::], 0.0.0.0 or 127.0.0.1",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; use a port such as 8080",
        _ => "set it to ip:port, such as [::]:8080",
    };
    Error::Other(anyhow::anyhow!("cannot listen on {name} {addr} ({error}): {hint}"))
}

/// Serves until the token is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    checks: Vec<HealthCheck>,
    accounts: Accounts,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let recorder = metrics.clone();
    let app = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(ProbeState { metrics, accounts, checks: Arc::new(checks) });
    let upkeep_stop = stop.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        while upkeep_stop.run_until_cancelled(ticks.tick()).await.is_some() {
            recorder.run_upkeep();
        }
    });
    axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("the metrics listener failed")
}

async fn render(State(state): State<ProbeState>) -> impl IntoResponse {
    let connections = state.accounts.connections();
    let count = |name: &'static str| gauge!("paddock_database_connections", "state" => name);
    count("used").set(connections.used);
    count("idle").set(connections.idle);
    gauge!("paddock_database_connections_max").set(connections.max);
    ([("content-type", "text/plain; version=0.0.4")], state.metrics.render())
}

async fn livez(State(state): State<ProbeState>) -> impl IntoResponse {
    if state.checks.iter().any(|check| check().is_dead) {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "deaf"})))
    } else {
        (StatusCode::OK, Json(json!({"status": "ok"})))
    }
}

async fn readyz(State(state): State<ProbeState>) -> impl IntoResponse {
    let (mut missing, mut details) = (Vec::new(), Vec::new());
    for health in state.checks.iter().map(|check| check()) {
        missing.extend(health.missing);
        details.extend(health.details);
    }
    let (code, mut body) = if missing.is_empty() {
        (StatusCode::OK, json!({"status": "ready"}))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "not ready", "missing": missing}))
    };
    if !details.is_empty() {
        body["details"] = details.into();
    }
    (code, Json(body))
}
