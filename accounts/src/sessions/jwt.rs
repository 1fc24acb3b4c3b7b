//! The access token of a session: a JWT of one form, and no other.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SessionId;
use crate::{
    authenticate::Refused,
    clock::Time,
    error::Error,
    sets::Roles,
    users::{User, UserId},
};

/// How long an access token is good for.
pub const ACCESS_LIFETIME: Duration = Duration::from_mins(15);
/// The most bytes of a credential that are looked at.
pub(crate) const TOKEN_MAX_BYTES: usize = 8 << 10;

const ISSUER: &str = "paddock";
const AUDIENCE: &str = "paddock-api";
const TYPE: &str = "JWT";
/// How far the clocks of two replicas may be apart, in seconds.
const SKEW: i64 = 60;

/// How access tokens are signed: one algorithm, fixed by configuration.
#[derive(Clone)]
pub struct SessionKey {
    /// The header of every token.
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// What a token says. The server trusts only `sub` and `sid`, and looks the rest up. Serde refuses a claim that is there
/// twice.
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

/// What an access token gives access to, and until when.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    pub(crate) expires_at: Time,
}

impl SessionKey {
    /// From `JWT_SECRET` and `JWT_ALG`: `HS256`, `HS384` or `HS512`.
    pub fn new(secret: &SecretString, algorithm: &str) -> Result<Self, Error> {
        let algorithm = match algorithm {
            "HS256" => Algorithm::HS256,
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            other => return Err(Error::invalid("JWT_ALG", format!("`{other}` is not one of HS256, HS384, HS512"))),
        };
        let bytes = secret.expose_secret().as_bytes();
        // Names the key without telling anything of it, so that a token of another key is known at once.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[b"paddock kid ", bytes].concat());
        let kid = Some(hex::encode(&digest.as_ref()[..8]));
        Ok(Self {
            header: Header { typ: Some(TYPE.to_owned()), kid, ..Header::new(algorithm) },
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
        })
    }

    pub(super) fn sign(&self, user: &User, session: SessionId, now: Time) -> Result<SecretString, Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.id.to_string(),
            sid: session.0,
            iat: now.seconds(),
            exp: (now + ACCESS_LIFETIME).seconds(),
            nbf: None,
            roles: role_names(&user.roles),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.encoding)
            .map_err(|error| Error::Corrupt(format!("a token could not be signed: {error}")))?;
        Ok(token.into())
    }

    /// What a token speaks of, if we signed it and its time is not over.
    pub(crate) fn read(&self, token: &str, now: Time) -> Result<Access, Refused> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(Refused::Malformed);
        }
        let mut validation = Validation::new(self.header.alg);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Judged below, by the crate's own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let data =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(|_| Refused::Malformed)?;
        // Nothing more and nothing less than what we write: no critical extension, no key or place of one within.
        if data.header != self.header {
            return Err(Refused::Malformed);
        }
        let claims = data.claims;
        let user = claims.sub.parse().map(UserId).map_err(|_| Refused::Malformed)?;
        if claims.sub != user.to_string() || !claims.is_within(now) {
            return Err(Refused::Malformed);
        }
        if claims.exp <= now.seconds() {
            return Err(Refused::Expired);
        }
        let expires_at = Time::from_micros(claims.exp.saturating_mul(1_000_000));
        Ok(Access { session: SessionId(claims.sid), user, expires_at })
    }
}

impl Claims {
    /// Whether its times make sense: it began, in the past, and lasts no longer than one of ours.
    fn is_within(&self, now: Time) -> bool {
        let latest = now.seconds() + SKEW;
        (0..=latest).contains(&self.iat)
            && self.iat < self.exp
            && self.exp.abs_diff(self.iat) <= ACCESS_LIFETIME.as_secs()
            && self.nbf.is_none_or(|nbf| nbf <= latest)
    }
}

fn role_names(roles: &Roles) -> Vec<String> {
    roles.to_string().split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
