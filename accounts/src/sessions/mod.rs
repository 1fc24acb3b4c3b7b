//! Sessions: signing in, refreshing and signing out.

pub(crate) mod jwt;
mod login;
mod refresh;

use std::time::Duration;

pub use jwt::{ACCESS_LIFETIME, SessionKey};
use paddock_store::{
    Tx,
    audit::{Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{SessionId, UserId},
    retry_lost_race, statements, with_conn,
};
pub use refresh::{REFRESH_IDLE_TIMEOUT, REUSE_GRACE, SESSION_LIFETIME, ValidRefreshToken};
use secrecy::SecretString;

use crate::{
    accounts::Accounts,
    error::Error,
    login_throttle,
    users::user::{self, User},
};

/// How long the row of a session is kept after its start: longer than [`SESSION_LIFETIME`].
const SESSION_ROW_TTL: Duration = Duration::from_hours(32 * 24);

statements! {
    END_SESSION = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING user_id";
    SWEEP_SESSIONS = "DELETE FROM sessions WHERE created_at < $1";
}

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [STATEMENTS, login::STATEMENTS, refresh::STATEMENTS].into_iter().flatten()
}

/// The tokens of a session that began or continued.
#[derive(Debug)]
pub struct Login {
    /// The JWT to present as a bearer token.
    pub access_token: SecretString,
    /// How long it is valid.
    pub expires_in: Duration,
    /// The token that continues the session.
    pub refresh_token: SecretString,
    /// How long the refresh token is valid.
    pub refresh_expires_in: Duration,
    /// The user.
    pub user: User,
}

/// The operations on sessions.
#[derive(Clone, Copy)]
pub struct Sessions<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on sessions.
    #[must_use]
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { accounts: self }
    }
}

impl Sessions<'_> {
    /// Ends a session. Idempotent.
    pub async fn logout(self, context: &AuditContext, session: SessionId) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let Some(user_id) = end(&mut tx, session, self.accounts.now()).await? else {
                return Ok(tx.end_unchanged().await?);
            };
            Ok(tx.commit(Event::new(EventType::Logout).user(user_id)).await?)
        })
        .await
    }

    /// Ends every session of a user.
    pub async fn logout_everywhere(self, context: &AuditContext, user: UserId) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let user = user::locked(&mut tx, user).await?;
            user::end_sessions(&mut tx, user.id).await?;
            Ok(tx.commit(Event::new(EventType::Logout).user(user.id).detail("every session")).await?)
        })
        .await
    }

    /// Deletes old sessions, their refresh tokens, and old failures to sign in.
    pub async fn sweep(self) -> Result<(), Error> {
        let now = self.accounts.now();
        let began = now - SESSION_ROW_TTL;
        let mut tx = self.accounts.begin_record().await?;
        with_conn!(tx.conn(), |c| sqlx::query(SWEEP_SESSIONS).bind(began).execute(c).await.map(|_| ()))?;
        login_throttle::sweep(&mut tx, now).await?;
        Ok(tx.commit().await?)
    }
}

/// Ends a session. Returns its user; `None` if it had already ended.
async fn end(tx: &mut Tx, session: SessionId, now: Timestamp) -> Result<Option<UserId>, Error> {
    Ok(with_conn!(tx.conn(), |c| sqlx::query_scalar(END_SESSION).bind(session.0).bind(now).fetch_optional(c).await?))
}
