//! Which requests may use the key. A web page must not reach it: not by a request to this machine,
//! and not by a host name that resolves to this machine (DNS rebinding).

use std::net::IpAddr;

use http::{HeaderMap, Uri, header};
use paddock_api::{host_of, is_local};

/// The suffixes of host names that no public registry gives out.
const PRIVATE_SUFFIXES: [&str; 3] = [".internal", ".local", ".localhost"];

/// The rules about hosts and pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessRules {
    /// Whether clients on other machines are allowed.
    pub(super) allow_remote: bool,
}

impl AccessRules {
    /// Fails unless the request is for this machine and does not come from a page of another host.
    pub(super) fn check(self, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
        if uri.authority().is_some() {
            return Err("the request target is a URL: paddock connect is a server, not an HTTP proxy");
        }
        let host = single(headers, header::HOST.as_str()).and_then(host_of);
        if !host.is_some_and(|host| is_local(host) || (self.allow_remote && is_private(host))) {
            return Err("the Host header names another machine: use the address that paddock connect has printed");
        }
        let is_from_page = headers.contains_key(header::ORIGIN);
        if is_from_page && !single(headers, header::ORIGIN.as_str()).is_some_and(is_local_page) {
            return Err("the request comes from a web page of another host, which may not use your key");
        }
        Ok(())
    }
}

/// The value of a header that occurs once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

/// Whether no attacker can own the host name: an address, a name without a dot, or a private name.
fn is_private(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || !(host.is_empty() || host.contains('.'))
        || PRIVATE_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

/// Whether the origin is a page of this machine.
fn is_local_page(origin: &str) -> bool {
    origin.split_once("://").and_then(|(_, authority)| host_of(authority)).is_some_and(is_local)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rstest::rstest;

    use super::*;

    fn is_allowed(allow_remote: bool, target: &'static str, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append::<http::HeaderName>(name, value);
        }
        AccessRules { allow_remote }.check(&Uri::from_static(target), &map).is_ok()
    }

    #[rstest]
    #[case::localhost("localhost:11434", true, true)]
    #[case::address("127.0.0.1:11434", true, true)]
    #[case::ipv6("[::1]:11434", true, true)]
    #[case::another_machine("192.0.2.7:11434", false, true)]
    #[case::any_address("0.0.0.0:11434", false, true)]
    #[case::docker("host.docker.internal:11434", false, true)]
    #[case::compose("paddock:11434", false, true)]
    #[case::rebinding("evil.example:11434", false, false)]
    #[case::local_prefix("localhost.evil.example", false, false)]
    #[case::empty("", false, false)]
    fn the_host_is_this_machine(#[case] host: &'static str, #[case] locally: bool, #[case] remotely: bool) {
        assert_eq!(is_allowed(false, "/api/tags", &[("host", host)]), locally);
        assert_eq!(is_allowed(true, "/api/tags", &[("host", host)]), remotely);
    }

    #[rstest]
    #[case::no_page(&[], true)]
    #[case::local_page(&["http://localhost:3000"], true)]
    #[case::loopback_page(&["http://127.0.0.1"], true)]
    #[case::desktop_application(&["tauri://localhost"], true)]
    #[case::foreign_page(&["https://evil.example"], false)]
    #[case::local_user(&["http://localhost:1@evil.example"], false)]
    #[case::opaque(&["null"], false)]
    #[case::two(&["http://localhost", "https://evil.example"], false)]
    fn a_page_is_of_this_machine(#[case] origins: &[&'static str], #[case] allowed: bool) {
        let origins = origins.iter().map(|origin| ("origin", *origin));
        let headers: Vec<_> = [("host", "localhost:11434")].into_iter().chain(origins).collect();
        for allow_remote in [false, true] {
            assert_eq!(is_allowed(allow_remote, "/api/tags", &headers), allowed);
        }
    }

    #[test]
    fn a_target_is_a_path_and_a_request_has_one_host() {
        assert!(!is_allowed(false, "http://localhost:11434/api/tags", &[("host", "localhost:11434")]));
        assert!(!is_allowed(false, "/api/tags", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!is_allowed(false, "/api/tags", &[]));
    }
}
