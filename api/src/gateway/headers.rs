//! Header filtering between the client and Ollama, in both directions.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::request_context::X_REQUEST_ID;

/// Whether a header concerns one connection only (RFC 9110, 7.6.1) or the framing of its message.
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

/// Whether a request header concerns the gateway only. Ollama would check `Origin` against its own
/// list. A compressed response could not be metered. A client could make up where it comes from.
fn is_for_gateway(name: &str) -> bool {
    matches!(
        name,
        "accept-encoding"
            | "authorization"
            | "cf-connecting-ip"
            | "cookie"
            | "forwarded"
            | "origin"
            | "true-client-ip"
            | "via"
            | "x-api-key"
            | "x-client-ip"
            | "x-real-ip"
            | "x-request-id"
            | "x-trace-id"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
}

/// Whether a response header describes Ollama itself, or its own CORS rules.
fn is_from_upstream(name: &str) -> bool {
    matches!(name, "server" | "set-cookie" | "www-authenticate" | "x-request-id") || name.starts_with("access-control-")
}

/// Filters the headers of a client's request for Ollama.
pub(crate) fn to_ollama(headers: HeaderMap, request_id: &HeaderValue) -> HeaderMap {
    let mut passed = filter(headers, |name| !is_hop_by_hop(name) && !is_for_gateway(name));
    passed.insert(X_REQUEST_ID, request_id.clone());
    passed
}

/// Filters the headers of Ollama's response for the client. `Content-Length` stays: the bytes are
/// the same.
pub(crate) fn to_client(headers: HeaderMap) -> HeaderMap {
    filter(headers, |name| name == "content-length" || !(is_hop_by_hop(name) || is_from_upstream(name)))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    #[test]
    fn request_headers_for_the_gateway_do_not_reach_ollama() {
        let sent = headers(&[
            ("host", "gateway"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "a=b"),
            ("origin", "https://app.example"),
            ("content-type", "application/json"),
            ("content-length", "7"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip"),
            ("user-agent", "ollama-python"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=203.0.113.9"),
            ("x-real-ip", "203.0.113.9"),
            ("upgrade", "h2c"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("x-request-id", "theirs"),
        ]);
        let passed = to_ollama(sent, &HeaderValue::from_static("ours"));
        let expected = headers(&[
            ("content-type", "application/json"),
            ("user-agent", "ollama-python"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("x-request-id", "ours"),
        ]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn response_headers_about_ollama_do_not_reach_the_client() {
        let answered = headers(&[
            ("server", "ollama"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Basic"),
            ("access-control-allow-origin", "*"),
            ("transfer-encoding", "chunked"),
            ("content-type", "application/x-ndjson"),
            ("content-length", "12"),
        ]);
        let expected = headers(&[("content-type", "application/x-ndjson"), ("content-length", "12")]);
        assert_eq!(to_client(answered), expected);
    }
}
