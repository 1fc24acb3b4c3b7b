//! Whose request it is, when it comes through proxies.
//!
//! Each proxy adds the address that it was asked from to the end of `X-Forwarded-For`. What stands before the entry of a
//! trusted proxy is whatever its client liked to send, so the header is read from its end, for as long as the address that
//! vouches for an entry is trusted.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.to_vec())
    }

    /// The address of the client: the peer, unless it is trusted; then the last one forwarded that is not. With nobody but
    /// trusted ones it is the first of these, and an entry that is no address hides what stands before it.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while self.trusts(client)
            && let Some(address) = entries.next().and_then(address)
        {
            client = address;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The address of an entry, which some proxies write with a port, and IPv6 then in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()?;
    // `0.0.0.0` and `::` are nobody's.
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use http::HeaderValue;
    use proptest::{collection::vec, prelude::*};
    use rstest::rstest;

    use super::*;

    fn proxies() -> Proxies {
        Proxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap(), "192.0.2.7/32".parse().unwrap()])
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
    fn the_client_is_the_last_one_that_is_no_proxy(#[case] peer: &str, #[case] lines: &[&str], #[case] client: &str) {
        let found = proxies().client(peer.parse().unwrap(), &forwarded(lines));
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
        fn what_an_untrusted_peer_says_never_matters(peer in any_address(), lines in vec(any_line(), 0..4)) {
            let proxies = proxies();
            prop_assume!(!proxies.trusts(peer.to_canonical()));
            prop_assert_eq!(proxies.client(peer, &forwarded(lines)), peer.to_canonical());
        }

        /// Behind proxies that each add a line, or add to the last one, as they do.
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
            prop_assert_eq!(proxies.client(last, &forwarded(lines)), client.to_canonical());
        }
    }
}
