//! Continuing a session: each refresh token is used once, and a reused token ends its session.
//!
//! Every token of a session has the same random first half, so used tokens need not be stored for
//! long. If the database knows only the first half of a token, the token was used before, or a
//! client forged it from an earlier token.
//!
//! A browser may use a token twice without any theft: two tabs send it at the same moment, or the
//! first response is lost. A used token is therefore kept for [`REUSE_GRACE`], in which it may be used
//! once more. That gives the session a second current token. The first use of either, after the
//! grace, removes the other one, so that two clients never share a session unnoticed.
//!
//! A session that continues has two rows, for its current token and for all earlier tokens, and the
//! rows of the last [`REUSE_GRACE`].

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use paddock_store::{
    Tx,
    audit::{Event, EventType},
    clock::Timestamp,
    context::{Actor, AuditContext},
    ids::{SessionId, UserId},
    retry_lost_race, statements, with_conn,
};
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

/// How long after its use a token may be used once more.
pub const REUSE_GRACE: Duration = Duration::from_secs(30);

/// The number of random bytes in each half of a token.
const HALF_BYTES: usize = 16;

statements! {
    FIND = "SELECT r.hash = $1 AS is_exact, r.session_id, r.consumed_at, r.expires_at, s.user_id, s.created_at, s.token_version, \
            s.ended_at IS NULL AND u.is_active AND s.token_version = u.token_version AS is_alive, \
            u.requests_per_minute, u.tokens_per_minute, u.tokens_per_day, u.tokens_per_month, u.max_concurrent \
            FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id \
            WHERE r.hash IN ($1, $2) AND u.deleted_at IS NULL ORDER BY r.hash = $1 DESC LIMIT 1";
    USE = "UPDATE refresh_tokens SET consumed_at = $2 WHERE hash = $1 AND consumed_at IS NULL";
    /// Removes the row, so that a third use is a reuse.
    USE_AGAIN = "DELETE FROM refresh_tokens WHERE hash = $1 AND consumed_at > $2";
    /// Removes the used tokens whose grace is over, and current tokens that another client would have
    /// used by now.
    PRUNE = "DELETE FROM refresh_tokens WHERE session_id = $1 AND hash NOT IN ($2, $3) \
             AND coalesce(consumed_at, issued_at) <= $4";
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
    /// Creates the first token of a session that begins now.
    pub(super) fn begin(now: Timestamp) -> Self {
        Self::next(&random_half(), now, now)
    }

    /// Creates the next token of a session that began at `began`, with `family` as its first half.
    fn next(family: &str, began: Timestamp, now: Timestamp) -> Self {
        let expires_at = (now + REFRESH_IDLE_TIMEOUT).min(began + SESSION_LIFETIME);
        Self { token: format!("{family}{}", random_half()).into(), expires_at }
    }

    /// How long the token is valid from now on.
    pub(super) fn lifetime(&self, now: Timestamp) -> Duration {
        self.expires_at.since(now)
    }

    /// Inserts the row of the token.
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

/// A token that a client presented.
#[derive(Debug)]
struct Presented {
    /// The first half.
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
    /// Whether the row is that of the token. Otherwise only the first half of the token is known.
    is_exact: bool,
    session_id: Uuid,
    consumed_at: Option<Timestamp>,
    expires_at: Timestamp,
    user_id: UserId,
    created_at: Timestamp,
    token_version: i64,
    /// Whether the session has not ended.
    is_alive: bool,
    #[sqlx(flatten)]
    limits: Limits,
}

impl Found {
    fn session(&self) -> SessionId {
        SessionId(self.session_id)
    }

    /// Whether the token was used before, and must not be used again.
    fn is_reused(&self, now: Timestamp) -> bool {
        self.consumed_at.is_some_and(|used| !self.is_exact || used <= now - REUSE_GRACE)
    }
}

/// A refresh token that was valid when it was checked, and that may be used.
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
    /// Checks a refresh token without using it; `None` if it is invalid. A reused token ends its
    /// session even if the rate limits are exceeded.
    pub async fn check_refresh_token(
        self,
        context: &AuditContext,
        token: &SecretString,
    ) -> Result<Option<ValidRefreshToken>, Error> {
        let Some(presented) = Presented::read(token) else { return Ok(None) };
        let Some(found) = self.live_token(&presented).await? else { return Ok(None) };
        if found.is_reused(self.accounts.now()) {
            self.end_reused_session(&context.acting(Actor::User(found.user_id)), &found).await?;
            return Ok(None);
        }
        Ok(Some(ValidRefreshToken { presented, found }))
    }

    /// Exchanges a refresh token for an access token and a new refresh token; `None` if it is no
    /// longer valid.
    pub async fn refresh(self, context: &AuditContext, token: &ValidRefreshToken) -> Result<Option<Login>, Error> {
        let ValidRefreshToken { presented, found } = token;
        let context = context.acting(Actor::User(found.user_id));
        let now = self.accounts.now();
        let next = NewRefreshToken::next(presented.family.expose_secret(), found.created_at, now);
        let rotated = retry_lost_race(|| async {
            let tx = self.accounts.begin(&context).await?;
            rotate(tx, token, &next, now).await
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

    /// Ends the session of a refresh token, or every session of its user. Returns `false` for an
    /// invalid token.
    pub async fn logout_by_refresh_token(
        self,
        context: &AuditContext,
        token: &SecretString,
        all: bool,
    ) -> Result<bool, Error> {
        let Some(presented) = Presented::read(token) else { return Ok(false) };
        let Some(found) = self.live_token(&presented).await? else { return Ok(false) };
        let context = context.acting(Actor::User(found.user_id));
        if found.is_reused(self.accounts.now()) {
            self.end_reused_session(&context, &found).await?;
        } else if all {
            self.logout_everywhere(&context, found.user_id).await?;
        } else {
            self.logout(&context, found.session()).await?;
        }
        Ok(true)
    }

    /// Finds the presented token if its session is alive. Returns an expired token only if it was
    /// already used, so that the caller detects the reuse.
    async fn live_token(self, presented: &Presented) -> Result<Option<Found>, Error> {
        let found: Option<Found> = with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(FIND)
            .bind(&presented.hash)
            .bind(&presented.family_hash)
            .fetch_optional(c)
            .await?);
        let now = self.accounts.now();
        Ok(found.filter(|found| found.is_alive && (found.consumed_at.is_some() || found.expires_at > now)))
    }

    /// Ends the session of a reused token, because two clients have the token.
    async fn end_reused_session(self, context: &AuditContext, found: &Found) -> Result<(), Error> {
        retry_lost_race(|| async {
            let tx = self.accounts.begin(context).await?;
            end_reused(tx, found.session(), self.accounts.now()).await
        })
        .await
    }
}

/// Uses a token, and gives the session the next one. Returns the user; `None` if the session has
/// ended.
///
/// If clients use one token at the same time, the first two uses succeed, and the third use ends
/// the session.
async fn rotate(
    mut tx: Tx,
    ValidRefreshToken { presented, found }: &ValidRefreshToken,
    next: &NewRefreshToken,
    now: Timestamp,
) -> Result<Option<User>, Error> {
    let user = user::locked(&mut tx, found.user_id).await?;
    let is_first_use = use_token(&mut tx, USE, presented, now).await?;
    if !is_first_use && !use_token(&mut tx, USE_AGAIN, presented, now - REUSE_GRACE).await? {
        end_reused(tx, found.session(), now).await?;
        return Ok(None);
    }
    let prolonged = with_conn!(tx.conn(), |c| sqlx::query(PROLONG)
        .bind(found.session_id)
        .bind(now + ACCESS_LIFETIME)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    // The session ended since the check.
    if prolonged != 1 || !user.is_active || user.token_version != found.token_version {
        return Ok(None);
    }
    with_conn!(tx.conn(), |c| sqlx::query(USED)
        .bind(&presented.family_hash)
        .bind(found.session_id)
        .bind(now)
        .bind(next.expires_at)
        .execute(c)
        .await
        .map(|_| ()))?;
    with_conn!(tx.conn(), |c| sqlx::query(PRUNE)
        .bind(found.session_id)
        .bind(&presented.family_hash)
        .bind(&presented.hash)
        .bind(now - REUSE_GRACE)
        .execute(c)
        .await
        .map(|_| ()))?;
    next.insert(&mut tx, found.session(), now).await?;
    let event = Event::new(EventType::SessionRefreshed).user(user.id);
    tx.commit(if is_first_use { event } else { event.detail("the second use of one token") }).await?;
    Ok(Some(user))
}

/// Runs a statement that uses a token. Returns whether the token could be used.
async fn use_token(tx: &mut Tx, statement: &'static str, token: &Presented, time: Timestamp) -> Result<bool, Error> {
    Ok(with_conn!(tx.conn(), |c| sqlx::query(statement)
        .bind(&token.hash)
        .bind(time)
        .execute(c)
        .await
        .map(|done| done.rows_affected() == 1))?)
}

/// Ends the session of a reused token, and commits. Does nothing if the session had already ended.
async fn end_reused(mut tx: Tx, session: SessionId, now: Timestamp) -> Result<(), Error> {
    let Some(user) = end(&mut tx, session, now).await? else { return Ok(()) };
    Ok(tx.commit(Event::new(EventType::SessionReuseDetected).user(user)).await?)
}

/// Generates half of a token.
fn random_half() -> String {
    let mut bytes = [0_u8; HALF_BYTES];
    rand::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// The stored hash of a token or of its first half.
fn hash(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
