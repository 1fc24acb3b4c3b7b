//! A credential as a client presents it. It is parsed and hashed once per request.

use std::{ops::Deref, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use paddock_store::{clock::Timestamp, rights::Generation};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    access::principal::Principal,
    auth_failure::AuthFailure,
    cache::{CachedDecision, Digest},
    sessions::jwt::{ISSUER, MAX_TOKEN_BYTES},
    types::ApiKeyToken,
};

/// A credential as a client presents it: an API key, or the access token of a session. It need not
/// be valid.
#[derive(Clone, Debug)]
pub struct PresentedCredential {
    pub(crate) form: Form,
    pub(crate) digest: Digest,
}

/// The form of a credential.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Key(ApiKeyToken),
    AccessToken(SecretString),
    Malformed,
}

impl From<&str> for PresentedCredential {
    fn from(text: &str) -> Self {
        let form = if text.len() > MAX_TOKEN_BYTES {
            Form::Malformed
        } else if ApiKeyToken::looks_like_key(text) {
            ApiKeyToken::parse(text).map_or(Form::Malformed, Form::Key)
        } else if is_token_form(text) {
            Form::AccessToken(text.into())
        } else {
            Form::Malformed
        };
        // A malformed credential is not looked up, so its digest is never compared.
        Self { digest: if matches!(form, Form::Malformed) { Digest::of("") } else { Digest::of(text) }, form }
    }
}

impl From<&SecretString> for PresentedCredential {
    fn from(text: &SecretString) -> Self {
        text.expose_secret().into()
    }
}

impl PresentedCredential {
    /// Whether a text has the form of a credential of Paddock: it begins like an API key, or is a
    /// JWT that names Paddock as its issuer. Other texts are for example keys of other services.
    #[must_use]
    pub fn has_form(text: &str) -> bool {
        ApiKeyToken::looks_like_key(text) || (is_token_form(text) && issuer_of(text).is_some_and(|iss| iss == ISSUER))
    }

    /// Returns the public id of a well-formed API key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match &self.form {
            Form::Key(token) => Some(token.key_id()),
            Form::AccessToken(_) | Form::Malformed => None,
        }
    }
}

/// Whether a text has the form of a JWT: three parts in base64url.
fn is_token_form(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

/// Returns the issuer that a JWT names. Its signature is not verified.
fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.iss)
}

/// The principal of a credential, with the generation and the expiry that limit its validity.
#[derive(Clone, Debug)]
pub struct Authenticated {
    principal: Arc<Principal>,
    /// The generation of rights at which the principal was read.
    pub(crate) read_at: Generation,
    /// When the credential expires, and the failure from then on.
    pub(crate) until: Option<(Timestamp, AuthFailure)>,
}

impl Authenticated {
    pub(crate) fn new(principal: Arc<Principal>, read_at: Generation, decision: &CachedDecision) -> Self {
        Self { principal, read_at, until: decision.until }
    }

    /// Returns the principal.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}

impl Deref for Authenticated {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("pdk_anything", true)]
    #[case("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJwYWRkb2NrIn0.c2ln", true)]
    #[case("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJvdGhlciJ9.c2ln", false)]
    #[case("eyJhbGciOiJIUzI1NiJ9.e30.c2ln", false)]
    #[case("sk-ant-api03-abc", false)]
    #[case("None", false)]
    #[case("", false)]
    #[case("a.b", false)]
    #[case("a..b", false)]
    #[case("ollama", false)]
    fn form_tells_credentials_from_other_texts(#[case] text: &str, #[case] has_form: bool) {
        assert_eq!(PresentedCredential::has_form(text), has_form);
    }

    #[test]
    fn debug_output_has_no_secret() {
        let key = ApiKeyToken::generate();
        let presented = PresentedCredential::from(key.plaintext());
        let secret = &key.plaintext().expose_secret()[15..];
        assert!(!format!("{presented:?}").contains(secret));
        let token = PresentedCredential::from("eyJhbGciOiJIUzI1NiJ9.e30.c2ln");
        assert!(!format!("{token:?}").contains("c2ln"));
    }
}
