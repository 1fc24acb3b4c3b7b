//! Validation of the `Host` header (RFC 9112, section 3.2).

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderValue, Version, header};

use super::error::{ApiError, Kind};

/// Why the `Host` header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostError {
    /// The request does not name exactly one host.
    Malformed(&'static str),
    /// The request names another machine, and only local ones are allowed.
    NotLocal,
}

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        let error = match error {
            HostError::Malformed(why) => Self::new(Kind::Malformed, why),
            HostError::NotLocal => Self::new(Kind::Forbidden, NOT_LOCAL),
        };
        error.with_code("invalid_host")
    }
}

/// Refuses a request whose `Host` header is missing, repeated or malformed, because a proxy in
/// front might have read another host. HTTP/1.0 does not require the header, and some health checks
/// use it. `only_local` also refuses any host that is not this machine.
pub(crate) fn check(version: Version, headers: &HeaderMap, only_local: bool) -> Result<(), HostError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let wrong = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => return Ok(()),
        (None, _) => "the request has no Host header",
        (Some(host), None) if is_host(host) => {
            if only_local && !host.to_str().ok().and_then(host_of).is_some_and(is_local) {
                return Err(HostError::NotLocal);
            }
            return Ok(());
        }
        (Some(_), None) => "the Host header is not a host, or a host and a port, as in example.com:8080",
        (Some(_), Some(_)) => "the request has more than one Host header",
    };
    Err(HostError::Malformed(wrong))
}

const NOT_LOCAL: &str = "while the admin's password is one that everybody knows, only requests to localhost are answered: set \
                         ADMIN_BOOTSTRAP_PASSWORD";

/// Whether a host is `localhost`, below it, or a loopback address.
#[must_use]
pub fn is_local(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_host(value: &HeaderValue) -> bool {
    value.to_str().ok().and_then(host_of).is_some_and(|host| {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        literal.map_or_else(|| is_name(host), |address| address.parse::<Ipv6Addr>().is_ok())
    })
}

/// A registered name or an IPv4 address (RFC 3986, section 3.2.2).
fn is_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte))
}

/// Returns the host of `host` or `host:port`; `None` if the text after the colon is not a port.
#[must_use]
pub fn host_of(authority: &str) -> Option<&str> {
    match authority.rsplit_once(':') {
        // A colon within an IPv6 address.
        Some((_, rest)) if rest.ends_with(']') => Some(authority),
        // The port after the colon may be empty.
        Some((host, port)) => (port.is_empty() || is_port(port)).then_some(host),
        None => Some(authority),
    }
}

/// Whether the text is a port: digits alone. Rust's own parser also accepts a sign.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("localhost:8080", true)]
    #[case("Paddock.LOCALHOST", true)]
    #[case("127.0.0.1:8080", true)]
    #[case("127.9.9.9", true)]
    #[case("[::1]:8080", true)]
    #[case("evil.example:8080", false)]
    #[case("localhost.evil.example", false)]
    #[case("notlocalhost", false)]
    #[case("192.0.2.1", false)]
    #[case("0.0.0.0", false)]
    fn only_this_machine_is_local(#[case] host: &str, #[case] local: bool) {
        let headers: HeaderMap = [(header::HOST, HeaderValue::from_str(host).unwrap())].into_iter().collect();
        assert_eq!(check(Version::HTTP_11, &headers, true).is_ok(), local);
        assert!(check(Version::HTTP_11, &headers, false).is_ok());
    }

    #[rstest]
    #[case::name(&["paddock.example.com"], true)]
    #[case::port(&["paddock.example.com:8080"], true)]
    #[case::no_port(&["paddock.example.com:"], true)]
    #[case::compose(&["paddock_api:8080"], true)]
    #[case::ipv4(&["127.0.0.1:8080"], true)]
    #[case::ipv6(&["[::1]"], true)]
    #[case::ipv6_port(&["[::1]:8080"], true)]
    #[case::none(&[], false)]
    #[case::empty(&[""], false)]
    #[case::port_alone(&[":8080"], false)]
    #[case::two(&["paddock.example.com", "paddock.example.com"], false)]
    #[case::list(&["paddock.example.com, evil.example"], false)]
    #[case::path(&["paddock.example.com/x"], false)]
    #[case::user(&["ada@paddock.example.com"], false)]
    #[case::url(&["http://paddock.example.com"], false)]
    #[case::no_number(&["paddock.example.com:http"], false)]
    #[case::signed(&["paddock.example.com:+80"], false)]
    #[case::signed_behind_ipv6(&["[::1]:+80"], false)]
    #[case::signed_ipv6(&["[::+1]"], false)]
    #[case::beyond_ports(&["paddock.example.com:65536"], false)]
    #[case::bare_ipv6(&["::1"], false)]
    #[case::no_ipv6(&["[paddock]"], false)]
    #[case::half_a_bracket(&["[::1"], false)]
    #[case::other_alphabet(&["p\u{e4}ddock.example.com"], false)]
    fn a_request_names_one_host(#[case] hosts: &[&str], #[case] right: bool) {
        let lines = hosts.iter().map(|host| (header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap()));
        let headers: HeaderMap = lines.collect();
        assert_eq!(check(Version::HTTP_11, &headers, false).is_ok(), right);
        // HTTP/1.0 clients may omit the header, but a malformed one is refused.
        assert_eq!(check(Version::HTTP_10, &headers, false).is_ok(), right || hosts.is_empty());
    }
}
