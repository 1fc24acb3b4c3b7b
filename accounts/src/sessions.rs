//! Signing in with a password, and the access token that a session is carried by.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use scoped_futures::ScopedFutureExt;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::{
    Accounts,
    audit::{Event, EventType, Fold},
    authenticate::Refused,
    clock::Time,
    context::{Actor, Context},
    email::Email,
    error::Error,
    ids::uuid_v7,
    sets::Roles,
    store::{Outcome, on, statements},
    users::{self, User, UserId},
};

/// How long an access token is good for.
pub const ACCESS_LIFETIME: Duration = Duration::from_mins(15);
/// The longest password, in bytes: longer ones are refused, never cut.
pub const PASSWORD_MAX_BYTES: usize = 512;

const ISSUER: &str = "paddock";
const AUDIENCE: &str = "paddock-api";

statements! {
    PASSWORD_OF = "SELECT hash FROM passwords WHERE user_id = $1";
    BEGIN_SESSION = "INSERT INTO sessions (id, user_id, token_version, ip, user_agent, created_at, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";
    END_SESSION = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING user_id";
}

/// The identity of a session: `sid` in its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// A session just begun.
#[derive(Debug)]
pub struct Login {
    /// The JWT to present as a bearer token.
    pub access_token: SecretString,
    /// How long it is good for.
    pub expires_in: Duration,
    /// Who signed in.
    pub user: User,
}

/// How access tokens are signed: one algorithm, fixed by configuration.
#[derive(Clone)]
pub struct SessionKey {
    algorithm: Algorithm,
    key_id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// What a token says. The server trusts only `sub` and `sid`, and looks the rest up.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: Uuid,
    iat: i64,
    exp: i64,
    roles: Vec<String>,
}

/// What an access token gives access to, and until when.
pub(crate) struct Access {
    pub(crate) session: SessionId,
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
        let key_id = hex::encode(&digest.as_ref()[..8]);
        Ok(Self {
            algorithm,
            key_id,
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
        })
    }

    fn sign(&self, user: &User, session: SessionId, now: Time) -> Result<SecretString, Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.id.to_string(),
            sid: session.0,
            iat: now.seconds(),
            exp: (now + ACCESS_LIFETIME).seconds(),
            roles: role_names(&user.roles),
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(self.algorithm) };
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|error| Error::Corrupt(format!("a token could not be signed: {error}")))?;
        Ok(token.into())
    }

    /// What a token speaks of, if we signed it and its time is not over.
    pub(crate) fn read(&self, token: &str, now: Time) -> Result<Access, Refused> {
        let mut validation = Validation::new(self.algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Judged below, by the crate's own clock.
        validation.validate_exp = false;
        let data =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(|_| Refused::Malformed)?;
        if data.header.kid.as_ref() != Some(&self.key_id) {
            return Err(Refused::Malformed);
        }
        let within = data.claims.iat <= data.claims.exp
            && data.claims.exp.abs_diff(data.claims.iat) <= ACCESS_LIFETIME.as_secs();
        if !within {
            return Err(Refused::Malformed);
        }
        if data.claims.exp <= now.seconds() {
            return Err(Refused::Expired);
        }
        let expires_at = Time::from_micros(data.claims.exp.saturating_mul(1_000_000));
        Ok(Access { session: SessionId(data.claims.sid), expires_at })
    }
}

fn role_names(roles: &Roles) -> Vec<String> {
    roles.to_string().split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// One spelling of a password, whatever keyboard it was typed on; `None` when it is too long.
pub(crate) fn normal(password: &SecretString) -> Option<SecretString> {
    let normal: String = password.expose_secret().nfc().collect();
    (normal.len() <= PASSWORD_MAX_BYTES).then(|| normal.into())
}

impl Accounts {
    /// Begins a session. A user that is unknown, disabled or without a password costs the same time and gets the same
    /// answer as a wrong password.
    pub async fn login(&self, context: &Context, username: &str, password: SecretString) -> Result<Login, Error> {
        let email = Email::parse(username).ok();
        let user = match &email {
            Some(email) => self.user_by_email(email).await?,
            None => None,
        };
        let hash: Option<String> = match &user {
            Some(user) => self.password_hash(user.id).await?,
            None => None,
        };
        // One that is too long to be anybody's takes as long as any other.
        let (password, hash_of) = match normal(&password) {
            Some(password) => (password, hash.clone()),
            None => (SecretString::default(), None),
        };
        let right = self.hasher().verify_password(password, hash_of).await?;
        match user {
            Some(user) if right && user.is_active => self.begin_session(context, user).await,
            user => {
                let why = match &user {
                    None => "unknown user",
                    Some(_) if hash.is_none() => "user has no password",
                    Some(user) if right && !user.is_active => "user is disabled",
                    Some(_) => "wrong password",
                };
                self.login_failed(context, user.as_ref(), email.as_ref(), why).await?;
                Err(Error::WrongPassword)
            }
        }
    }

    /// Ends a session. Ended already: nothing changes.
    pub async fn logout(&self, context: &Context, session: SessionId) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                let now = self.now();
                let ended: Option<UserId> = on!(tx.conn(), |c| sqlx::query_scalar(END_SESSION)
                    .bind(session.0)
                    .bind(now)
                    .fetch_optional(c)
                    .await?);
                match ended {
                    Some(user_id) => Ok(Outcome::changed((), Event::new(EventType::Logout).user(user_id))),
                    None => Ok(Outcome::Unchanged(())),
                }
            }
            .scope_boxed()
        })
        .await
    }

    /// Ends every session of a user.
    pub async fn logout_everywhere(&self, context: &Context, user: UserId) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                let user = users::locked(tx, user).await?;
                users::end_sessions(tx, user.id).await?;
                let event = Event::new(EventType::Logout).user(user.id).detail("every session");
                Ok(Outcome::changed((), event))
            }
            .scope_boxed()
        })
        .await
    }

    async fn password_hash(&self, user_id: UserId) -> Result<Option<String>, Error> {
        let mut reader = self.reader().await?;
        Ok(on!(reader.conn(), |c| sqlx::query_scalar(PASSWORD_OF).bind(user_id).fetch_optional(c).await?))
    }

    async fn begin_session(&self, context: &Context, user: User) -> Result<Login, Error> {
        let now = self.now();
        let session = SessionId(uuid_v7(now));
        let access_token = self.sessions_key().sign(&user, session, now)?;
        let context = context.acting(Actor::User(user.id));
        self.write(&context, |tx| {
            let user = &user;
            let context = &context;
            async move {
                // Disabled or changed since the password was read: then this sign-in was refused.
                let present = users::locked(tx, user.id).await?;
                if !present.is_active || present.token_version != user.token_version {
                    return Err(Error::WrongPassword);
                }
                on!(tx.conn(), |c| sqlx::query(BEGIN_SESSION)
                    .bind(session.0)
                    .bind(user.id)
                    .bind(user.token_version)
                    .bind(context.ip.map(|ip| ip.to_string()))
                    .bind(&context.user_agent)
                    .bind(now)
                    .bind(now + ACCESS_LIFETIME)
                    .execute(c)
                    .await
                    .map(|_| ()))?;
                Ok(Outcome::changed((), Event::new(EventType::LoginSuccess).user(user.id).target(user.email.as_str())))
            }
            .scope_boxed()
        })
        .await?;
        Ok(Login { access_token, expires_in: ACCESS_LIFETIME, user })
    }

    /// What was typed as a user name is recorded only if it is an address: people type passwords there.
    async fn login_failed(
        &self,
        context: &Context,
        user: Option<&User>,
        email: Option<&Email>,
        why: &str,
    ) -> Result<(), Error> {
        let mut event = Event::new(EventType::LoginFailure).detail(why);
        event.user_id = user.map(|user| user.id);
        event.target = email.map(ToString::to_string);
        self.fold(context, Fold::sign_in(event.event_type, email, context), event).await
    }
}
