//! The client's address behind trusted proxies.
//!
//! Each proxy appends the address of its own client to `X-Forwarded-For`. The entries before that
//! of a trusted proxy are under the client's control. So the header is read from its end, for as
//! long as the address that added an entry is trusted.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::unlisted_proxies::UnlistedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
    unlisted: UnlistedProxies,
}

impl TrustedProxies {
    pub(crate) fn new(trusted: &[IpNet]) -> Self {
        Self { networks: trusted.to_vec(), unlisted: UnlistedProxies::default() }
    }

    /// Returns the client's address: the peer if it is not trusted, else the last forwarded address
    /// that is not trusted. If all of them are trusted, it is the first. An entry that is not an
    /// address hides all entries before it. Logs a peer that forwards requests without being
    /// trusted.
    pub(crate) fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            self.unlisted.report(client, headers);
        }
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while self.trusts(client)
            && let Some(address) = entries.next().and_then(parse_entry)
        {
            client = address;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Parses an entry. Some proxies append a port, and then write IPv6 in brackets.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()?;
    // `0.0.0.0` and `::` name no host.
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use http::HeaderValue;
    use proptest::{collection::vec, prelude::*};
    use rstest::rstest;

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(&[
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
            "192.0.2.7/32".parse().unwrap(),
        ])
    }

    fn forwarded<T: AsRef<[u8]>>(lines: impl IntoIterator<Item = T>) -> HeaderMap {
        let values = lines.into_iter().map(|line| HeaderValue::from_bytes(line.as_ref()).unwrap());
        values.map(|value| (X_FORWARDED_FOR, value)).collect()
    }

    #[rstest]
    #[case::nobody_forwards("10.0.0.1", &[], "10.0.0.1")]
    #[case::one_proxy("10.0.0.1", &["203.0.113.9"], "203.0.113.9")]
    #[case::a_stranger("203.0.113.1", &["203.0.113.9"], "203.0.113.1")]
    #[case::prepended("10.0.0.1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9")]
    #[case::prepended_a_proxy("10.0.0.1", &["10.9.9.9, 203.0.113.9"], "203.0.113.9")]
    #[case::two_proxies("10.0.0.1", &["203.0.113.9, 192.0.2.7"], "203.0.113.9")]
    #[case::lines_are_one_list("10.0.0.1", &["198.51.100.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9")]
    #[case::all_trusted("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3")]
    #[case::nonsense("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1")]
    #[case::nonsense_further_out("10.0.0.1", &["203.0.113.9, _hidden, 10.0.0.2"], "10.0.0.2")]
    #[case::empty("10.0.0.1", &[""], "10.0.0.1")]
    #[case::empty_first("10.0.0.1", &[", 203.0.113.9"], "203.0.113.9")]
    #[case::nobody("10.0.0.1", &["0.0.0.0"], "10.0.0.1")]
    #[case::nobody_in_ipv6("10.0.0.1", &["::"], "10.0.0.1")]
    #[case::port("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9")]
    #[case::ipv6("10.0.0.1", &["2001:db8::9"], "2001:db8::9")]
    #[case::brackets("10.0.0.1", &["[2001:db8::9]"], "2001:db8::9")]
    #[case::brackets_and_port("10.0.0.1", &["[2001:db8::9]:4711"], "2001:db8::9")]
    #[case::half_a_bracket("10.0.0.1", &["[2001:db8::9"], "10.0.0.1")]
    #[case::tabs("10.0.0.1", &["203.0.113.9\t,\t10.0.0.2 "], "203.0.113.9")]
    #[case::peer_mapped_into_ipv6("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9")]
    #[case::entry_mapped_into_ipv6("fd00::1", &["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9")]
    #[case::client_mapped_into_ipv6("fd00::1", &["::ffff:203.0.113.9"], "203.0.113.9")]
    fn the_client_is_the_last_address_that_is_not_trusted(
        #[case] peer: &str,
        #[case] lines: &[&str],
        #[case] client: &str,
    ) {
        let found = proxies().client_ip(peer.parse().unwrap(), &forwarded(lines));
        assert_eq!(found, client.parse::<IpAddr>().unwrap());
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<Ipv4Addr>().prop_map(IpAddr::from),
            any::<Ipv6Addr>().prop_map(IpAddr::from),
            (0_u8..4).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        ]
    }

    /// What a client may put into a header: addresses, whole lists of them, and anything else.
    fn any_line() -> impl Strategy<Value = Vec<u8>> {
        let list = vec(any_address().prop_map(|address| address.to_string()), 1..4);
        let other =
            vec(any::<u8>().prop_filter("a header's byte", |byte| (32..127).contains(byte) || *byte > 127), 0..40);
        prop_oneof![list.prop_map(|list| list.join(", ").into_bytes()), other]
    }

    proptest! {
        #[test]
        fn the_header_of_an_untrusted_peer_is_ignored(peer in any_address(), lines in vec(any_line(), 0..4)) {
            let proxies = proxies();
            prop_assume!(!proxies.trusts(peer.to_canonical()));
            prop_assert_eq!(proxies.client_ip(peer, &forwarded(lines)), peer.to_canonical());
        }

        /// Each proxy either adds a header line or appends to the last line, as real proxies do.
        #[test]
        fn no_client_chooses_its_address(
            client in any_address(), said in vec(any_line(), 0..4), hops in vec((0_u8..8, any::<bool>()), 0..3)
        ) {
            let proxies = proxies();
            prop_assume!(!proxies.trusts(client.to_canonical()) && !client.to_canonical().is_unspecified());
            let (mut lines, mut last) = (said, client);
            for (number, joins) in hops.into_iter().chain([(9, true)]) {
                let added = last.to_string().into_bytes();
                match lines.last_mut() {
                    Some(line) if joins => line.extend([b", ".as_slice(), &added].concat()),
                    _ => lines.push(added),
                }
                last = IpAddr::from([10, 0, 0, number]);
            }
            prop_assert_eq!(proxies.client_ip(last, &forwarded(lines)), client.to_canonical());
        }
    }
}
