//! Addresses to listen on, as people write them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address to listen on. Without a host, as in `:8080`, the setting decides where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    ip: Option<IpAddr>,
    pub(crate) port: u16,
}

impl ListenAddress {
    /// The address with this one as the default host.
    pub(crate) fn or_host(self, default: IpAddr) -> SocketAddr {
        SocketAddr::new(self.ip.unwrap_or(default), self.port)
    }
}

/// Parses `127.0.0.1:8080`, `[::]:8080`, `localhost:8080` or `:8080`. An error repeats the text and
/// shows a right form of it.
pub(crate) fn parse(text: &str) -> Result<ListenAddress, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress { ip: Some(addr.ip()), port: addr.port() });
    }
    let invalid = |why: &str, right: &str| Err(format!("`{text}` {why}; write it as {right}"));
    if text.contains("://") {
        return invalid("is a URL", "host and port only, such as 127.0.0.1:8080");
    }
    if let Ok(port) = text.parse::<u16>() {
        return invalid("has no host", &format!(":{port} or 127.0.0.1:{port}"));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return invalid("has no port", &format!("{ip}:8080"));
    }
    if text.ends_with(']') {
        return invalid("has no port", &format!("{text}:8080"));
    }
    if !text.starts_with('[') && text.matches(':').count() > 1 {
        return invalid("is an IPv6 address without brackets", "[::]:8080 or [::1]:8080");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return invalid("is not host:port", "127.0.0.1:8080, [::]:8080 or :8080");
    };
    let Ok(port) = port.parse::<u16>() else {
        return invalid("has no port from 0 to 65535", "127.0.0.1:8080, [::]:8080 or :8080");
    };
    match host {
        "" => Ok(ListenAddress { ip: None, port }),
        "localhost" => Ok(ListenAddress { ip: Some(Ipv4Addr::LOCALHOST.into()), port }),
        "*" => invalid("has a `*`", &format!("[::]:{port} for every address of this machine")),
        _ => invalid(
            "names a host, and not an address of this machine",
            &format!("127.0.0.1:{port}, 0.0.0.0:{port} or [::]:{port}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:8080", "127.0.0.1:8080")]
    #[case("0.0.0.0:0", "0.0.0.0:0")]
    #[case("[::]:8080", "[::]:8080")]
    #[case("[::1]:8080", "[::1]:8080")]
    #[case("localhost:8080", "127.0.0.1:8080")]
    #[case(":8080", "[fd00::1]:8080")]
    fn forms_that_people_write_are_taken(#[case] text: &str, #[case] expected: &str) {
        let default = "fd00::1".parse::<Ipv6Addr>().unwrap();
        assert_eq!(parse(text).unwrap().or_host(default.into()).to_string(), expected);
    }

    #[rstest]
    #[case("8080", "127.0.0.1:8080")]
    #[case("0.0.0.0", "0.0.0.0:8080")]
    #[case("[::]", "[::]:8080")]
    #[case("::", "[::]:8080")]
    #[case(":::8080", "[::]:8080")]
    #[case("::1:8080", "[::1]:8080")]
    #[case("*:9000", "[::]:9000")]
    #[case("paddock.example.com:9000", "0.0.0.0:9000")]
    #[case("http://localhost:8080", "127.0.0.1:8080")]
    #[case("localhost:http", "127.0.0.1:8080")]
    #[case("127.0.0.1:99999", "127.0.0.1:8080")]
    #[case("localhost", ":8080")]
    #[case("", ":8080")]
    fn another_form_is_answered_with_a_right_one(#[case] text: &str, #[case] right: &str) {
        let message = parse(text).unwrap_err();
        assert!(message.contains(&format!("`{text}`")) && message.contains(right), "{message}");
    }
}
