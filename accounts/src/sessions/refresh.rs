//! Continuing a session: each refresh token is used once, and a reused one ends its session.
//!
//! Every token of a session has the same first half, which nobody else knows. So used tokens need not
//! be stored: a token of which only the first half is known was used before, or was made up by a
//! client that had one. A session has two rows however often it continues: one for its current token,
//! and one that stands for all earlier ones.

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use paddock_store::{
    Mutation, Tx,
    audit::{Event, EventType},
    clock::Timestamp,
    context::{Actor, AuditContext},
    ids::{SessionId, UserId},
    statements, with_conn,
};
use scoped_futures::ScopedFutureExt;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::{Login, Sessions, end, jwt::ACCESS_LIFETIME};
use crate::{
    error::Error,
    types::Limits,
    users::user::{self, User},
};

/// How long a session may be idle.
pub const REFRESH_IDLE_TIMEOUT: Duration = Duration::from_hours(7 * 24);
/// How long a session may last.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// The number of random bytes in each half of a token.
const HALF_BYTES: usize = 16;

statements! {
    FIND = "SELECT r.session_id, r.consumed_at, r.expires_at, s.user_id, s.created_at, s.token_version, \
            s.ended_at IS NULL AND u.is_active AND s.token_version = u.token_version AS is_alive, \
            u.requests_per_minute, u.tokens_per_minute, u.tokens_per_day, u.tokens_per_month, u.max_concurrent \
            FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id \
            WHERE r.hash IN ($1, $2) AND u.deleted_at IS NULL ORDER BY r.hash = $1 DESC LIMIT 1";
    USE = "UPDATE refresh_tokens SET hash = $2, issued_at = $3, expires_at = $4 WHERE hash = $1 AND consumed_at IS NULL";
    USED = "INSERT INTO refresh_tokens (hash, session_id, issued_at, expires_at, consumed_at) VALUES ($1, $2, $3, $4, $3) \
            ON CONFLICT (hash) DO UPDATE SET consumed_at = excluded.consumed_at, expires_at = excluded.expires_at";
    PROLONG = "UPDATE sessions SET expires_at = $2 WHERE id = $1 AND ended_at IS NULL";
    INSERT = "INSERT INTO refresh_tokens (hash, session_id, issued_at, expires_at) VALUES ($1, $2, $3, $4)";
}

/// A refresh token to store.
pub(super) struct NewRefreshToken {
    pub(super) token: SecretString,
    expires_at: Timestamp,
}

impl NewRefreshToken {
    /// The first one of a session that begins now.
    pub(super) fn begin(now: Timestamp) -> Self {
        Self::next(&random_half(), now, now)
    }

    /// The next one of a session that began then, whose tokens all have this first half.
    fn next(family: &str, began: Timestamp, now: Timestamp) -> Self {
        let expires_at = (now + REFRESH_IDLE_TIMEOUT).min(began + SESSION_LIFETIME);
        Self { token: format!("{family}{}", random_half()).into(), expires_at }
    }

    pub(super) fn lifetime(&self, now: Timestamp) -> Duration {
        self.expires_at.since(now)
    }

    pub(super) async fn insert(&self, tx: &mut Tx, session: SessionId, now: Timestamp) -> Result<(), Error> {
        with_conn!(tx.conn(), |c| sqlx::query(INSERT)
            .bind(hash(self.token.expose_secret()))
            .bind(session.0)
            .bind(now)
            .bind(self.expires_at)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }
}

/// A presented token, as it is looked up.
#[derive(Debug)]
struct Presented {
    /// Its first half.
    family: SecretString,
    hash: String,
    family_hash: String,
}

impl Presented {
    /// Parses a token; `None` if it has another form.
    fn read(token: &SecretString) -> Option<Self> {
        let text = token.expose_secret();
        let shaped = text.len() == 4 * HALF_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        shaped.then(|| {
            let family = &text[..2 * HALF_BYTES];
            Self { family: family.into(), hash: hash(text), family_hash: hash(family) }
        })
    }
}

/// The row of a token and its session.
#[derive(Debug, sqlx::FromRow)]
struct Found {
    session_id: Uuid,
    consumed_at: Option<Timestamp>,
    expires_at: Timestamp,
    user_id: UserId,
    created_at: Timestamp,
    token_version: i64,
    /// Whether the session is live.
    is_alive: bool,
    #[sqlx(flatten)]
    limits: Limits,
}

impl Found {
    fn session(&self) -> SessionId {
        SessionId(self.session_id)
    }
}

/// A refresh token that was valid when it was checked, and is not used yet.
#[derive(Debug)]
pub struct ValidRefreshToken {
    presented: Presented,
    found: Found,
}

impl ValidRefreshToken {
    /// The user of the session.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.found.user_id
    }

    /// The limits of the user.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.found.limits
    }
}

impl Sessions<'_> {
    /// Checks a refresh token without using it; `None` if it is invalid. A reused token ends its session,
    /// whatever the rate limits are.
    pub async fn check_refresh_token(
        self,
        context: &AuditContext,
        token: &SecretString,
    ) -> Result<Option<ValidRefreshToken>, Error> {
        let Some(presented) = Presented::read(token) else { return Ok(None) };
        let Some(found) = self.live_token(&presented).await? else { return Ok(None) };
        if found.consumed_at.is_some() {
            self.end_reused_session(&context.acting(Actor::User(found.user_id)), &found).await?;
            return Ok(None);
        }
        Ok(Some(ValidRefreshToken { presented, found }))
    }

    /// Exchanges a refresh token for an access token and a new refresh token; `None` if it is no longer
    /// valid.
    pub async fn refresh(self, context: &AuditContext, token: &ValidRefreshToken) -> Result<Option<Login>, Error> {
        let ValidRefreshToken { presented, found } = token;
        let context = context.acting(Actor::User(found.user_id));
        let now = self.accounts.now();
        let next = NewRefreshToken::next(presented.family.expose_secret(), found.created_at, now);
        let rotated = self.accounts.write(&context, |tx| {
            let next = &next;
            async move { rotate(tx, token, next, now).await }.scope_boxed()
        });
        let user = match rotated.await {
            Ok(Some(user)) => user,
            Ok(None) | Err(Error::NoUser(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Login {
            access_token: self.accounts.session_key().sign(user.id, &user.roles, found.session(), now)?,
            expires_in: ACCESS_LIFETIME,
            refresh_expires_in: next.lifetime(now),
            refresh_token: next.token,
            user,
        }))
    }

    /// Ends the session of a refresh token, or every session of its user. Returns `false` for an invalid
    /// token.
    pub async fn logout_by_refresh_token(
        self,
        context: &AuditContext,
        token: &SecretString,
        all: bool,
    ) -> Result<bool, Error> {
        let Some(presented) = Presented::read(token) else { return Ok(false) };
        let Some(found) = self.live_token(&presented).await? else { return Ok(false) };
        let context = context.acting(Actor::User(found.user_id));
        if found.consumed_at.is_some() {
            self.end_reused_session(&context, &found).await?;
        } else if all {
            self.logout_everywhere(&context, found.user_id).await?;
        } else {
            self.logout(&context, found.session()).await?;
        }
        Ok(true)
    }

    /// Looks up a token of a live session, if it is used or has not expired.
    async fn live_token(self, presented: &Presented) -> Result<Option<Found>, Error> {
        let found: Option<Found> = with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(FIND)
            .bind(&presented.hash)
            .bind(&presented.family_hash)
            .fetch_optional(c)
            .await?);
        let now = self.accounts.now();
        Ok(found.filter(|found| found.is_alive && (found.consumed_at.is_some() || found.expires_at > now)))
    }

    /// Ends the session of a used token: two clients have it.
    async fn end_reused_session(self, context: &AuditContext, found: &Found) -> Result<(), Error> {
        let ended = self
            .accounts
            .write(context, |tx| {
                async move { end_reused(tx, found.session(), self.accounts.now()).await }.scope_boxed()
            })
            .await?;
        debug_assert!(ended.is_none(), "a used token gets no session");
        Ok(())
    }
}

/// Replaces a token by the next one. Of concurrent uses the first succeeds, and the next ends the session.
async fn rotate(
    tx: &mut Tx,
    ValidRefreshToken { presented, found }: &ValidRefreshToken,
    next: &NewRefreshToken,
    now: Timestamp,
) -> Result<Mutation<Option<User>>, Error> {
    let user = user::locked(tx, found.user_id).await?;
    let replaced = with_conn!(tx.conn(), |c| sqlx::query(USE)
        .bind(&presented.hash)
        .bind(hash(next.token.expose_secret()))
        .bind(now)
        .bind(next.expires_at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    if replaced != 1 {
        return end_reused(tx, found.session(), now).await;
    }
    let prolonged = with_conn!(tx.conn(), |c| sqlx::query(PROLONG)
        .bind(found.session_id)
        .bind(now + ACCESS_LIFETIME)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    // The session ended since the check.
    if prolonged != 1 || !user.is_active || user.token_version != found.token_version {
        return Ok(Mutation::Unchanged(None));
    }
    with_conn!(tx.conn(), |c| sqlx::query(USED)
        .bind(&presented.family_hash)
        .bind(found.session_id)
        .bind(now)
        .bind(next.expires_at)
        .execute(c)
        .await
        .map(|_| ()))?;
    let event = Event::new(EventType::SessionRefreshed).user(user.id);
    Ok(Mutation::changed(Some(user), event))
}

async fn end_reused(tx: &mut Tx, session: SessionId, now: Timestamp) -> Result<Mutation<Option<User>>, Error> {
    Ok(match end(tx, session, now).await? {
        Some(user) => Mutation::changed(None, Event::new(EventType::SessionReuseDetected).user(user)),
        None => Mutation::Unchanged(None),
    })
}

/// Half of a token.
fn random_half() -> String {
    let mut bytes = [0_u8; HALF_BYTES];
    rand::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// The hash under which a token, or its first half, is stored.
fn hash(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
