//! Who is asking: from the text of a bearer credential to a principal.

use std::sync::Arc;

use crate::{
    Accounts,
    access::{Principal, Via},
    cache::{Digest, Judged},
    clock::Time,
    credentials::{CredentialId, SecretState},
    email::Email,
    error::Error,
    limits::Limits,
    patterns::ModelPatterns,
    sessions::{Access, SessionId, TOKEN_MAX_BYTES},
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
    /// One that was judged lately, and whose owner's rights have not changed since, is judged from memory.
    pub async fn authenticate(&self, presented: &str) -> Result<Result<Arc<Principal>, Refused>, Error> {
        if presented.len() > TOKEN_MAX_BYTES {
            return Ok(Err(Refused::Malformed));
        }
        let digest = Digest::of(presented);
        if let Some(judged) = self.cache().find(&digest) {
            return Ok(self.judged_now(&judged));
        }
        let reading = self.cache().reading();
        let judged = if Token::claims(presented) {
            let Ok(token) = Token::parse(presented) else { return Ok(Err(Refused::Malformed)) };
            self.judge_key(&token, digest).await?
        } else {
            match self.sessions_key().read(presented, self.now()) {
                Ok(access) => self.judge_session(access.session, Some(&access)).await?,
                Err(refused) => return Ok(Err(refused)),
            }
        };
        self.cache().keep(digest, reading, &judged);
        Ok(self.judged_now(&judged))
    }

    /// Whether judging this may be the work of someone who guesses: it means to be a key, and was never right in this process.
    /// An access token is no guess: its signature is looked at before anything else is.
    #[must_use]
    pub fn may_be_guess(&self, presented: &str) -> bool {
        Token::claims(presented) && !self.cache().was_right(&Digest::of(presented))
    }

    /// What it comes to at this moment. A key that counts has been used.
    fn judged_now(&self, judged: &Judged) -> Result<Arc<Principal>, Refused> {
        let now = self.now();
        let judged = judged.at(now);
        if let Some(key) = judged.as_ref().ok().and_then(|principal| principal.credential_id()) {
            self.last_used().note(key, now);
        }
        judged
    }

    /// What a principal that was accepted a while ago is now.
    pub async fn present(&self, principal: &Principal) -> Result<Result<Arc<Principal>, Refused>, Error> {
        let judged = match &principal.via {
            Via::Key { key_id, .. } => match self.key_row(key_id).await? {
                Some(row) => judged_key(key_id, row),
                None => Judged::refused(Refused::Unknown),
            },
            Via::Session { id } => self.judge_session(*id, None).await?,
        };
        Ok(judged.at(self.now()))
    }

    async fn key_row(&self, key_id: &str) -> Result<Option<KeyRow>, Error> {
        Ok(on!(self.reader().await?.conn(), |c| sqlx::query_as(KEY).bind(key_id).fetch_optional(c).await?))
    }

    async fn judge_key(&self, token: &Token, digest: Digest) -> Result<Judged, Error> {
        let Some(row) = self.key_row(token.key_id()).await? else { return Ok(Judged::refused(Refused::Unknown)) };
        // The secret first: who does not hold it learns nothing of the state of a key.
        if !self.is_secret_of(token, digest, &row.hash).await? {
            return Ok(Judged::refused(Refused::Unknown));
        }
        Ok(judged_key(token.key_id(), row))
    }

    /// Whether the secret is the one that was hashed.
    async fn is_secret_of(&self, token: &Token, digest: Digest, hash: &str) -> Result<bool, Error> {
        if self.cache().is_verified(&digest, hash) {
            return Ok(true);
        }
        let _turn = self.cache().turn(&digest).await;
        if self.cache().is_verified(&digest, hash) {
            return Ok(true);
        }
        let right = self.hasher().verify_key(token.plaintext().clone(), hash.to_owned()).await?;
        if right {
            self.cache().verified(digest, hash);
        }
        Ok(right)
    }

    /// `access`: what the access token says, if one was presented.
    async fn judge_session(&self, id: SessionId, access: Option<&Access>) -> Result<Judged, Error> {
        let row: Option<SessionRow> =
            on!(self.reader().await?.conn(), |c| sqlx::query_as(SESSION).bind(id.0).fetch_optional(c).await?);
        let Some(row) = row else { return Ok(Judged::refused(Refused::Unknown)) };
        if access.is_some_and(|access| access.user != row.user_id) {
            return Ok(Judged::refused(Refused::Unknown));
        }
        let about = Some(row.user_id);
        let refused = |why| Judged { outcome: Err(why), about, until: None };
        if !row.is_active {
            return Ok(refused(Refused::Disabled));
        }
        if row.ended_at.is_some() || !row.is_current {
            return Ok(refused(Refused::SessionEnded));
        }
        let ends = access.map_or(row.expires_at, |access| access.expires_at.min(row.expires_at));
        let principal = Principal {
            user_id: row.user_id,
            email: row.email,
            roles: row.roles,
            via: Via::Session { id },
            models: row.user_models,
            limits: row.limits,
        };
        Ok(Judged { outcome: Ok(Arc::new(principal)), about, until: Some((ends, Refused::Expired)) })
    }
}

/// What a key whose secret was right comes to.
fn judged_key(key_id: &str, row: KeyRow) -> Judged {
    let about = Some(row.user_id);
    let refused = |why| Judged { outcome: Err(why), about, until: None };
    if row.state == SecretState::Revoked || row.revoked_at.is_some() {
        return refused(Refused::Revoked);
    }
    if !row.is_active {
        return refused(Refused::Disabled);
    }
    let expiry = [row.expires_at, row.credential_expires_at].into_iter().flatten().min();
    let ends = [expiry.map(|end| (end, Refused::Expired)), row.retire_at.map(|end| (end, Refused::Revoked))];
    let until = ends.into_iter().flatten().min_by_key(|(end, _)| *end);
    let principal = Principal {
        user_id: row.user_id,
        email: row.email,
        roles: row.roles,
        via: Via::Key {
            credential_id: row.credential_id,
            key_id: key_id.to_owned(),
            label: row.label,
            scopes: row.scopes,
            models: row.key_models,
            limits: row.limits,
            expires_at: until.map(|(end, _)| end),
        },
        models: row.user_models,
        limits: row.user_limits.into(),
    };
    Judged { outcome: Ok(Arc::new(principal)), about, until }
}
