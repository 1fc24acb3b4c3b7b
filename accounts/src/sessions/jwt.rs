//! The access token of a session: a JWT with a fixed header and claims.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use paddock_store::{
    clock::Timestamp,
    ids::{SessionId, UserId},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{auth_failure::AuthFailure, error::Error, types::Roles};

/// How long an access token is valid.
pub const ACCESS_LIFETIME: Duration = Duration::from_mins(15);
/// The longest credential, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 << 10;

pub(crate) const ISSUER: &str = "paddock";
const AUDIENCE: &str = "paddock-api";
const TYPE: &str = "JWT";
/// The tolerated difference between the clocks of two replicas, in seconds.
const MAX_CLOCK_SKEW: i64 = 60;

/// The key that signs access tokens, with its algorithm.
#[derive(Clone)]
pub struct SessionKey {
    /// The header of every token.
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The claims of a token. The server uses only the ids in `sub` and `sid`, and reads everything
/// else from the database. Serde rejects a duplicate claim.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: Uuid,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    roles: Vec<String>,
}

/// The contents of a verified access token.
#[derive(Debug)]
pub(crate) struct AccessToken {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    pub(crate) expires_at: Timestamp,
}

impl SessionKey {
    /// Creates the key from `JWT_SECRET` and `JWT_ALG`: `HS256`, `HS384` or `HS512`.
    pub fn new(secret: &SecretString, algorithm: &str) -> Result<Self, Error> {
        let algorithm = match algorithm {
            "HS256" => Algorithm::HS256,
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            other => return Err(Error::invalid("JWT_ALG", format!("`{other}` is not one of HS256, HS384, HS512"))),
        };
        let bytes = secret.expose_secret().as_bytes();
        // The key id identifies the key without revealing it. A token of another key is rejected by
        // its header.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[b"paddock kid ", bytes].concat());
        let kid = Some(hex::encode(&digest.as_ref()[..8]));
        Ok(Self {
            header: Header { typ: Some(TYPE.to_owned()), kid, ..Header::new(algorithm) },
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
        })
    }

    pub(super) fn sign(
        &self,
        user: UserId,
        roles: &Roles,
        session: SessionId,
        now: Timestamp,
    ) -> Result<SecretString, Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.to_string(),
            sid: session.0,
            iat: now.seconds(),
            exp: (now + ACCESS_LIFETIME).seconds(),
            nbf: None,
            roles: role_names(roles),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.encoding)
            .map_err(|error| paddock_store::Error::Corrupt(format!("a token could not be signed: {error}")))?;
        Ok(token.into())
    }

    /// Verifies the signature, header, claims and times of a token.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Result<AccessToken, AuthFailure> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthFailure::Malformed);
        }
        let mut validation = Validation::new(self.header.alg);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Checked below, with the store's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let data =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(|_| AuthFailure::Malformed)?;
        // The header must equal ours: no critical extension, no embedded key or key URL.
        if data.header != self.header {
            return Err(AuthFailure::Malformed);
        }
        let claims = data.claims;
        let user = claims.sub.parse().map(UserId).map_err(|_| AuthFailure::Malformed)?;
        if claims.sub != user.to_string() || !claims.is_within(now) {
            return Err(AuthFailure::Malformed);
        }
        if claims.exp <= now.seconds() {
            return Err(AuthFailure::Expired);
        }
        let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        Ok(AccessToken { session: SessionId(claims.sid), user, expires_at })
    }
}

impl Claims {
    /// Whether the times are plausible: issued in the past, and valid no longer than
    /// [`ACCESS_LIFETIME`].
    fn is_within(&self, now: Timestamp) -> bool {
        let latest = now.seconds() + MAX_CLOCK_SKEW;
        (0..=latest).contains(&self.iat)
            && self.iat < self.exp
            && self.exp.abs_diff(self.iat) <= ACCESS_LIFETIME.as_secs()
            && self.nbf.is_none_or(|nbf| nbf <= latest)
    }
}

fn role_names(roles: &Roles) -> Vec<String> {
    roles.to_string().split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
