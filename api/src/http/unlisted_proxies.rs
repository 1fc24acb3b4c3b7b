//! Proxies that `TRUSTED_PROXIES` does not list. All clients of such a proxy share its address, and
//! so the limits of one address. The log says so once for each proxy.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;

/// How many proxies are logged. Any client can send such a header, and must not fill the log.
const MAX_REPORTS: usize = 4;

/// The headers that a proxy adds to requests that it forwards.
const HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-for"),
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

/// The proxies that were logged.
#[derive(Debug, Default)]
pub(super) struct UnlistedProxies(Mutex<Vec<IpAddr>>);

impl UnlistedProxies {
    /// Logs a peer that is not trusted, if its request was forwarded and the peer was not logged
    /// before.
    pub(super) fn report(&self, peer: IpAddr, headers: &HeaderMap) {
        if HEADERS.iter().any(|name| headers.contains_key(name)) && self.is_new(peer) {
            tracing::warn!(
                proxy = %peer,
                "a proxy forwards requests, and all its clients count as one address: list the proxy in TRUSTED_PROXIES"
            );
        }
    }

    fn is_new(&self, peer: IpAddr) -> bool {
        let mut reported = self.0.lock();
        let is_new = reported.len() < MAX_REPORTS && !reported.contains(&peer);
        if is_new {
            reported.push(peer);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proxy_is_new_once_and_only_a_few_are() {
        let proxies = UnlistedProxies::default();
        let new = (0..8).map(|last| IpAddr::from([10, 0, 0, last / 2])).filter(|peer| proxies.is_new(*peer)).count();
        assert_eq!(new, 4);
        assert!(!proxies.is_new([192, 0, 2, 7].into()), "a fifth proxy");
    }
}
