//! Who is asking: from the text of a bearer credential to a principal.

use secrecy::SecretString;

use crate::{
    Accounts,
    access::{Principal, Via},
    clock::Time,
    credentials::{CredentialId, SecretState},
    email::Email,
    error::Error,
    limits::Limits,
    patterns::ModelPatterns,
    sessions::SessionId,
    sets::{Roles, Scopes},
    store::{on, statements},
    token::Token,
    users::UserId,
};

statements! {
    KEY = "SELECT s.hash, s.state, s.expires_at, s.retire_at, c.id AS credential_id, c.label, c.scopes, \
           c.models AS key_models, c.revoked_at, c.expires_at AS credential_expires_at, \
           c.requests_per_minute, c.tokens_per_minute, c.tokens_per_day, c.tokens_per_month, c.max_concurrent, \
           u.id AS user_id, u.email, u.roles, u.models AS user_models, u.is_active, \
           u.requests_per_minute AS user_requests_per_minute, u.tokens_per_minute AS user_tokens_per_minute, \
           u.tokens_per_day AS user_tokens_per_day, u.tokens_per_month AS user_tokens_per_month, \
           u.max_concurrent AS user_max_concurrent \
           FROM credential_secrets s JOIN credentials c ON c.id = s.credential_id JOIN users u ON u.id = c.user_id \
           WHERE s.key_id = $1 AND u.deleted_at IS NULL";
    SESSION = "SELECT s.expires_at, s.ended_at, s.token_version = u.token_version AS is_current, u.id AS user_id, u.email, \
               u.roles, u.models AS user_models, u.is_active, u.requests_per_minute, u.tokens_per_minute, \
               u.tokens_per_day, u.tokens_per_month, u.max_concurrent \
               FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 AND u.deleted_at IS NULL";
}

/// Why a credential does not count. The client hears the same of each; logs and metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Neither a well-formed key nor a token of ours.
    Malformed,
    /// Nobody was given this key.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was revoked, or rotated away.
    Revoked,
    /// Its owner may not act.
    Disabled,
    /// The session has ended.
    SessionEnded,
}

impl Refused {
    /// A word for metric labels and log fields.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::SessionEnded => "session_ended",
        }
    }
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    hash: String,
    state: SecretState,
    expires_at: Option<Time>,
    retire_at: Option<Time>,
    credential_id: CredentialId,
    label: String,
    scopes: Scopes,
    key_models: Option<ModelPatterns>,
    revoked_at: Option<Time>,
    credential_expires_at: Option<Time>,
    #[sqlx(flatten)]
    limits: Limits,
    user_id: UserId,
    email: Email,
    roles: Roles,
    user_models: Option<ModelPatterns>,
    is_active: bool,
    #[sqlx(flatten)]
    user_limits: UserLimits,
}

/// The owner's limits, beside the key's in one row.
#[derive(sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "the columns' own names")]
struct UserLimits {
    user_requests_per_minute: Option<i64>,
    user_tokens_per_minute: Option<i64>,
    user_tokens_per_day: Option<i64>,
    user_tokens_per_month: Option<i64>,
    user_max_concurrent: Option<i64>,
}

impl From<UserLimits> for Limits {
    fn from(row: UserLimits) -> Self {
        Self {
            requests_per_minute: row.user_requests_per_minute,
            tokens_per_minute: row.user_tokens_per_minute,
            tokens_per_day: row.user_tokens_per_day,
            tokens_per_month: row.user_tokens_per_month,
            max_concurrent: row.user_max_concurrent,
        }
    }
}

#[derive(sqlx::FromRow)]
struct SessionRow {
    expires_at: Time,
    ended_at: Option<Time>,
    is_current: bool,
    user_id: UserId,
    email: Email,
    roles: Roles,
    user_models: Option<ModelPatterns>,
    is_active: bool,
    #[sqlx(flatten)]
    limits: Limits,
}

impl Accounts {
    /// Judges the text of an `Authorization: Bearer` or `X-API-Key` header: an API key, or the access token of a session.
    pub async fn authenticate(&self, presented: &str) -> Result<Result<Principal, Refused>, Error> {
        if Token::claims(presented) {
            match Token::parse(presented) {
                Ok(token) => self.authenticate_key(&token).await,
                Err(_) => Ok(Err(Refused::Malformed)),
            }
        } else {
            match self.sessions_key().read(presented, self.now()) {
                Ok(session) => self.authenticate_session(session).await,
                Err(refused) => Ok(Err(refused)),
            }
        }
    }

    async fn authenticate_key(&self, token: &Token) -> Result<Result<Principal, Refused>, Error> {
        let row: Option<KeyRow> =
            on!(self.reader().await?.conn(), |c| sqlx::query_as(KEY).bind(token.key_id()).fetch_optional(c).await?);
        let Some(row) = row else { return Ok(Err(Refused::Unknown)) };
        // The secret first: who does not hold it learns nothing of the state of a key.
        let plaintext: SecretString = token.plaintext().clone();
        if !self.hasher().verify_key(plaintext, row.hash.clone()).await? {
            return Ok(Err(Refused::Unknown));
        }
        if let Err(refused) = judge(&row, self.now()) {
            return Ok(Err(refused));
        }
        Ok(Ok(Principal {
            user_id: row.user_id,
            email: row.email,
            roles: row.roles,
            via: Via::Key {
                credential_id: row.credential_id,
                key_id: token.key_id().to_owned(),
                label: row.label,
                scopes: row.scopes,
                models: row.key_models,
                limits: row.limits,
                expires_at: row.credential_expires_at,
            },
            models: row.user_models,
            limits: row.user_limits.into(),
        }))
    }

    async fn authenticate_session(&self, id: SessionId) -> Result<Result<Principal, Refused>, Error> {
        let row: Option<SessionRow> =
            on!(self.reader().await?.conn(), |c| sqlx::query_as(SESSION).bind(id.0).fetch_optional(c).await?);
        let Some(row) = row else { return Ok(Err(Refused::Unknown)) };
        if !row.is_active {
            return Ok(Err(Refused::Disabled));
        }
        if row.ended_at.is_some() || !row.is_current {
            return Ok(Err(Refused::SessionEnded));
        }
        if row.expires_at <= self.now() {
            return Ok(Err(Refused::Expired));
        }
        Ok(Ok(Principal {
            user_id: row.user_id,
            email: row.email,
            roles: row.roles,
            via: Via::Session { id },
            models: row.user_models,
            limits: row.limits,
        }))
    }
}

/// Whether a key whose secret was right counts now.
fn judge(row: &KeyRow, now: Time) -> Result<(), Refused> {
    if row.state == SecretState::Revoked || row.revoked_at.is_some() {
        return Err(Refused::Revoked);
    }
    if !row.is_active {
        return Err(Refused::Disabled);
    }
    if [row.expires_at, row.credential_expires_at].into_iter().flatten().any(|end| end <= now) {
        return Err(Refused::Expired);
    }
    if row.retire_at.is_some_and(|end| end <= now) {
        return Err(Refused::Revoked);
    }
    Ok(())
}
