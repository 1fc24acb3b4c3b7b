//! Leader election by a Kubernetes `Lease`: only the leader reconciles.
//!
//! `k8s-controller` provides the election. It gives the lease up while the API server is
//! unreachable; `kube-lease-manager` does not.

use std::future::pending;

use k8s_controller::LeaderElection;
use tokio_util::sync::CancellationToken;

use crate::{
    client,
    config::Config,
    error::Error,
    readiness::{Phase, Readiness},
};

/// Prepares the election, with an API client of its own, so that slow reconciles cannot delay a
/// renewal.
pub(crate) fn build(config: &Config) -> Result<LeaderElection, Error> {
    let lease = &config.lease;
    let client = client::build_lease_client(&config.kube)?;
    Ok(LeaderElection::new(client, &lease.namespace, &lease.name, &lease.identity))
}

/// Waits for the lease, runs `controllers` while this instance is the leader, and releases the
/// lease.
///
/// Returns when `controllers` end, with their error, or at `shutdown` if this instance is not the
/// leader. Fails with [`Error::LeaseLost`] if another instance becomes the leader, or if the API
/// server is silent for 10 s; `controllers` is dropped then.
pub(crate) async fn run_as_leader(
    election: &LeaderElection,
    controllers: impl Future<Output = Result<(), Error>>,
    shutdown: &CancellationToken,
    readiness: &Readiness,
) -> Result<(), Error> {
    readiness.set_phase(Phase::StandingBy);
    metrics::gauge!("paddock_leader").set(0.0);
    let stopped_as_standby = async {
        shutdown.cancelled().await;
        if readiness.is_leader() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        result = election.with_lease(controllers) => {
            readiness.set_phase(Phase::StandingBy);
            metrics::gauge!("paddock_leader").set(0.0);
            result.unwrap_or(Err(Error::LeaseLost))
        }
        () = stopped_as_standby => {
            // The election may have acquired the lease at the same moment.
            election.release().await;
            Ok(())
        }
    }
}
