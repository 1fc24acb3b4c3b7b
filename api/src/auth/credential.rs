//! The credential in the headers of a request.

use std::{borrow::Cow, iter};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use paddock_accounts::PresentedCredential;

use super::error::AuthError;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Returns the credential of a request: a bearer token, an API key in `X-API-Key`, or an API key as
/// the password of `Authorization: Basic`.
///
/// Equal credentials count as one, and empty values as none. Beside a credential of Paddock, other
/// values are ignored: they are for another service, such as a proxy in front.
pub(crate) fn credential_from_headers(headers: &HeaderMap) -> Result<PresentedCredential, AuthError> {
    let authorization = headers.get_all(header::AUTHORIZATION).iter().filter_map(authorization);
    let keys = headers.get_all(X_API_KEY).iter().map(|value| Cow::Borrowed(text(value)));
    let mut given = authorization.chain(keys).filter(|text| !text.is_empty());
    let Some(first) = given.next() else { return Err(AuthError::Absent) };
    let Some(second) = given.find(|other| *other != first) else { return Ok((&*first).into()) };
    choose(iter::once(first).chain(iter::once(second)).chain(given)).map(|text| (&*text).into())
}

/// Chooses among several values the one that has the form of a credential of Paddock.
fn choose<'h>(values: impl Iterator<Item = Cow<'h, str>>) -> Result<Cow<'h, str>, AuthError> {
    let mut foreign = None;
    let mut found: Option<Cow<'h, str>> = None;
    for value in values {
        if !PresentedCredential::has_form(&value) {
            foreign.get_or_insert(value);
        } else if found.as_ref().is_some_and(|found| *found != value) {
            return Err(AuthError::Conflicting);
        } else {
            found = Some(value);
        }
    }
    found.or(foreign).ok_or(AuthError::Absent)
}

/// Returns the text of a header. Bytes that are no text are no credential.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default().trim()
}

/// Returns the credential in an `Authorization` header: the token of the Bearer scheme, or the
/// password of the Basic scheme if that has the form of a credential of Paddock.
fn authorization(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let (scheme, value) = text(value).split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Cow::Borrowed(value));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    PresentedCredential::has_form(password).then(|| Cow::Owned(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::test_headers::headers;

    const KEY: &str = "pdk_0123456789_abcdefghijABCDEFGHIJabcdefghijABCDEFGHIJabc123456";
    const BASIC_KEY: &str =
        "Basic YW55OnBka18wMTIzNDU2Nzg5X2FiY2RlZmdoaWpBQkNERUZHSElKYWJjZGVmZ2hpakFCQ0RFRkdISUphYmMxMjM0NTY=";
    const OTHER_KEY: &str = "pdk_9876543210_abcdefghijABCDEFGHIJabcdefghijABCDEFGHIJabc123456";
    const FOREIGN_TOKEN: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJvdGhlciJ9.c2ln";

    fn chosen(pairs: &[(&'static str, &'static str)]) -> Result<String, &'static str> {
        let headers = headers(pairs);
        let authorization = headers.get_all(header::AUTHORIZATION).iter().filter_map(authorization);
        let keys = headers.get_all(X_API_KEY).iter().map(|value| Cow::Borrowed(text(value)));
        let chosen = choose(authorization.chain(keys).filter(|text| !text.is_empty()));
        let all = credential_from_headers(&headers);
        assert_eq!(all.is_ok(), chosen.is_ok());
        chosen.map(Cow::into_owned).map_err(|error| error.text())
    }

    #[rstest]
    #[case::bearer(&[("authorization", "Bearer abc")], "abc")]
    #[case::any_case(&[("authorization", "bEARER  abc ")], "abc")]
    #[case::key(&[("x-api-key", "abc")], "abc")]
    #[case::the_same_twice(&[("authorization", "Bearer abc"), ("x-api-key", "abc")], "abc")]
    #[case::password_of_basic(&[("authorization", BASIC_KEY)], KEY)]
    #[case::empty_bearer_beside_a_key(&[("authorization", "Bearer "), ("x-api-key", KEY)], KEY)]
    #[case::none_beside_a_key(&[("authorization", "Bearer None"), ("x-api-key", KEY)], KEY)]
    #[case::basic_beside_a_key(&[("authorization", "Basic dTpw"), ("x-api-key", KEY)], KEY)]
    #[case::foreign_key_beside_a_key(&[("authorization", "Bearer pdk_x"), ("x-api-key", "sk-ant-api03-x")], "pdk_x")]
    #[case::foreign_token_beside_a_key(&[("authorization", FOREIGN_TOKEN), ("x-api-key", KEY)], KEY)]
    #[case::two_foreign(&[("authorization", "Bearer abc"), ("x-api-key", "abd")], "abc")]
    fn a_credential_is_found(#[case] pairs: &[(&'static str, &'static str)], #[case] found: &str) {
        assert_eq!(chosen(pairs).as_deref(), Ok(found));
    }

    #[rstest]
    #[case::none(&[], "absent")]
    #[case::other_scheme(&[("authorization", "Basic dTpw")], "absent")]
    #[case::nothing_after_the_scheme(&[("authorization", "Bearer ")], "absent")]
    #[case::empty_key(&[("x-api-key", " ")], "absent")]
    #[case::two(&[("authorization", "Bearer pdk_abc"), ("x-api-key", OTHER_KEY)], "conflicting")]
    #[case::two_bearers(&[("authorization", "Bearer pdk_abc"), ("authorization", "Bearer pdk_abd")], "conflicting")]
    fn anything_else_is_no_credential(#[case] pairs: &[(&'static str, &'static str)], #[case] reason: &str) {
        assert_eq!(chosen(pairs), Err(reason));
    }
}
