//! Going on with a session: each refresh token is used once, and one that comes back ends its session.
//!
//! The first half of a token is that of every token of its session, and nobody else knows it. So what was used need not be
//! kept: a token of which nothing but its first half is known was used before, or made up by somebody who had one that was.
//! A session has two rows however often it goes on, one for its token and one that stands for all before it.

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
    limits::Limits,
    store::{Outcome, Tx, on, statements},
    users::{self, User, UserId},
};

/// How long a session can be left alone.
pub const REFRESH_IDLE: Duration = Duration::from_hours(7 * 24);
/// How long a session can go on at all.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// How many random bytes each half of a token has.
const HALF: usize = 16;

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

/// A token to be.
pub(super) struct Refresh {
    pub(super) token: SecretString,
    expires_at: Time,
}

impl Refresh {
    /// The first one of a session that begins now.
    pub(super) fn begin(now: Time) -> Self {
        Self::next(&random_half(), now, now)
    }

    /// The next one of a session that began then, whose tokens all have this first half.
    fn next(family: &str, began: Time, now: Time) -> Self {
        let expires_at = (now + REFRESH_IDLE).min(began + SESSION_LIFETIME);
        Self { token: format!("{family}{}", random_half()).into(), expires_at }
    }

    pub(super) fn lifetime(&self, now: Time) -> Duration {
        self.expires_at.since(now)
    }

    pub(super) async fn insert(&self, tx: &mut Tx, session: SessionId, now: Time) -> Result<(), Error> {
        on!(tx.conn(), |c| sqlx::query(INSERT)
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

/// A token that somebody presents, as it is looked for.
#[derive(Debug)]
struct Presented {
    /// Its first half.
    family: SecretString,
    hash: String,
    family_hash: String,
}

impl Presented {
    /// `None` for what has not the form of a token.
    fn read(token: &SecretString) -> Option<Self> {
        let text = token.expose_secret();
        let shaped = text.len() == 4 * HALF && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        shaped.then(|| {
            let family = &text[..2 * HALF];
            Self { family: family.into(), hash: hash(text), family_hash: hash(family) }
        })
    }
}

/// What is known of a token that was given to someone, and its session.
#[derive(Debug, sqlx::FromRow)]
struct Found {
    session_id: Uuid,
    consumed_at: Option<Time>,
    expires_at: Time,
    user_id: UserId,
    created_at: Time,
    token_version: i64,
    /// Whether the session goes on.
    is_alive: bool,
    #[sqlx(flatten)]
    limits: Limits,
}

impl Found {
    fn session(&self) -> SessionId {
        SessionId(self.session_id)
    }
}

/// A token that counted when it was looked at, and is not used up yet.
#[derive(Debug)]
pub struct Refreshing {
    presented: Presented,
    found: Found,
}

impl Refreshing {
    /// Whose session it is.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.found.user_id
    }

    /// The limits of that user.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.found.limits
    }
}

impl Accounts {
    /// Looks at a refresh token, before it is used. `None`: it does not count. One that was used before ends its session,
    /// whatever limits there are.
    pub async fn refreshing(&self, context: &Context, token: &SecretString) -> Result<Option<Refreshing>, Error> {
        let Some(presented) = Presented::read(token) else { return Ok(None) };
        let Some(found) = self.live_token(&presented).await? else { return Ok(None) };
        if found.consumed_at.is_some() {
            self.reused(&context.acting(Actor::User(found.user_id)), &found).await?;
            return Ok(None);
        }
        Ok(Some(Refreshing { presented, found }))
    }

    /// Takes a refresh token for an access token and another refresh token. `None`: it does not count any more.
    pub async fn refresh(&self, context: &Context, refreshing: &Refreshing) -> Result<Option<Login>, Error> {
        let Refreshing { presented, found } = refreshing;
        let context = context.acting(Actor::User(found.user_id));
        let now = self.now();
        let next = Refresh::next(presented.family.expose_secret(), found.created_at, now);
        let gone_on = self.write(&context, |tx| {
            let next = &next;
            async move { go_on(tx, refreshing, next, now).await }.scope_boxed()
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

    /// Ends the session of a refresh token, or every one of its user. `false`: it does not count, and ends nothing.
    pub async fn logout_by_refresh(&self, context: &Context, token: &SecretString, all: bool) -> Result<bool, Error> {
        let Some(presented) = Presented::read(token) else { return Ok(false) };
        let Some(found) = self.live_token(&presented).await? else { return Ok(false) };
        let context = context.acting(Actor::User(found.user_id));
        if found.consumed_at.is_some() {
            self.reused(&context, &found).await?;
        } else if all {
            self.logout_everywhere(&context, found.user_id).await?;
        } else {
            self.logout(&context, found.session()).await?;
        }
        Ok(true)
    }

    /// A token of a session that goes on, if its own time is not over or it was used.
    async fn live_token(&self, presented: &Presented) -> Result<Option<Found>, Error> {
        let found: Option<Found> = on!(self.reader().await?.conn(), |c| sqlx::query_as(FIND)
            .bind(&presented.hash)
            .bind(&presented.family_hash)
            .fetch_optional(c)
            .await?);
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
    Refreshing { presented, found }: &Refreshing,
    next: &Refresh,
    now: Time,
) -> Result<Outcome<Option<User>>, Error> {
    let user = users::locked(tx, found.user_id).await?;
    let replaced = on!(tx.conn(), |c| sqlx::query(USE)
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
    on!(tx.conn(), |c| sqlx::query(USED)
        .bind(&presented.family_hash)
        .bind(found.session_id)
        .bind(now)
        .bind(next.expires_at)
        .execute(c)
        .await
        .map(|_| ()))?;
    let event = Event::new(EventType::SessionRefreshed).user(user.id);
    Ok(Outcome::changed(Some(user), event))
}

async fn end_reused(tx: &mut Tx, session: SessionId, now: Time) -> Result<Outcome<Option<User>>, Error> {
    Ok(match end(tx, session, now).await? {
        Some(user) => Outcome::changed(None, Event::new(EventType::SessionReuseDetected).user(user)),
        None => Outcome::Unchanged(None),
    })
}

/// Half of a token.
fn random_half() -> String {
    let mut bytes = [0_u8; HALF];
    rand::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// What is kept of a token, or of its first half.
fn hash(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
