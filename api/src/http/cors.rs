//! CORS: which pages of other origins may call Paddock from a browser (Fetch standard).
//!
//! A browser lets a page read a response only if the response names the page's origin. Requests of
//! other origins are answered without CORS headers, and are otherwise treated the same: the
//! credential decides what a caller may do.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};

use super::host::host_of;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
/// The response headers that a page may read in addition to the safelisted ones.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, X-Total-Count, \
     X-Next-Cursor, X-Paddock-Key-Expires, Content-Disposition",
);
/// How long a browser may cache a preflight, in seconds. No browser accepts more than two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The origins whose pages may call Paddock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    listed: Vec<String>,
    /// Whether any port of this machine is allowed too.
    local: bool,
}

impl Origins {
    /// `listed` holds origins as browsers write them: `https://app.example.com`.
    pub(crate) fn new(listed: Vec<String>, local: bool) -> Self {
        Self { listed, local }
    }

    pub(crate) fn is_allowed(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed == origin) || (self.local && is_local(origin))
    }

    /// Returns the origin of the page that sends the request, if it is allowed.
    pub(crate) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        origin.to_str().is_ok_and(|text| self.is_allowed(text)).then(|| origin.clone())
    }

    /// Answers the preflight of an allowed page. Returns `None` for any other request. The
    /// preflight does not check the method: a path that does not accept it refuses the later
    /// request, with a response that the page can read.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        let is_preflight =
            request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || self.allowed_origin(headers).is_none() {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let allowed = response.headers_mut();
        allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        // Every header is allowed. The SDKs send dozens of headers, which change with each version,
        // and no header except the credential grants a right.
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        allowed.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        allowed.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        Some(response)
    }

    /// Lets the page read the response, if its origin is allowed. `Vary` tells caches of the
    /// dependency in any case.
    pub(crate) fn set_headers(&self, page: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.local || !self.listed.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(page) = page {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }
}

/// Whether the origin is this machine.
fn is_local(origin: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    matches!(authority.and_then(host_of), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const APP: &str = "https://app.example.com";

    fn sent(origins: &[&str]) -> HeaderMap {
        origins.iter().map(|origin| (header::ORIGIN, HeaderValue::from_bytes(origin.as_bytes()).unwrap())).collect()
    }

    #[rstest]
    #[case::listed(&[APP], true, true)]
    #[case::none(&[], false, false)]
    #[case::twice(&[APP, APP], false, false)]
    #[case::other_scheme(&["http://app.example.com"], false, false)]
    #[case::other_port(&["https://app.example.com:8443"], false, false)]
    #[case::longer(&["https://app.example.com.evil.example"], false, false)]
    #[case::below(&["https://x.app.example.com"], false, false)]
    #[case::opaque(&["null"], false, false)]
    #[case::bytes(&["https://app.example.com\u{e4}"], false, false)]
    #[case::localhost(&["http://localhost:5173"], false, true)]
    #[case::localhost_without_port(&["https://localhost"], false, true)]
    #[case::ipv4(&["http://127.0.0.1:3000"], false, true)]
    #[case::ipv6(&["http://[::1]:3000"], false, true)]
    #[case::looks_local(&["http://localhost.evil.example"], false, false)]
    #[case::local_user(&["http://localhost:1@evil.example"], false, false)]
    #[case::local_file(&["file://localhost"], false, false)]
    #[case::another_loopback(&["http://127.0.0.2:3000"], false, false)]
    fn only_allowed_pages_get_headers(#[case] origins: &[&str], #[case] listed: bool, #[case] in_local: bool) {
        for (local, allowed) in [(false, listed), (true, in_local)] {
            let page = Origins::new(vec![APP.to_owned()], local).allowed_origin(&sent(origins));
            assert_eq!(page.is_some(), allowed);
            assert!(page.is_none_or(|page| page == origins[0]));
        }
    }

    #[test]
    fn only_a_preflight_of_an_allowed_page_is_answered() {
        let origins = Origins::new(vec![APP.to_owned()], false);
        let answered = |method: Method, origin: &str, asks: bool| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            *request.headers_mut() = sent(&[origin]);
            if asks {
                request.headers_mut().insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
            }
            origins.preflight(&request).is_some()
        };
        assert!(answered(Method::OPTIONS, APP, true));
        assert!(!answered(Method::OPTIONS, APP, false) && !answered(Method::GET, APP, true));
        assert!(!answered(Method::OPTIONS, "https://evil.example", true));
    }
}
