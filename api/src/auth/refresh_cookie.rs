//! The refresh cookie of a session. Browsers hide it from scripts and send it to `/auth` alone.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use crate::http::{
    cors::Origins,
    error::{ApiError, Kind},
    host::{host_of, is_local},
};

/// The name of the cookie.
pub(crate) const NAME: &str = "paddock_refresh";

/// The header in which a browser names the site of the sending page (Fetch Metadata), even without
/// `Origin`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Sets, clears and reads the cookie.
#[derive(Clone, Debug)]
pub(crate) struct RefreshCookie {
    /// The origin of `PUBLIC_URL`, if that is set: `https://paddock.example.com`.
    public_origin: Option<String>,
    /// The other origins whose pages may use the cookie.
    allowed: Origins,
}

impl RefreshCookie {
    /// `public_url` is where clients reach Paddock, if that is known.
    pub(crate) fn new(public_url: Option<&str>, allowed: Origins) -> Self {
        Self { public_origin: public_url.map(origin_of), allowed }
    }

    /// Returns the `Set-Cookie` value that stores a token, for the client that sent these headers.
    pub(crate) fn set(&self, token: &SecretString, lifetime: Duration, request: &HeaderMap) -> HeaderValue {
        self.header(token.expose_secret(), lifetime.as_secs(), request)
    }

    /// Returns the `Set-Cookie` value that removes the cookie.
    pub(crate) fn clear(&self, request: &HeaderMap) -> HeaderValue {
        self.header("", 0, request)
    }

    /// Whether browsers send the cookie over TLS alone: as `PUBLIC_URL` says. Without that, a request
    /// to this machine needs no TLS, and any other host may lie behind a proxy that terminates it.
    fn is_secure(&self, request: &HeaderMap) -> bool {
        match &self.public_origin {
            Some(origin) => origin.starts_with("https://"),
            None => !host(request).and_then(host_of).is_some_and(is_local),
        }
    }

    /// Fails if the page that signs in could not keep the session: it was loaded over plain HTTP, and
    /// browsers drop a cookie that is sent over TLS alone.
    pub(crate) fn check_page(&self, request: &HeaderMap) -> Result<(), ApiError> {
        let own = host(request).filter(|host| !host_of(host).is_some_and(is_local));
        let Some(own) = own.filter(|_| self.is_secure(request)) else { return Ok(()) };
        let mut origins = request.get_all(header::ORIGIN).iter().filter_map(|origin| origin.to_str().ok());
        let is_plain = origins
            .any(|origin| origin.strip_prefix("http://").is_some_and(|authority| authority.eq_ignore_ascii_case(own)));
        if !is_plain {
            return Ok(());
        }
        let remedy = match &self.public_origin {
            Some(public) => format!("open {public} instead"),
            None => format!("open Paddock over HTTPS, or have an admin set PUBLIC_URL=http://{own}"),
        };
        let detail =
            format!("http://{own} is not encrypted, so the browser would drop the cookie of the session: {remedy}");
        Err(ApiError::new(Kind::InsecurePage, detail))
    }

    fn header(&self, token: &str, seconds: u64, request: &HeaderMap) -> HeaderValue {
        let secure = if self.is_secure(request) { "; Secure" } else { "" };
        let text = format!("{NAME}={token}; Path=/auth; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        let mut value = HeaderValue::from_str(&text).expect("hexadecimal digits can stand in a header");
        value.set_sensitive(true);
        value
    }

    /// Returns the token that the browser sends. Fails if a page of another origin sends it, or if
    /// there are several different cookies, because another host of the same domain may have set
    /// one.
    pub(crate) fn token(&self, headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
        let mut tokens = cookie_tokens(headers);
        let Some(token) = tokens.next() else { return Ok(None) };
        if tokens.any(|other| other != token) {
            let detail = "the request has several cookies `paddock_refresh`: remove those that another host has set";
            return Err(ApiError::new(Kind::Forbidden, detail));
        }
        if self.is_foreign(headers) {
            let detail = "the request comes from a page of another origin, which must not use the session's cookie";
            return Err(ApiError::new(Kind::Forbidden, detail));
        }
        Ok(Some(token.into()))
    }

    /// Whether a page of an origin that is not allowed sent the request. The scheme of our own
    /// origin is not compared, because a proxy may have terminated TLS; that of `PUBLIC_URL` is.
    fn is_foreign(&self, headers: &HeaderMap) -> bool {
        if !headers.contains_key(header::ORIGIN) {
            let site = headers.get(SEC_FETCH_SITE);
            return site.is_some_and(|site| site == "cross-site" || site == "same-site");
        }
        let host = host(headers).unwrap_or_default();
        headers.get_all(header::ORIGIN).iter().any(|origin| {
            let Ok(origin) = origin.to_str() else { return true };
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let same = authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host));
            let public = self.public_origin.as_ref().is_some_and(|public| public.eq_ignore_ascii_case(origin));
            !(same || public || self.allowed.is_allowed(origin))
        })
    }
}

/// Returns the host, and the port, that a request names.
fn host(request: &HeaderMap) -> Option<&str> {
    request.get(header::HOST).and_then(|value| value.to_str().ok())
}

/// Returns the scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    let end = url.find("://").map_or(0, |scheme| scheme + 3);
    let path = url[end..].find('/').map_or(url.len(), |path| end + path);
    url[..path].to_owned()
}

/// Returns the tokens of all cookies of this name.
fn cookie_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, value)| *name == NAME && !value.is_empty()).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::test_headers::headers;

    #[rstest]
    #[case(&[("cookie", "paddock_refresh=ab")], Some("ab"))]
    #[case(&[("cookie", "a=b; paddock_refresh=ab;c=d")], Some("ab"))]
    #[case(&[("cookie", "a=b"), ("cookie", "paddock_refresh=ab")], Some("ab"))]
    #[case(&[("cookie", "paddock_refresh=")], None)]
    #[case(&[("cookie", "not_paddock_refresh=ab")], None)]
    #[case(&[("authorization", "paddock_refresh=ab")], None)]
    #[case(&[("cookie", "paddock_refresh=ab; paddock_refresh=ab")], Some("ab"))]
    fn the_cookie_is_found(#[case] pairs: &[(&'static str, &'static str)], #[case] found: Option<&str>) {
        let token = RefreshCookie::new(None, Origins::default()).token(&headers(pairs)).unwrap();
        assert_eq!(token.as_ref().map(ExposeSecret::expose_secret), found);
    }

    #[rstest]
    #[case(&[("cookie", "paddock_refresh=ab; paddock_refresh=cd")])]
    #[case(&[("cookie", "paddock_refresh=ab"), ("cookie", "paddock_refresh=cd")])]
    #[case(&[("cookie", "paddock_refresh=ab"), ("origin", "https://evil.example")])]
    fn an_ambiguous_or_foreign_cookie_is_refused(#[case] pairs: &[(&'static str, &'static str)]) {
        assert!(RefreshCookie::new(None, Origins::default()).token(&headers(pairs)).is_err());
    }

    #[rstest]
    #[case::no_browser(&[], false)]
    #[case::own(&[("origin", "http://paddock.test:8080")], false)]
    #[case::own_behind_tls(&[("origin", "https://Paddock.test:8080")], false)]
    #[case::public(&[("origin", "https://paddock.example.com")], false)]
    #[case::public_without_tls(&[("origin", "http://paddock.example.com")], true)]
    #[case::other_port(&[("origin", "http://paddock.test")], true)]
    #[case::other(&[("origin", "https://evil.example")], true)]
    #[case::longer(&[("origin", "http://paddock.test:8080.evil.example")], true)]
    #[case::opaque(&[("origin", "null")], true)]
    #[case::allowed(&[("origin", "https://app.example.com")], false)]
    #[case::allowed_without_tls(&[("origin", "http://app.example.com")], true)]
    #[case::own_without_origin(&[("sec-fetch-site", "same-origin")], false)]
    #[case::typed_by_hand(&[("sec-fetch-site", "none")], false)]
    #[case::other_without_origin(&[("sec-fetch-site", "cross-site")], true)]
    #[case::sibling_without_origin(&[("sec-fetch-site", "same-site")], true)]
    #[case::allowed_from_elsewhere(&[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")], false)]
    #[case::one_of_two(&[("origin", "http://paddock.test:8080"), ("origin", "https://evil.example")], true)]
    fn pages_of_other_origins_are_foreign(#[case] pairs: &[(&'static str, &'static str)], #[case] foreign: bool) {
        let mut headers = headers(pairs);
        headers.insert("host", "paddock.test:8080".parse().unwrap());
        let allowed = Origins::new(vec!["https://app.example.com".to_owned()], false);
        let cookies = RefreshCookie::new(Some("https://paddock.example.com/gateway"), allowed);
        assert_eq!(cookies.is_foreign(&headers), foreign);
    }

    #[rstest]
    #[case::unknown_local(None, "localhost:8080", false)]
    #[case::unknown_loopback(None, "[::1]:8080", false)]
    #[case::unknown_other(None, "paddock.test", true)]
    #[case::tls(Some("https://paddock.example.com"), "localhost:8080", true)]
    #[case::plain(Some("http://192.0.2.7:8080"), "192.0.2.7:8080", false)]
    fn the_cookie_is_secure_as_the_public_url_says(
        #[case] url: Option<&str>,
        #[case] host: &'static str,
        #[case] secure: bool,
    ) {
        let set = RefreshCookie::new(url, Origins::default()).set(
            &"ab".into(),
            Duration::from_mins(1),
            &headers(&[("host", host)]),
        );
        let text = set.to_str().unwrap();
        assert!(text.starts_with("paddock_refresh=ab; Path=/auth; Max-Age=60; HttpOnly; SameSite=Strict"), "{text}");
        assert_eq!(text.ends_with("; Secure"), secure);
    }

    #[rstest]
    #[case::lan(None, "http://192.0.2.7:8080", "192.0.2.7:8080", false)]
    #[case::lan_as_configured(Some("http://192.0.2.7:8080"), "http://192.0.2.7:8080", "192.0.2.7:8080", true)]
    #[case::lan_of_a_tls_server(Some("https://paddock.test"), "http://192.0.2.7:8080", "192.0.2.7:8080", false)]
    #[case::localhost(None, "http://localhost:8080", "localhost:8080", true)]
    #[case::forwarded_port(Some("https://paddock.test"), "http://localhost:8080", "localhost:8080", true)]
    #[case::tls_in_front(None, "https://paddock.test", "paddock.test", true)]
    #[case::other_page(None, "http://app.example.com", "paddock.test", true)]
    fn a_page_that_cannot_keep_its_session_is_refused(
        #[case] url: Option<&str>,
        #[case] origin: &'static str,
        #[case] host: &'static str,
        #[case] is_fine: bool,
    ) {
        let checked = RefreshCookie::new(url, Origins::default())
            .check_page(&headers(&[("host", host), ("origin", origin)]))
            .map_err(|error| error.kind());
        assert_eq!(checked, if is_fine { Ok(()) } else { Err(Kind::InsecurePage) });
    }
}
