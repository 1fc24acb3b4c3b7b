//! Leader election by a Kubernetes `Lease`: only the leader reconciles.
//!
//! `k8s-controller` provides the election. It gives the lease up while the API server is
//! unreachable; `kube-lease-manager` does not.

use std::{future::pending, time::Duration};

use k8s_controller::LeaderElection;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio_util::sync::CancellationToken;

use crate::{
    access,
    client::{self, LastAnswer},
    config::{self, Config},
    error::Error,
    readiness::{Phase, Readiness},
};

/// The `ClusterRole` that the namespace of the lease needs a binding for.
const ROLE: &str = "paddock-operator-lease";
/// How often the operator looks whether the lease is forbidden. The lease is tried every 2 to 3 s.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The election of one leader.
pub(crate) struct Election {
    inner: LeaderElection,
    lease: config::Lease,
    /// The last answer of the API server to a request about the lease.
    last: LastAnswer,
}

impl Election {
    /// Prepares the election, with an API client of its own, so that slow reconciles cannot delay a
    /// renewal.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let (lease, last) = (config.lease.clone(), LastAnswer::default());
        let client = client::build_lease_client(&config.kube, &last)?;
        let inner = LeaderElection::new(client, &lease.namespace, &lease.name, &lease.identity);
        Ok(Self { inner, lease, last })
    }

    /// Waits for the lease, runs `controllers` while this instance is the leader, and releases the
    /// lease. `readiness` says which right to the lease is missing, which `client` finds out.
    ///
    /// Returns when `controllers` end, with their error, or at `shutdown` if this instance is not
    /// the leader. Fails with [`Error::LeaseLost`] if another instance becomes the leader, or if the
    /// API server is silent for 10 s; `controllers` is dropped then.
    pub(crate) async fn run_as_leader(
        &self,
        controllers: impl Future<Output = Result<(), Error>>,
        client: &Client,
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
            result = self.inner.with_lease(controllers) => {
                readiness.set_phase(Phase::StandingBy);
                metrics::gauge!("paddock_leader").set(0.0);
                result.unwrap_or(Err(Error::LeaseLost))
            }
            () = stopped_as_standby => {
                // The election may have acquired the lease at the same moment.
                self.inner.release().await;
                Ok(())
            }
            () = self.report_missing_right(client, readiness) => Ok(()),
        }
    }

    /// Reports which right to the lease is missing, as long as it is. Never returns.
    async fn report_missing_right(&self, client: &Client, readiness: &Readiness) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let missing = if self.last.is_forbidden() { self.missing_right(client).await } else { None };
            readiness.set_obstacle(missing);
        }
    }

    /// Tries what the election does, without effect. Returns what the API server forbids, and the
    /// binding that grants it.
    async fn missing_right(&self, client: &Client) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &self.lease.namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let tried = match leases.get_opt(&self.lease.name).await {
            Ok(Some(lease)) => leases.replace(&self.lease.name, &dry_run, &lease).await,
            Ok(None) => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(self.lease.name.clone());
                leases.create(&dry_run, &lease).await
            }
            Err(error) => Err(error),
        };
        let status = tried.err()?;
        Some(access::describe(access::forbidden(&status)?, ROLE, Some(&self.lease.namespace)))
    }
}
