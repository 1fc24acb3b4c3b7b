//! Header filtering between the client and Ollama, in both directions.

use http::{HeaderMap, HeaderValue};

use crate::http::{
    hop_by_hop::{forwarded_request_headers, forwarded_response_headers},
    redact::contains_key,
    request_context::X_REQUEST_ID,
};

/// Whether a request header must not reach Ollama, because the gateway alone evaluates it. Ollama
/// would check `Origin` against its own list. The meter cannot read a compressed response. A client
/// can forge the headers about its address.
fn is_for_gateway(name: &str) -> bool {
    matches!(
        name,
        "accept-encoding"
            | "authorization"
            | "cf-connecting-ip"
            | "cookie"
            | "fastly-client-ip"
            | "forwarded"
            | "origin"
            | "true-client-ip"
            | "via"
            | "x-api-key"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-forwarded"
            | "x-proxyuser-ip"
            | "x-real-ip"
            | "x-request-id"
            | "x-trace-id"
    ) || ["x-envoy-", "x-forwarded-", "x-original-", "x-rewrite-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a response header must not reach the client, because it describes Ollama itself, or
/// because only the gateway may set its rules for browsers and clients.
fn is_from_upstream(name: &str) -> bool {
    matches!(
        name,
        "alt-svc"
            | "clear-site-data"
            | "content-security-policy"
            | "location"
            | "refresh"
            | "server"
            | "set-cookie"
            | "strict-transport-security"
            | "www-authenticate"
            | "x-request-id"
    ) || ["access-control-", "x-paddock-", "x-ratelimit-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Filters the headers of a client's request for Ollama. Some clients send their key in a header of
/// another vendor, so no header with a Paddock key passes.
pub(crate) fn to_ollama(headers: HeaderMap, request_id: &HeaderValue) -> HeaderMap {
    let mut passed = forwarded_request_headers(headers, is_for_gateway);
    let has_key = |value: &HeaderValue| value.to_str().is_ok_and(contains_key);
    if passed.values().any(has_key) {
        let named: Vec<_> = passed.iter().filter(|(_, value)| has_key(value)).map(|(name, _)| name.clone()).collect();
        for name in named {
            passed.remove(name);
        }
    }
    passed.insert(X_REQUEST_ID, request_id.clone());
    passed
}

/// Filters the headers of Ollama's response for the client.
pub(crate) fn to_client(headers: HeaderMap) -> HeaderMap {
    forwarded_response_headers(headers, is_from_upstream)
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
            ("x-envoy-external-address", "203.0.113.9"),
            ("api-key", "pdk_0123456789_secret"),
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
        let response = headers(&[
            ("server", "ollama"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Basic"),
            ("access-control-allow-origin", "*"),
            ("x-ratelimit-remaining", "9"),
            ("x-paddock-ignored", "x"),
            ("content-security-policy", "default-src *"),
            ("transfer-encoding", "chunked"),
            ("content-type", "application/x-ndjson"),
            ("content-length", "12"),
        ]);
        let expected = headers(&[("content-type", "application/x-ndjson"), ("content-length", "12")]);
        assert_eq!(to_client(response), expected);
    }
}
