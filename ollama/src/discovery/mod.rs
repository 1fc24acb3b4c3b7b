//! Where the backends come from: a fixed list, or the addresses of a DNS name.

mod dns;
mod per_backend;

use std::{
    future::pending,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::sleep};

use crate::backend::{Backend, BackendError};
pub use per_backend::PerBackend;

/// The time between two resolutions. The cluster DNS of Kubernetes lets its clients keep an answer
/// for 5 seconds (30 in some distributions), so a shorter interval would find nothing sooner.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);

/// The backends, and how new ones are found. Clones share the same state.
#[derive(Clone, Debug)]
pub struct BackendSource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backends: watch::Sender<Arc<[Backend]>>,
    /// `None` for a fixed list.
    name: Option<DnsName>,
    /// Why the last resolution failed.
    problem: Mutex<Option<String>>,
}

/// A DNS name with one address for each backend.
#[derive(Debug)]
struct DnsName {
    /// The backend at the name. Its host is not an address.
    service: Backend,
    host: String,
    /// The DNS server to ask; `None` for those of the system.
    server: Option<SocketAddr>,
}

impl BackendSource {
    /// The backends of a fixed list.
    #[must_use]
    pub fn list(backends: Vec<Backend>) -> Self {
        Self::new(backends, None)
    }

    /// One backend at each address of the host of `service`, with the port, the path, the
    /// certificates and the credential of `service`. `server` is the DNS server to ask, or `None`
    /// for those of the system. Fails if the host is an address. There are no backends until
    /// [`Self::resolve`].
    pub fn dns(service: Backend, server: Option<SocketAddr>) -> Result<Self, BackendError> {
        let host = service.base_url().domain().ok_or(BackendError::NoName)?.to_owned();
        Ok(Self::new(Vec::new(), Some(DnsName { service, host, server })))
    }

    fn new(backends: Vec<Backend>, name: Option<DnsName>) -> Self {
        Self(Arc::new(Inner { backends: watch::Sender::new(backends.into()), name, problem: Mutex::default() }))
    }

    /// Returns the backends as far as they are known.
    #[must_use]
    pub fn current(&self) -> Arc<[Backend]> {
        Arc::clone(&self.0.backends.borrow())
    }

    /// Completes at the next change of the backends after this call.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut backends = self.0.backends.subscribe();
        async move {
            if backends.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Returns the URL of the name that could not be resolved, and why, if the last resolution
    /// failed.
    #[must_use]
    pub fn problem(&self) -> Option<(String, String)> {
        let name = self.0.name.as_ref()?;
        Some((name.service.name(), self.0.problem.lock().clone()?))
    }

    /// Resolves the name once, within 4 seconds. If that fails, the known backends stay. Does
    /// nothing for a fixed list.
    pub async fn resolve(&self) {
        let Some(name) = &self.0.name else { return };
        match dns::addresses(&name.host, name.server).await {
            Ok(addresses) => self.set(name, &addresses),
            Err(error) => {
                let error = format!("cannot resolve {}: {error}", name.host);
                let mut problem = self.0.problem.lock();
                if problem.is_none() {
                    tracing::warn!(name = name.host, error, "cannot resolve the backends; the known ones stay in use");
                }
                *problem = Some(error);
            }
        }
    }

    /// Replaces the backends by those at these addresses.
    fn set(&self, name: &DnsName, addresses: &[IpAddr]) {
        if self.0.problem.lock().take().is_some() {
            tracing::info!(name = name.host, "the backends can be resolved again");
        }
        self.0.backends.send_if_modified(|backends| {
            let known = |address: &IpAddr| backends.iter().find(|backend| backend.address() == Some(*address));
            if addresses.len() == backends.len() && addresses.iter().all(|address| known(address).is_some()) {
                return false;
            }
            let resolved = addresses.iter().map(|address| match known(address) {
                Some(backend) => backend.clone(),
                None => name.service.at(*address),
            });
            let resolved = resolved.collect();
            log_difference(&name.host, backends, &resolved);
            *backends = resolved;
            true
        });
    }

    /// Resolves the name at an interval. Never returns.
    pub async fn run(&self) {
        if self.0.name.is_none() {
            pending::<()>().await;
        }
        loop {
            sleep(RESOLVE_INTERVAL).await;
            self.resolve().await;
        }
    }
}

/// Logs which backends joined and which left.
fn log_difference(name: &str, before: &[Backend], after: &Arc<[Backend]>) {
    let missing_in = |backends: &[Backend], others: &[Backend]| -> Vec<String> {
        let is_missing = |backend: &&Backend| !others.iter().any(|other| other.address() == backend.address());
        backends.iter().filter(is_missing).map(Backend::name).collect()
    };
    let (joined, left) = (missing_in(after, before), missing_in(before, after));
    tracing::info!(name, ?joined, ?left, "the backends have changed");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> BackendSource {
        BackendSource::dns(Backend::new("http://ollama.models.svc:11434/prefix").unwrap(), None).unwrap()
    }

    fn set(source: &BackendSource, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        source.set(source.0.name.as_ref().unwrap(), &addresses);
    }

    fn names(source: &BackendSource) -> Vec<String> {
        source.current().iter().map(Backend::name).collect()
    }

    #[test]
    fn each_address_is_a_backend() {
        let source = source();
        assert!(names(&source).is_empty());
        set(&source, &["10.0.0.1", "fd00::1"]);
        assert_eq!(names(&source), ["http://10.0.0.1:11434/prefix", "http://[fd00::1]:11434/prefix"]);
    }

    #[test]
    fn the_same_addresses_are_no_change() {
        let source = source();
        set(&source, &["10.0.0.1", "10.0.0.2"]);
        let before = source.current();
        set(&source, &["10.0.0.2", "10.0.0.1"]);
        assert!(Arc::ptr_eq(&before, &source.current()));
        set(&source, &["10.0.0.2"]);
        assert_eq!(names(&source), ["http://10.0.0.2:11434/prefix"]);
    }

    #[test]
    fn an_address_is_no_name() {
        for url in ["http://10.0.0.1:11434", "http://[::1]:11434"] {
            let service = Backend::new(url).unwrap();
            assert!(matches!(BackendSource::dns(service, None), Err(BackendError::NoName)), "{url}");
        }
    }
}
