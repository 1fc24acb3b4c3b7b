//! Going on with a session: each refresh token is used once, and one that comes back ends its session.

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use scoped_futures::ScopedFutureExt;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::{ACCESS_LIFETIME, Login, SessionId, end};
use crate::{
    Accounts,
    audit::{Event, EventType},
    clock::Time,
    context::{Actor, Context},
    error::Error,
    store::{Outcome, Tx, on, statements},
    users::{self, User, UserId},
};

/// How long a session can be left alone.
pub const REFRESH_IDLE: Duration = Duration::from_hours(7 * 24);
/// How long a session can go on at all.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// How many random bytes a token has.
const BYTES: usize = 32;

statements! {
    FIND = "SELECT r.session_id, r.consumed_at, r.expires_at, s.user_id, s.created_at, s.token_version, \
            s.ended_at IS NULL AND u.is_active AND s.token_version = u.token_version AS is_alive \
            FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id \
            WHERE r.hash = $1 AND u.deleted_at IS NULL";
    CONSUME = "UPDATE refresh_tokens SET consumed_at = $2 WHERE hash = $1 AND consumed_at IS NULL";
    PROLONG = "UPDATE sessions SET expires_at = $2 WHERE id = $1 AND ended_at IS NULL";
    INSERT = "INSERT INTO refresh_tokens (hash, session_id, issued_at, expires_at) VALUES ($1, $2, $3, $4)";
}

/// A token to be.
pub(super) struct Refresh {
    pub(super) token: SecretString,
    expires_at: Time,
}

impl Refresh {
    /// The first one of a session that begins now.
    pub(super) fn begin(now: Time) -> Self {
        Self::next(now, now)
    }

    /// The next one of a session that began then.
    fn next(began: Time, now: Time) -> Self {
        let mut bytes = [0_u8; BYTES];
        rand::fill(&mut bytes).expect("the operating system gives random bytes");
        let expires_at = (now + REFRESH_IDLE).min(began + SESSION_LIFETIME);
        Self { token: hex::encode(bytes).into(), expires_at }
    }

    pub(super) fn lifetime(&self, now: Time) -> Duration {
        self.expires_at.since(now)
    }

    pub(super) async fn insert(&self, tx: &mut Tx, session: SessionId, now: Time) -> Result<(), Error> {
        let hash = hash(&self.token).expect("it has the form of one");
        on!(tx.conn(), |c| sqlx::query(INSERT)
            .bind(hash)
            .bind(session.0)
            .bind(now)
            .bind(self.expires_at)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }
}

/// A token that was given to someone, and its session.
#[derive(sqlx::FromRow)]
struct Found {
    session_id: Uuid,
    consumed_at: Option<Time>,
    expires_at: Time,
    user_id: UserId,
    created_at: Time,
    token_version: i64,
    /// Whether the session goes on.
    is_alive: bool,
}

impl Found {
    fn session(&self) -> SessionId {
        SessionId(self.session_id)
    }
}

impl Accounts {
    /// Takes a refresh token for an access token and another refresh token. `None`: it does not count.
    pub async fn refresh(&self, context: &Context, token: &SecretString) -> Result<Option<Login>, Error> {
        let Some(hash) = hash(token) else { return Ok(None) };
        let Some(found) = self.live_token(&hash).await? else { return Ok(None) };
        let context = context.acting(Actor::User(found.user_id));
        let now = self.now();
        if found.consumed_at.is_some() {
            self.reused(&context, &found).await?;
            return Ok(None);
        }
        let next = Refresh::next(found.created_at, now);
        let gone_on = self.write(&context, |tx| {
            let (hash, found, next) = (&hash, &found, &next);
            async move { go_on(tx, hash, found, next, now).await }.scope_boxed()
        });
        let user = match gone_on.await {
            Ok(Some(user)) => user,
            Ok(None) | Err(Error::NoUser(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Login {
            access_token: self.sessions_key().sign(&user, found.session(), now)?,
            expires_in: ACCESS_LIFETIME,
            refresh_expires_in: next.lifetime(now),
            refresh_token: next.token,
            user,
        }))
    }

    /// Ends the session of a refresh token, or every one of its user. One that does not count ends nothing.
    pub async fn logout_by_refresh(&self, context: &Context, token: &SecretString, all: bool) -> Result<(), Error> {
        let Some(hash) = hash(token) else { return Ok(()) };
        let Some(found) = self.live_token(&hash).await? else { return Ok(()) };
        let context = context.acting(Actor::User(found.user_id));
        if found.consumed_at.is_some() {
            self.reused(&context, &found).await
        } else if all {
            self.logout_everywhere(&context, found.user_id).await
        } else {
            self.logout(&context, found.session()).await
        }
    }

    /// A token of a session that goes on, if its own time is not over or it was used.
    async fn live_token(&self, hash: &str) -> Result<Option<Found>, Error> {
        let found: Option<Found> =
            on!(self.reader().await?.conn(), |c| sqlx::query_as(FIND).bind(hash).fetch_optional(c).await?);
        let now = self.now();
        Ok(found.filter(|found| found.is_alive && (found.consumed_at.is_some() || found.expires_at > now)))
    }

    /// A token came back that had been used: someone else has it, or had it first.
    async fn reused(&self, context: &Context, found: &Found) -> Result<(), Error> {
        let ended = self
            .write(context, |tx| async move { end_reused(tx, found.session(), self.now()).await }.scope_boxed())
            .await?;
        debug_assert!(ended.is_none(), "who brings a used token gets no session");
        Ok(())
    }
}

/// Uses a token up, for another one. Of several with the same token one is first; the next ends the session.
async fn go_on(
    tx: &mut Tx,
    hash: &str,
    found: &Found,
    next: &Refresh,
    now: Time,
) -> Result<Outcome<Option<User>>, Error> {
    let user = users::locked(tx, found.user_id).await?;
    let consumed = on!(tx.conn(), |c| sqlx::query(CONSUME)
        .bind(hash)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    if consumed != 1 {
        return end_reused(tx, found.session(), now).await;
    }
    let prolonged = on!(tx.conn(), |c| sqlx::query(PROLONG)
        .bind(found.session_id)
        .bind(now + ACCESS_LIFETIME)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    // Ended since it was looked up.
    if prolonged != 1 || !user.is_active || user.token_version != found.token_version {
        return Ok(Outcome::Unchanged(None));
    }
    next.insert(tx, found.session(), now).await?;
    let event = Event::new(EventType::SessionRefreshed).user(user.id);
    Ok(Outcome::changed(Some(user), event))
}

async fn end_reused(tx: &mut Tx, session: SessionId, now: Time) -> Result<Outcome<Option<User>>, Error> {
    Ok(match end(tx, session, now).await? {
        Some(user) => Outcome::changed(None, Event::new(EventType::SessionReuseDetected).user(user)),
        None => Outcome::Unchanged(None),
    })
}

/// What is kept of a token; `None` for what has not the form of one.
fn hash(token: &SecretString) -> Option<String> {
    let text = token.expose_secret();
    let shaped = text.len() == 2 * BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    shaped.then(|| hex::encode(digest::digest(&digest::SHA256, text.as_bytes())))
}
