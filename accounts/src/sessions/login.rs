//! Signing in with a password.

use paddock_store::{
    audit::{Event, EventType},
    context::{Actor, AuditContext},
    ids::{SessionId, uuid_v7},
    retry_lost_race, statements, with_conn,
};
use secrecy::SecretString;

use super::{Login, Sessions, jwt::ACCESS_LIFETIME, refresh::NewRefreshToken};
use crate::{
    error::Error,
    login_throttle::LoginAttempt,
    passwords::policy::normalize,
    types::Email,
    users::user::{self, User, UserWithHash},
};

statements! {
    BEGIN_SESSION = "INSERT INTO sessions (id, user_id, token_version, ip, user_agent, created_at, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";
    REHASH = "UPDATE passwords SET hash = $3 WHERE user_id = $1 AND hash = $2";
}

/// The old hash of a right password, and the new one that replaces it.
struct Rehash {
    old: String,
    new: String,
}

impl Sessions<'_> {
    /// Begins a session. A sign-in of an unknown or disabled user, or of a user without a password,
    /// takes the same time, runs the same queries and returns the same error as a wrong password.
    pub async fn login(self, context: &AuditContext, username: &str, password: SecretString) -> Result<Login, Error> {
        let email = Email::parse(username).ok();
        let attempt = LoginAttempt::new(context, email.as_ref());
        let permit = attempt.admit(self.accounts, context).await?;
        let found = user::with_hash(self.accounts.reader().await?.conn(), email.as_ref()).await?;
        let (user, hash) = found.map_or((None, None), |UserWithHash { user, hash }| (Some(user), hash));
        // A too long password is replaced by an empty one, so that its check takes equally long.
        let (password, hash_of) = match normalize(&password) {
            Some(password) => (password, hash.clone()),
            None => (SecretString::default(), None),
        };
        // The permit is held until the result is recorded, so it also limits the concurrent queries
        // of one address.
        let verdict = self.accounts.hasher().verify_password(permit.clone(), password.clone(), hash_of).await?;
        match (user, hash) {
            (Some(user), Some(old)) if verdict.is_right && user.is_active => {
                let rehash = if verdict.is_cheap {
                    Some(Rehash { old, new: self.accounts.hasher().hash_password(password).await? })
                } else {
                    None
                };
                self.begin_session(context, &attempt, user, rehash.as_ref()).await
            }
            (user, hash) => {
                let why = match &user {
                    None => "unknown user",
                    Some(_) if hash.is_none() => "user has no password",
                    Some(user) if verdict.is_right && !user.is_active => "user is disabled",
                    Some(_) => "wrong password",
                };
                attempt.record_failure(self.accounts, context, user.map(|user| user.id), why).await?;
                Err(Error::WrongPassword)
            }
        }
    }

    /// Stores a session, and the new hash if there is one. Fails with [`Error::WrongPassword`] if
    /// the user was disabled or changed since the password was read.
    async fn begin_session(
        self,
        context: &AuditContext,
        attempt: &LoginAttempt,
        user: User,
        rehash: Option<&Rehash>,
    ) -> Result<Login, Error> {
        let now = self.accounts.now();
        let session = SessionId(uuid_v7(now));
        let access_token = self.accounts.session_key().sign(user.id, &user.roles, session, now)?;
        let refresh = NewRefreshToken::begin(now);
        let context = context.acting(Actor::User(user.id));
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(&context).await?;
            let present = user::locked(&mut tx, user.id).await?;
            if !present.is_active || present.token_version != user.token_version {
                return Err(Error::WrongPassword);
            }
            with_conn!(tx.conn(), |c| sqlx::query(BEGIN_SESSION)
                .bind(session.0)
                .bind(user.id)
                .bind(user.token_version)
                .bind(context.ip.map(|ip| ip.to_string()))
                .bind(&context.user_agent)
                .bind(now)
                .bind(now + ACCESS_LIFETIME)
                .execute(c)
                .await
                .map(|_| ()))?;
            refresh.insert(&mut tx, session, now).await?;
            if let Some(Rehash { old, new }) = rehash {
                with_conn!(tx.conn(), |c| sqlx::query(REHASH)
                    .bind(user.id)
                    .bind(old)
                    .bind(new)
                    .execute(c)
                    .await
                    .map(|_| ()))?;
            }
            attempt.clear(&mut tx).await?;
            Ok(tx.commit(Event::new(EventType::LoginSuccess).user(user.id).target(user.email.as_str())).await?)
        })
        .await?;
        Ok(Login {
            access_token,
            expires_in: ACCESS_LIFETIME,
            refresh_expires_in: refresh.lifetime(now),
            refresh_token: refresh.token,
            user,
        })
    }
}
