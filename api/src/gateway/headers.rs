//! Which headers pass, in each direction.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::origin::X_REQUEST_ID;

/// Headers that speak of one connection (RFC 9110, 7.6.1), whose message is framed anew on the other side.
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

/// What is the client's and the gateway's business only. Ollama checks `Origin` against its own list, and an answer must not
/// be compressed, or it could not be metered.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "accept-encoding" | "authorization" | "cookie" | "origin" | "x-api-key" | "x-request-id" | "x-trace-id"
    )
}

/// What Ollama says of itself, or of browsers.
fn is_upstreams(name: &str) -> bool {
    matches!(name, "server" | "set-cookie" | "www-authenticate" | "x-request-id") || name.starts_with("access-control-")
}

/// The headers of a client's request, as Ollama gets them.
pub(crate) fn to_ollama(headers: HeaderMap, request_id: &HeaderValue) -> HeaderMap {
    let mut passed = pass(headers, |name| !is_hop_by_hop(name) && !is_ours(name));
    passed.insert(X_REQUEST_ID, request_id.clone());
    passed
}

/// The headers of Ollama's answer, as the client gets them. `Content-Length` stays: the bytes are the same.
pub(crate) fn to_client(headers: HeaderMap) -> HeaderMap {
    pass(headers, |name| name == "content-length" || !(is_hop_by_hop(name) || is_upstreams(name)))
}

fn pass(headers: HeaderMap, may_pass: impl Fn(&str) -> bool) -> HeaderMap {
    let named = named_by_connection(&headers);
    let mut passed = HeaderMap::with_capacity(headers.len() + 5);
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        // Further values of a header come without its name.
        if name.is_some() {
            last = name.filter(|name| may_pass(name.as_str()) && !named.contains(name));
        }
        if let Some(name) = &last {
            passed.append(name.clone(), value);
        }
    }
    passed
}

/// The headers that `Connection` says are hop-by-hop too.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_what_is_ollamas_business_goes_to_ollama() {
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
    fn ollamas_own_words_do_not_come_back() {
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
