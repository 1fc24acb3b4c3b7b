//! Authentication: from the text of a credential to its principal.

use std::sync::Arc;

use paddock_store::{
    audit::{AggregateKey, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, SessionId, UserId},
    rights::RightsChanges,
    statements, with_conn,
};

use crate::{
    access::principal::{AuthMethod, Principal},
    accounts::Accounts,
    cache::{CachedDecision, Digest, run_invalidation},
    credentials::secrets::SecretState,
    error::Error,
    rejection::AuthFailure,
    sessions::jwt::{AccessToken, MAX_TOKEN_BYTES},
    types::{ApiKeyToken, Email, Limits, ModelPatterns, Roles, Scopes},
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

#[derive(sqlx::FromRow)]
struct KeyRow {
    hash: String,
    state: SecretState,
    expires_at: Option<Timestamp>,
    retire_at: Option<Timestamp>,
    credential_id: CredentialId,
    label: String,
    scopes: Scopes,
    key_models: Option<ModelPatterns>,
    revoked_at: Option<Timestamp>,
    credential_expires_at: Option<Timestamp>,
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
    expires_at: Timestamp,
    ended_at: Option<Timestamp>,
    is_current: bool,
    user_id: UserId,
    email: Email,
    roles: Roles,
    user_models: Option<ModelPatterns>,
    is_active: bool,
    #[sqlx(flatten)]
    limits: Limits,
}

/// The operations on the credentials of requests.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on the credentials of requests.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        Access { accounts: self }
    }
}

impl Access<'_> {
    /// Authenticates the text of an `Authorization: Bearer` or `X-API-Key` header: an API key, or the
    /// access token of a session. Uses the cache while nothing changed the rights of the owner.
    pub async fn authenticate(self, presented: &str) -> Result<Result<Arc<Principal>, AuthFailure>, Error> {
        if presented.len() > MAX_TOKEN_BYTES {
            return Ok(Err(AuthFailure::Malformed));
        }
        let digest = Digest::of(presented);
        if let Some(decision) = self.accounts.cache().find(&digest) {
            return Ok(self.decide(&decision));
        }
        let generation = self.accounts.cache().generation();
        let decision = if ApiKeyToken::looks_like_key(presented) {
            let Ok(token) = ApiKeyToken::parse(presented) else { return Ok(Err(AuthFailure::Malformed)) };
            self.verify_key(&token, digest).await?
        } else {
            match self.accounts.session_key().read(presented, self.accounts.now()) {
                Ok(access) => self.verify_session(access.session, Some(&access)).await?,
                Err(refused) => return Ok(Err(refused)),
            }
        };
        self.accounts.cache().insert(digest, generation, &decision);
        Ok(self.decide(&decision))
    }

    /// Whether this looks like an API key that was never verified in this process, so that it may be a
    /// guess. An access token is no guess: its signature is checked first.
    #[must_use]
    pub fn is_unverified_key(self, presented: &str) -> bool {
        ApiKeyToken::looks_like_key(presented) && !self.accounts.cache().was_verified(&Digest::of(presented))
    }

    /// The result at this time. Notes the use of an accepted key.
    fn decide(self, decision: &CachedDecision) -> Result<Arc<Principal>, AuthFailure> {
        let now = self.accounts.now();
        let decision = decision.at(now);
        if let Some(key) = decision.as_ref().ok().and_then(|principal| principal.credential_id()) {
            self.accounts.last_used().note(key, now);
        }
        decision
    }

    /// Authenticates a principal again, from the database.
    pub async fn reauthenticate(self, principal: &Principal) -> Result<Result<Arc<Principal>, AuthFailure>, Error> {
        let decision = match &principal.via {
            AuthMethod::Key { key_id, .. } => match self.key_row(key_id).await? {
                Some(row) => decide_key(key_id, row),
                None => CachedDecision::rejected(AuthFailure::Unknown),
            },
            AuthMethod::Session { id } => self.verify_session(*id, None).await?,
        };
        Ok(decision.at(self.accounts.now()))
    }

    /// Records that a principal was denied what it asked for. Repeats within a minute are counted in one
    /// event.
    pub async fn record_denial(
        self,
        context: &AuditContext,
        principal: &Principal,
        target: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let mut event = Event::new(EventType::AccessDenied).user(principal.user_id).target(target).detail(detail);
        event.credential_id = principal.credential_id();
        let key = AggregateKey::denial(context, target);
        Ok(self.accounts.audit().record_aggregated(context, key, event).await?)
    }

    /// Keeps the credential cache enabled and invalidates it on every change of rights. While this does
    /// not run, every request reads the database. Never returns.
    pub async fn run_cache_invalidation(self) {
        run_invalidation(self.accounts.cache(), self.accounts.store().database()).await;
    }

    /// Whether warm requests are answered without the database.
    #[must_use]
    pub fn is_cache_enabled(self) -> bool {
        self.accounts.cache().is_enabled()
    }

    /// Subscribes to changes of rights; those of other processes arrive while
    /// [`Access::run_cache_invalidation`] runs.
    #[must_use]
    pub fn rights_changes(self) -> RightsChanges {
        self.accounts.cache().rights_changes()
    }

    async fn key_row(self, key_id: &str) -> Result<Option<KeyRow>, Error> {
        Ok(with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(KEY)
            .bind(key_id)
            .fetch_optional(c)
            .await?))
    }

    async fn verify_key(self, token: &ApiKeyToken, digest: Digest) -> Result<CachedDecision, Error> {
        let Some(row) = self.key_row(token.key_id()).await? else {
            return Ok(CachedDecision::rejected(AuthFailure::Unknown));
        };
        // The secret first: who does not hold it learns nothing of the state of a key.
        if !self.is_secret_of(token, digest, &row.hash).await? {
            return Ok(CachedDecision::rejected(AuthFailure::Unknown));
        }
        Ok(decide_key(token.key_id(), row))
    }

    /// Whether the secret is the one that was hashed.
    async fn is_secret_of(self, token: &ApiKeyToken, digest: Digest, hash: &str) -> Result<bool, Error> {
        if self.accounts.cache().is_verified(&digest, hash) {
            return Ok(true);
        }
        let _lock = self.accounts.cache().verification_lock(&digest).await;
        if self.accounts.cache().is_verified(&digest, hash) {
            return Ok(true);
        }
        let right = self.accounts.hasher().verify_key(token.plaintext().clone(), hash.to_owned()).await?;
        if right {
            self.accounts.cache().set_verified(digest, hash);
        }
        Ok(right)
    }

    /// `access`: what the access token says, if one was presented.
    async fn verify_session(self, id: SessionId, access: Option<&AccessToken>) -> Result<CachedDecision, Error> {
        let row: Option<SessionRow> = with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(SESSION)
            .bind(id.0)
            .fetch_optional(c)
            .await?);
        let Some(row) = row else { return Ok(CachedDecision::rejected(AuthFailure::Unknown)) };
        if access.is_some_and(|access| access.user != row.user_id) {
            return Ok(CachedDecision::rejected(AuthFailure::Unknown));
        }
        let user = Some(row.user_id);
        let refused = |why| CachedDecision { outcome: Err(why), user, until: None };
        if !row.is_active {
            return Ok(refused(AuthFailure::Disabled));
        }
        if row.ended_at.is_some() || !row.is_current {
            return Ok(refused(AuthFailure::SessionEnded));
        }
        let ends = access.map_or(row.expires_at, |access| access.expires_at.min(row.expires_at));
        let principal = Principal {
            user_id: row.user_id,
            email: row.email,
            roles: row.roles,
            via: AuthMethod::Session { id },
            models: row.user_models,
            limits: row.limits,
        };
        Ok(CachedDecision { outcome: Ok(Arc::new(principal)), user, until: Some((ends, AuthFailure::Expired)) })
    }
}

/// What a key whose secret was right comes to.
fn decide_key(key_id: &str, row: KeyRow) -> CachedDecision {
    let user = Some(row.user_id);
    let refused = |why| CachedDecision { outcome: Err(why), user, until: None };
    if row.state == SecretState::Revoked || row.revoked_at.is_some() {
        return refused(AuthFailure::Revoked);
    }
    if !row.is_active {
        return refused(AuthFailure::Disabled);
    }
    let expiry = [row.expires_at, row.credential_expires_at].into_iter().flatten().min();
    let ends = [expiry.map(|end| (end, AuthFailure::Expired)), row.retire_at.map(|end| (end, AuthFailure::Revoked))];
    let until = ends.into_iter().flatten().min_by_key(|(end, _)| *end);
    let principal = Principal {
        user_id: row.user_id,
        email: row.email,
        roles: row.roles,
        via: AuthMethod::Key {
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
    CachedDecision { outcome: Ok(Arc::new(principal)), user, until }
}
