//! Pages of other origins, and which of them may call this from a browser: CORS, as the Fetch standard has it.
//!
//! A browser lets a page read an answer only if the answer names the page's origin. To everyone else this says nothing of
//! CORS at all, and does nothing else than without it: what a caller may do, its credential decides.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};

use crate::host::host_of;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
/// What a page may read beside what it may always.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, X-Total-Count, \
     X-Next-Cursor, Content-Disposition",
);
/// How many seconds a browser need not ask again: more than two hours none of them takes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const YES: HeaderValue = HeaderValue::from_static("true");

/// The origins that may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    listed: Vec<String>,
    /// Any port of this machine too.
    local: bool,
}

impl Origins {
    /// `listed` as browsers write origins: `https://app.example.com`.
    pub(crate) fn new(listed: Vec<String>, local: bool) -> Self {
        Self { listed, local }
    }

    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed == origin) || (self.local && is_local(origin))
    }

    /// The origin of the page that sends a request, if it may.
    pub(crate) fn page(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        origin.to_str().is_ok_and(|text| self.allow(text)).then(|| origin.clone())
    }

    /// The answer to a browser that asks what a page may send. Not every path takes what is told here, which the request
    /// itself finds out, with an answer that the page can read.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        let is_one = request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_one || self.page(headers).is_none() {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let told = response.headers_mut();
        told.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        // Any header: the SDKs send dozens, others in each version, and none of them gives a right but the credential.
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            told.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        told.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        told.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        Some(response)
    }

    /// Lets the page read an answer, if it may. That this depends on the page, caches are told in any case.
    pub(crate) fn tell(&self, page: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.local || !self.listed.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(page) = page {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, YES);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Whether it is a page of this machine.
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
    fn only_allowed_pages_are_told(#[case] origins: &[&str], #[case] listed: bool, #[case] in_local: bool) {
        for (local, allowed) in [(false, listed), (true, in_local)] {
            let page = Origins::new(vec![APP.to_owned()], local).page(&sent(origins));
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
