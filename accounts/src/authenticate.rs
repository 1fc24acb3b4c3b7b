//! Authentication: finds the principal of a presented credential.

use std::sync::Arc;

use paddock_store::{
    audit::{AggregateKey, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, SessionId, UserId},
    rights::{Generation, RightsChanges},
    statements, with_conn,
};
use secrecy::ExposeSecret;

use crate::{
    access::principal::{AuthMethod, Principal},
    accounts::Accounts,
    auth_failure::AuthFailure,
    cache::{CachedDecision, Digest, run_invalidation},
    credentials::secrets::SecretState,
    error::Error,
    presented_credential::{Authenticated, Form, PresentedCredential},
    sessions::jwt::AccessToken,
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

/// The owner's limits. Their columns are prefixed, because the row also contains the limits of the
/// key.
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

/// The operations on credentials of requests: authentication, denials and the credential cache.
#[derive(Clone, Copy)]
pub struct Authentication<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on credentials of requests: authentication, denials and the credential cache.
    #[must_use]
    pub fn authentication(&self) -> Authentication<'_> {
        Authentication { accounts: self }
    }
}

impl Authentication<'_> {
    /// Authenticates the credential of a request. Uses the cached result while the rights of the
    /// owner are unchanged.
    pub async fn authenticate(
        self,
        presented: &PresentedCredential,
    ) -> Result<Result<Authenticated, AuthFailure>, Error> {
        if matches!(presented.form, Form::Malformed) {
            return Ok(Err(AuthFailure::Malformed));
        }
        if let Some((decision, read_at)) = self.accounts.cache().find(&presented.digest) {
            return Ok(self.decide(&decision, read_at));
        }
        let generation = self.accounts.cache().generation();
        let decision = match &presented.form {
            Form::Key(token) => self.verify_key(token, presented.digest).await?,
            Form::AccessToken(text) => {
                match self.accounts.session_key().read(text.expose_secret(), self.accounts.now()) {
                    Ok(access) => self.verify_session(access.session, Some(&access)).await?,
                    Err(failure) => return Ok(Err(failure)),
                }
            }
            Form::Malformed => return Ok(Err(AuthFailure::Malformed)),
        };
        self.accounts.cache().insert(presented.digest, generation, &decision);
        Ok(self.decide(&decision, generation))
    }

    /// Returns the cached principal of a credential that is accepted now. `None` says nothing about the
    /// credential: [`Authentication::authenticate`] decides.
    #[must_use]
    pub fn find_accepted(self, presented: &PresentedCredential) -> Option<Authenticated> {
        let (decision, read_at) = self.accounts.cache().find_accepted(&presented.digest)?;
        self.decide(&decision, read_at).ok()
    }

    /// Returns the principal with its current rights. While the rights of the owner are unchanged,
    /// this compares the generation of the earlier result and the time, and looks nothing up.
    pub async fn recheck(
        self,
        presented: &PresentedCredential,
        earlier: &Authenticated,
    ) -> Result<Result<Authenticated, AuthFailure>, Error> {
        if !self.accounts.cache().is_current(earlier.read_at, earlier.user_id) {
            return self.authenticate(presented).await;
        }
        Ok(match earlier.until {
            Some((end, failure)) if end <= self.accounts.now() => Err(failure),
            _ => Ok(earlier.clone()),
        })
    }

    /// Whether this is an API key about which nothing is cached, so the database is read.
    #[must_use]
    pub fn needs_lookup(self, presented: &PresentedCredential) -> bool {
        self.is_unverified_key(presented) && !self.accounts.cache().has(&presented.digest)
    }

    /// Whether this is an API key that this process never verified, so it may be a guess. An access
    /// token cannot be guessed, because it is signed.
    #[must_use]
    pub fn is_unverified_key(self, presented: &PresentedCredential) -> bool {
        presented.key_id().is_some() && !self.accounts.cache().was_verified(&presented.digest)
    }

    /// Returns the result at the current time, and records the use of an accepted key.
    fn decide(self, decision: &CachedDecision, read_at: Generation) -> Result<Authenticated, AuthFailure> {
        let now = self.accounts.now();
        let principal = decision.at(now)?;
        if let AuthMethod::Key { credential_id, key_id, .. } = &principal.via {
            self.accounts.last_used().note(*credential_id, key_id, now);
        }
        Ok(Authenticated::new(principal, read_at, decision))
    }

    /// Authenticates a principal again. Reads the database and not the cache.
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

    /// Records that a principal lacked a permission. Repeats within a minute are aggregated into
    /// one event.
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

    /// Enables the credential cache, and invalidates entries on every change of rights. While this
    /// does not run, every request reads the database. Never returns.
    pub async fn run_cache_invalidation(self) {
        run_invalidation(self.accounts.cache(), self.accounts.store().database()).await;
    }

    /// Whether the credential cache is enabled.
    #[must_use]
    pub fn is_cache_enabled(self) -> bool {
        self.accounts.cache().is_enabled()
    }

    /// Subscribes to changes of rights. Changes of other processes arrive only while
    /// [`Authentication::run_cache_invalidation`] runs.
    #[must_use]
    pub fn rights_changes(self) -> RightsChanges {
        self.accounts.cache().rights_changes()
    }

    /// Subscribes to the changes of rights that the operator did not make itself. Changes of other
    /// processes arrive only while [`Authentication::run_cache_invalidation`] runs.
    #[must_use]
    pub fn changes_for_operator(self) -> RightsChanges {
        self.accounts.store().rights().subscribe_as_operator()
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
        // Checked first: without the secret, a client must not learn the state of the key.
        if !self.is_secret_of(token, digest, &row.hash).await? {
            return Ok(CachedDecision::rejected(AuthFailure::WrongSecret));
        }
        Ok(decide_key(token.key_id(), row))
    }

    /// Whether the secret matches the stored hash. A secret that was verified before is not hashed
    /// again.
    async fn is_secret_of(self, token: &ApiKeyToken, digest: Digest, hash: &str) -> Result<bool, Error> {
        if self.accounts.cache().is_verified(&digest, hash) {
            return Ok(true);
        }
        let _lock = self.accounts.cache().verification_lock(&digest).await;
        if self.accounts.cache().is_verified(&digest, hash) {
            return Ok(true);
        }
        let is_right = self.accounts.hasher().verify_key(token.plaintext().clone(), hash.to_owned()).await?;
        if is_right {
            self.accounts.cache().set_verified(digest, hash);
        }
        Ok(is_right)
    }

    /// Checks a session, and its user against the access token if one was presented.
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
        let rejected = |failure| CachedDecision { outcome: Err(failure), user, until: None };
        if !row.is_active {
            return Ok(rejected(AuthFailure::Disabled));
        }
        if row.ended_at.is_some() || !row.is_current {
            return Ok(rejected(AuthFailure::SessionEnded));
        }
        let end = access.map_or(row.expires_at, |access| access.expires_at.min(row.expires_at));
        let principal = Principal {
            user_id: row.user_id,
            email: row.email,
            roles: row.roles,
            via: AuthMethod::Session { id },
            models: row.user_models,
            limits: row.limits,
        };
        Ok(CachedDecision { outcome: Ok(Arc::new(principal)), user, until: Some((end, AuthFailure::Expired)) })
    }
}

/// Decides on a key whose secret is right.
fn decide_key(key_id: &str, row: KeyRow) -> CachedDecision {
    let user = Some(row.user_id);
    let rejected = |failure| CachedDecision { outcome: Err(failure), user, until: None };
    if row.state == SecretState::Revoked || row.revoked_at.is_some() {
        return rejected(AuthFailure::Revoked);
    }
    if !row.is_active {
        return rejected(AuthFailure::Disabled);
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
