//! Sessions: signing in with a password, going on with a refresh token, and the end of both.

mod jwt;
mod lock;
mod login;
mod refresh;

use std::time::Duration;

pub use jwt::{ACCESS_LIFETIME, SessionKey};
pub(crate) use jwt::{Access, TOKEN_MAX_BYTES};
pub(crate) use lock::Attempt;
pub use refresh::{REFRESH_IDLE, Refreshing, SESSION_LIFETIME};
use scoped_futures::ScopedFutureExt;
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    Accounts,
    audit::{Event, EventType},
    clock::Time,
    context::Context,
    error::Error,
    store::{Outcome, Tx, on, statements},
    users::{self, User, UserId},
};

/// How long the row of a session stays after it began: longer than any session.
const KEPT_FOR: Duration = Duration::from_hours(32 * 24);

statements! {
    END_SESSION = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING user_id";
    SWEEP_SESSIONS = "DELETE FROM sessions WHERE created_at < $1";
}

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [STATEMENTS, lock::STATEMENTS, login::STATEMENTS, refresh::STATEMENTS].into_iter().flatten()
}

/// The identity of a session: `sid` in its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// A session that has begun, or gone on.
#[derive(Debug)]
pub struct Login {
    /// The JWT to present as a bearer token.
    pub access_token: SecretString,
    /// How long it is good for.
    pub expires_in: Duration,
    /// The token to go on with, once.
    pub refresh_token: SecretString,
    /// How long that is good for.
    pub refresh_expires_in: Duration,
    /// Who signed in.
    pub user: User,
}

impl Accounts {
    /// Ends a session. Ended already: nothing changes.
    pub async fn logout(&self, context: &Context, session: SessionId) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                match end(tx, session, self.now()).await? {
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

    /// Forgets sessions that ended long ago, their refresh tokens, and sign-ins that failed long ago.
    pub async fn sweep_sessions(&self) -> Result<(), Error> {
        let now = self.now();
        self.store()
            .record(|tx| {
                async move {
                    let began = now - KEPT_FOR;
                    on!(tx.conn(), |c| sqlx::query(SWEEP_SESSIONS).bind(began).execute(c).await.map(|_| ()))?;
                    lock::sweep(tx, now).await
                }
                .scope_boxed()
            })
            .await
    }
}

/// Ends a session; whose it was, if it had not ended.
async fn end(tx: &mut Tx, session: SessionId, now: Time) -> Result<Option<UserId>, Error> {
    Ok(on!(tx.conn(), |c| sqlx::query_scalar(END_SESSION).bind(session.0).bind(now).fetch_optional(c).await?))
}
