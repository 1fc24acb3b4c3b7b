//! The refresh cookie of a session. Browsers hide it from scripts and send it to `/auth` alone.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use crate::http::{
    cors::Origins,
    error::{ApiError, Kind},
};

/// The name of the cookie.
pub(crate) const NAME: &str = "paddock_refresh";

/// The header in which a browser names the site of the sending page (Fetch Metadata), even without
/// `Origin`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Sets, clears and reads the cookie.
#[derive(Clone, Debug)]
pub(crate) struct RefreshCookie {
    is_secure: bool,
    /// The origin of `PUBLIC_URL`, if that is set: `https://paddock.example.com`.
    public_origin: Option<String>,
    /// The other origins whose pages may use the cookie.
    allowed: Origins,
}

impl RefreshCookie {
    /// `public_url` is where clients reach Paddock, if that is known. `secure` sends the cookie
    /// over TLS alone.
    pub(crate) fn new(public_url: Option<&str>, secure: bool, allowed: Origins) -> Self {
        let public_origin = public_url.map(origin_of);
        let has_tls = public_origin.as_ref().is_some_and(|origin| origin.starts_with("https://"));
        Self { is_secure: secure || has_tls, public_origin, allowed }
    }

    /// Returns the `Set-Cookie` value that stores a token.
    pub(crate) fn set(&self, token: &SecretString, lifetime: Duration) -> HeaderValue {
        self.header(token.expose_secret(), lifetime.as_secs())
    }

    /// Returns the `Set-Cookie` value that removes the cookie.
    pub(crate) fn clear(&self) -> HeaderValue {
        self.header("", 0)
    }

    fn header(&self, token: &str, seconds: u64) -> HeaderValue {
        let secure = if self.is_secure { "; Secure" } else { "" };
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
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        headers.get_all(header::ORIGIN).iter().any(|origin| {
            let Ok(origin) = origin.to_str() else { return true };
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let same = authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host));
            let public = self.public_origin.as_ref().is_some_and(|public| public.eq_ignore_ascii_case(origin));
            !(same || public || self.allowed.is_allowed(origin))
        })
    }
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
        let token = RefreshCookie::new(None, false, Origins::default()).token(&headers(pairs)).unwrap();
        assert_eq!(token.as_ref().map(ExposeSecret::expose_secret), found);
    }

    #[rstest]
    #[case(&[("cookie", "paddock_refresh=ab; paddock_refresh=cd")])]
    #[case(&[("cookie", "paddock_refresh=ab"), ("cookie", "paddock_refresh=cd")])]
    #[case(&[("cookie", "paddock_refresh=ab"), ("origin", "https://evil.example")])]
    fn an_ambiguous_or_foreign_cookie_is_refused(#[case] pairs: &[(&'static str, &'static str)]) {
        assert!(RefreshCookie::new(None, false, Origins::default()).token(&headers(pairs)).is_err());
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
        let cookies = RefreshCookie::new(Some("https://paddock.example.com/gateway"), false, allowed);
        assert_eq!(cookies.is_foreign(&headers), foreign);
    }

    #[test]
    fn the_cookie_is_secure_in_prod_and_behind_tls() {
        let secure = |url, prod| {
            let given = RefreshCookie::new(url, prod, Origins::default()).set(&"ab".into(), Duration::from_mins(1));
            let text = given.to_str().unwrap().to_owned();
            assert!(
                text.starts_with("paddock_refresh=ab; Path=/auth; Max-Age=60; HttpOnly; SameSite=Strict"),
                "{text}"
            );
            text.ends_with("; Secure")
        };
        assert!(!secure(None, false) && !secure(Some("http://localhost:8080"), false));
        assert!(secure(None, true) && secure(Some("https://paddock.example.com"), false));
    }
}
