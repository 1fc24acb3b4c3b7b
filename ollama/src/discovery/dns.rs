//! Asks the DNS for the addresses of a name.
//!
//! The queries do not go through the system's resolver, which would block a thread for the time of
//! its own timeouts, and cannot ask a given server.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use tokio::time::timeout;

/// How long a resolution may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long one query may take before it is sent again.
const QUERY_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why a name was not resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    /// The DNS server says that the name has no address.
    #[error("it has no address")]
    NoAddress,
    /// No answer arrived in time.
    #[error("the DNS server does not answer")]
    Timeout,
    /// The query failed, or the system's configuration cannot be read.
    #[error(transparent)]
    Failed(#[from] NetError),
}

/// Returns the addresses of a name, sorted: those of IPv4, or those of IPv6 if it has none. A name
/// with both names each server twice, as a headless Service of Kubernetes with two IP families.
pub(super) async fn addresses(name: &str, server: Option<SocketAddr>) -> Result<Vec<IpAddr>, DnsError> {
    let resolving = async {
        let resolver = resolver(server)?;
        match lookup(&resolver, name, RecordType::A).await {
            Err(DnsError::NoAddress) => lookup(&resolver, name, RecordType::AAAA).await,
            result => result,
        }
    };
    timeout(TIMEOUT, resolving).await.unwrap_or(Err(DnsError::Timeout))
}

/// Builds a resolver. It is built for each resolution, so that it follows a changed configuration of
/// the system.
fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut name_server.connections {
                connection.port = server.port();
            }
            let config = ResolverConfig::from_name_servers(vec![name_server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.timeout = QUERY_TIMEOUT;
    builder.build()
}

/// Returns the addresses in the records of one type.
async fn lookup(resolver: &TokioResolver, name: &str, record_type: RecordType) -> Result<Vec<IpAddr>, DnsError> {
    let lookup = resolver.lookup(name, record_type).await.map_err(|error| match error {
        error if error.is_no_records_found() => DnsError::NoAddress,
        NetError::Timeout => DnsError::Timeout,
        error => DnsError::Failed(error),
    })?;
    let addresses = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err(DnsError::NoAddress) } else { Ok(addresses) }
}
