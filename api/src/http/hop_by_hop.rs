//! The header fields of one connection, which a proxy does not forward (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, header};

/// Whether a header concerns one connection only or the framing of its message.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns the request headers that a proxy forwards: all headers except hop-by-hop headers and the
/// headers that `is_removed` names. The HTTP client sets `Content-Length` from the body.
#[must_use]
pub fn forwarded_request_headers(headers: HeaderMap, is_removed: impl Fn(&str) -> bool) -> HeaderMap {
    filter(headers, |name| !is_hop_by_hop(name) && !is_removed(name))
}

/// Returns the response headers that a proxy forwards, likewise. `Content-Length` stays: the bytes
/// are the same.
#[must_use]
pub fn forwarded_response_headers(headers: HeaderMap, is_removed: impl Fn(&str) -> bool) -> HeaderMap {
    filter(headers, |name| name == "content-length" || !(is_hop_by_hop(name) || is_removed(name)))
}

/// Returns the headers whose name may pass and is not declared hop-by-hop by `Connection`.
fn filter(headers: HeaderMap, may_pass: impl Fn(&str) -> bool) -> HeaderMap {
    let named = named_by_connection(&headers);
    let mut passed = HeaderMap::with_capacity(headers.len() + 5);
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        // `HeaderMap` yields the name with the first value only.
        if name.is_some() {
            last = name.filter(|name| may_pass(name.as_str()) && !named.contains(name));
        }
        if let Some(name) = &last {
            passed.append(name.clone(), value);
        }
    }
    passed
}

/// Returns the headers that `Connection` declares hop-by-hop.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}
