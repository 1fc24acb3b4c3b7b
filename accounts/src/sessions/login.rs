//! Signing in with a password.

use scoped_futures::ScopedFutureExt;
use secrecy::SecretString;

use super::{ACCESS_LIFETIME, Attempt, Login, SessionId, refresh::Refresh};
use crate::{
    Accounts,
    audit::{Event, EventType},
    context::{Actor, Context},
    email::Email,
    error::Error,
    ids::uuid_v7,
    passwords::normal,
    store::{Outcome, on, statements},
    users::{self, User, UserId, UserWithHash},
};

statements! {
    BEGIN_SESSION = "INSERT INTO sessions (id, user_id, token_version, ip, user_agent, created_at, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";
    REHASH = "UPDATE passwords SET hash = $3 WHERE user_id = $1 AND hash = $2";
}

/// A password that was right, and the hash it gets where the old one is too cheap.
struct Rehash {
    old: String,
    new: String,
}

impl Accounts {
    /// Begins a session. A user that is unknown, disabled or without a password costs the same time and the same queries,
    /// and gets the same answer, as a wrong password; so does a name that is no address.
    pub async fn login(&self, context: &Context, username: &str, password: SecretString) -> Result<Login, Error> {
        let email = Email::parse(username).ok();
        let attempt = Attempt::new(context, email.as_ref());
        let place = self.admit(context, &attempt).await?;
        let found = users::with_hash(self.reader().await?.conn(), email.as_ref()).await?;
        let (user, hash) = found.map_or((None, None), |UserWithHash { user, hash }| (Some(user), hash));
        // One that is too long to be anybody's takes as long as any other.
        let (password, hash_of) = match normal(&password) {
            Some(password) => (password, hash.clone()),
            None => (SecretString::default(), None),
        };
        // It is held until all is recorded, so that no more of one address wait for the database either.
        let verdict = self.hasher().verify_password(place.clone(), password.clone(), hash_of).await?;
        match (user, hash) {
            (Some(user), Some(old)) if verdict.is_right && user.is_active => {
                let rehash = if verdict.is_cheap {
                    Some(Rehash { old, new: self.hasher().hash_password(password).await? })
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
                self.login_failed(context, &attempt, user.map(|user| user.id), why).await?;
                Err(Error::WrongPassword)
            }
        }
    }

    async fn begin_session(
        &self,
        context: &Context,
        attempt: &Attempt,
        user: User,
        rehash: Option<&Rehash>,
    ) -> Result<Login, Error> {
        let now = self.now();
        let session = SessionId(uuid_v7(now));
        let access_token = self.sessions_key().sign(&user, session, now)?;
        let refresh = Refresh::begin(now);
        let context = context.acting(Actor::User(user.id));
        self.write(&context, |tx| {
            let (user, context, refresh) = (&user, &context, &refresh);
            async move {
                // Disabled or changed since the password was read: then this sign-in was refused.
                let present = users::locked(tx, user.id).await?;
                if !present.is_active || present.token_version != user.token_version {
                    return Err(Error::WrongPassword);
                }
                on!(tx.conn(), |c| sqlx::query(BEGIN_SESSION)
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
                refresh.insert(tx, session, now).await?;
                if let Some(Rehash { old, new }) = rehash {
                    on!(tx.conn(), |c| sqlx::query(REHASH)
                        .bind(user.id)
                        .bind(old)
                        .bind(new)
                        .execute(c)
                        .await
                        .map(|_| ()))?;
                }
                attempt.clear(tx).await?;
                Ok(Outcome::changed((), Event::new(EventType::LoginSuccess).user(user.id).target(user.email.as_str())))
            }
            .scope_boxed()
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

    /// Has the next attempt wait, and records that this one failed; repeats are counted.
    pub(crate) async fn login_failed(
        &self,
        context: &Context,
        attempt: &Attempt,
        user: Option<UserId>,
        why: &str,
    ) -> Result<(), Error> {
        self.store().record(|tx| async move { attempt.failed(tx, self.now()).await }.scope_boxed()).await?;
        let mut event = Event::new(EventType::LoginFailure).detail(why);
        event.user_id = user;
        event.target = attempt.target();
        self.fold(context, attempt.fold(event.event_type), event).await
    }
}
