//! The credential in the headers of a request.

use http::{HeaderMap, HeaderName, header};

use super::error::AuthError;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Returns the credential of a request: a bearer token, or `X-API-Key`. Several equal credentials
/// count as one.
pub(crate) fn credential_from_headers(headers: &HeaderMap) -> Result<&str, AuthError> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| value.to_str().map(bearer));
    let keys = headers.get_all(X_API_KEY).iter().map(|value| value.to_str().map(|text| Some(text.trim())));
    let mut found = None;
    for text in bearer.chain(keys) {
        // Bytes that are no credential, or another scheme, conflict with a credential beside them.
        let text = text.ok().flatten().unwrap_or_default();
        match found {
            None => found = Some(text),
            Some(other) if other == text => {}
            Some(_) => return Err(AuthError::Conflicting),
        }
    }
    match found {
        None | Some("") => Err(AuthError::Absent),
        Some(text) => Ok(text),
    }
}

/// Returns the token of an `Authorization` header of the Bearer scheme.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::test_headers::headers;

    #[rstest]
    #[case::bearer(&[("authorization", "Bearer abc")])]
    #[case::any_case(&[("authorization", "bEARER  abc ")])]
    #[case::key(&[("x-api-key", "abc")])]
    #[case::the_same_twice(&[("authorization", "Bearer abc"), ("x-api-key", "abc")])]
    fn a_credential_is_found(#[case] pairs: &[(&'static str, &'static str)]) {
        assert_eq!(credential_from_headers(&headers(pairs)).unwrap(), "abc");
    }

    #[rstest]
    #[case::none(&[], "absent")]
    #[case::other_scheme(&[("authorization", "Basic YTpi")], "absent")]
    #[case::nothing_after_the_scheme(&[("authorization", "Bearer ")], "absent")]
    #[case::two(&[("authorization", "Bearer abc"), ("x-api-key", "abd")], "conflicting")]
    #[case::other_scheme_beside_a_key(&[("authorization", "Basic YTpi"), ("x-api-key", "abc")], "conflicting")]
    #[case::two_bearers(&[("authorization", "Bearer abc"), ("authorization", "Bearer abd")], "conflicting")]
    fn anything_else_is_no_credential(#[case] pairs: &[(&'static str, &'static str)], #[case] reason: &str) {
        assert_eq!(credential_from_headers(&headers(pairs)).unwrap_err().text(), reason);
    }
}
