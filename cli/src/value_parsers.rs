//! Parses the values of flags and environment variables. Each error names the value and a right one.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use paddock_accounts::passwords::{PASSWORD_HIGHEST_MINIMUM, PASSWORD_LOWEST_MINIMUM};

/// Minimum of MAX_CONNECTIONS. With fewer, probes and clients would block each other.
pub(crate) const MIN_CONNECTIONS: u32 = 16;

/// Parses a port; 0 means any free port.
pub(crate) fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a port; use a number from 0 to 65535, such as 8080"))
}

/// Parses the address and port of a server.
pub(crate) fn parse_socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an address with a port; use one such as 10.96.0.10:53 or [fd00::a]:53"))
}

/// Parses DB_MAX_CONNECTIONS. A single connection could deadlock; databases refuse more than a
/// thousand.
pub(crate) fn parse_db_connections(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (2..=1000).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of connections; use a number from 2 to 1000, such as 20"))
}

/// Parses MAX_CONNECTIONS.
pub(crate) fn parse_max_connections(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (MIN_CONNECTIONS..=1_000_000).contains(number));
    number.ok_or_else(|| {
        format!("`{text}` is not a number of connections; use a number from {MIN_CONNECTIONS} to 1000000, such as 1000")
    })
}

/// Parses MAX_PULLS.
pub(crate) fn parse_max_pulls(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of pulls; use a number from 1 to 100, such as 2"))
}

/// The highest number of requests that run or wait.
const MAX_QUEUE: usize = 100_000;

/// Parses MAX_CONCURRENT_PER_MODEL.
pub(crate) fn parse_max_concurrent(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_QUEUE).contains(number));
    number.ok_or_else(|| {
        format!("`{text}` is not a number of requests; use a number from 1 to {MAX_QUEUE}, such as 4, or unset it for no limit")
    })
}

/// Parses QUEUE_SIZE.
pub(crate) fn parse_queue_size(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MAX_QUEUE);
    number.ok_or_else(|| {
        format!("`{text}` is not a number of requests; use a number from 0 to {MAX_QUEUE}, such as 1024")
    })
}

/// Parses PASSWORD_MIN_LENGTH.
pub(crate) fn parse_password_length(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (PASSWORD_LOWEST_MINIMUM..=PASSWORD_HIGHEST_MINIMUM).contains(n));
    number.ok_or_else(|| {
        format!(
            "`{text}` is not a password length; use a number from {PASSWORD_LOWEST_MINIMUM} to \
             {PASSWORD_HIGHEST_MINIMUM}, such as 15"
        )
    })
}

/// Parses a number of requests.
pub(crate) fn parse_requests(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number of requests; use a number such as 60, or 0 for no limit"))
}

/// Parses an IP address, or a network such as `10.0.0.0/8`.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let invalid = |why: &str, right: &str| format!("`{text}` {why}; {right}");
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    let network = address.or_else(|_| text.parse()).map_err(|_| {
        invalid("is neither an address nor a network", "write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")
    })?;
    if network.prefix_len() == 0 {
        // Such a network would let every client choose its address.
        return Err(invalid("trusts everyone", "name the networks of your proxies, such as 10.0.0.0/8"));
    }
    if network != network.trunc() {
        let right = format!("write {} or {}", network.trunc(), network.addr());
        return Err(invalid("is an address with the prefix length of a network", &right));
    }
    match network {
        IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => {
            Err(invalid("is an IPv4 network in IPv6 form", "write it in IPv4 form, such as 10.0.0.0/8"))
        }
        network => Ok(network),
    }
}

/// Parses an origin, and returns it as browsers write it.
pub(crate) fn parse_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains('@') {
        return Err(
            "contains a user name or password, which it must not; write each origin as https://app.example.com"
                .to_owned(),
        );
    }
    let invalid =
        |why: &str| format!("`{text}` {why}; write it as https://app.example.com or http://app.example.com:3000");
    if text.contains('*') {
        // A page acts with the session of the user who opened it.
        return Err(invalid("allows any page, and each acts with the rights of its user"));
    }
    let url = url::Url::parse(text).map_err(|_| invalid("is not an origin"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("has no host"))?;
    let is_bare = url.query().is_none() && url.fragment().is_none();
    if !is_bare || text.ends_with('/') || !matches!(url.path(), "" | "/") {
        return Err(invalid("is more than scheme, host and port"));
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Ok(format!("{}://{host}{port}", url.scheme()))
}

/// Parses a duration such as `90s`, `10m` or `1h30m`. Zero is invalid.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a duration; write it as 90s, 10m or 1h30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(invalid)
}

/// Parses 1, true or yes, and 0, false or no.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(true),
        "" | "0" | "false" | "no" => Ok(false),
        _ => Err(format!("`{text}` is not a boolean; use 1, true or yes, or 0, false or no")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example.com", Some("https://app.example.com"))]
    #[case(" https://APP.Example.com:443 ", Some("https://app.example.com"))]
    #[case("http://app.example.com:3000", Some("http://app.example.com:3000"))]
    #[case("https://b\u{fc}cher.example", Some("https://xn--bcher-kva.example"))]
    #[case("http://[::1]:3000", Some("http://[::1]:3000"))]
    #[case("chrome-extension://abcdefgh", Some("chrome-extension://abcdefgh"))]
    #[case("https://app.example.com/", None)]
    #[case("https://app.example.com/chat", None)]
    #[case("https://app.example.com?x", None)]
    #[case("https://ada@app.example.com", None)]
    #[case("app.example.com", None)]
    #[case("app.example.com:3000", None)]
    #[case("null", None)]
    #[case("*", None)]
    #[case("https://*.example.com", None)]
    #[case("file:///srv/app", None)]
    #[case("", None)]
    fn an_origin_is_normalized_as_in_browsers(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(parse_origin(text).ok().as_deref(), expected);
    }

    #[rstest]
    #[case("192.0.2.7", Some("192.0.2.7/32"))]
    #[case(" 10.0.0.0/8 ", Some("10.0.0.0/8"))]
    #[case("2001:db8::/32", Some("2001:db8::/32"))]
    #[case("::ffff:192.0.2.7", Some("192.0.2.7/32"))]
    #[case("[2001:db8::7]", Some("2001:db8::7/128"))]
    #[case("::ffff:10.0.0.0/104", None)]
    #[case("10.0.0.1/8", None)]
    #[case("0.0.0.0/0", None)]
    #[case("::/0", None)]
    #[case("10.0.0.0/33", None)]
    #[case("10.0.0.0/255.0.0.0", None)]
    #[case("proxy.example.com", None)]
    #[case("", None)]
    fn a_proxy_network_has_no_host_bits(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(parse_network(text).ok().map(|network| network.to_string()).as_deref(), expected);
    }
}
