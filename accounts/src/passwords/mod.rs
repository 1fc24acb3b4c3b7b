//! Setting and checking passwords.

pub(crate) mod policy;

use paddock_store::{
    Tx,
    audit::{Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    retry_lost_race, statements, with_conn,
};
use policy::normalize;
pub use policy::{
    DEFAULT_PASSWORD_MIN_LENGTH, MAX_PASSWORD_BYTES, PASSWORD_HIGHEST_MINIMUM, PASSWORD_LOWEST_MINIMUM, PasswordPolicy,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    accounts::Accounts,
    error::Error,
    login_throttle::LoginAttempt,
    types::{ApiKeyToken, Email},
    users::user::{self, User, locked},
};

/// The password of the first admin in `paddock run --env dev`. It is public, and no policy accepts
/// it otherwise.
pub const DEV_PASSWORD: &str = "admin";

statements! {
    SET_AT = "SELECT set_at FROM passwords WHERE user_id = $1";
    OF_USER = "SELECT hash FROM passwords WHERE user_id = $1";
    SET = "INSERT INTO passwords (user_id, hash, set_at) VALUES ($1, $2, $3) \
           ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, set_at = excluded.set_at";
}

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    STATEMENTS.iter()
}

/// The operations on passwords.
#[derive(Clone, Copy)]
pub struct Passwords<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on passwords.
    #[must_use]
    pub fn passwords(&self) -> Passwords<'_> {
        Passwords { accounts: self }
    }
}

impl Passwords<'_> {
    /// Sets a user's password, which ends its sessions.
    pub async fn set(self, context: &AuditContext, id: UserId, password: SecretString) -> Result<(), Error> {
        let user = self.accounts.users().find(id).await?.ok_or(Error::NoUser(id))?;
        let password = self.check("/password", password, about(&user)).await?;
        self.replace(context, &user, None, password).await
    }

    /// Changes a password, which ends the sessions of the user. A wrong current password is
    /// throttled like a failed sign-in.
    pub async fn change(
        self,
        context: &AuditContext,
        id: UserId,
        current: SecretString,
        new: SecretString,
    ) -> Result<(), Error> {
        let user = self.accounts.users().find(id).await?.ok_or(Error::NoUser(id))?;
        let attempt = LoginAttempt::new(context, Some(&user.email));
        let permit = attempt.admit(self.accounts, context).await?;
        let hash: Option<String> = with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_scalar(OF_USER)
            .bind(user.id)
            .fetch_optional(c)
            .await?);
        let (current, hash) = normalize(&current).map_or((SecretString::default(), None), |current| (current, hash));
        if !self.accounts.hasher().verify_password(permit, current, hash).await?.is_right {
            attempt.record_failure(self.accounts, context, Some(user.id), "wrong current password").await?;
            return Err(Error::invalid("/current_password", "is not the present password"));
        }
        let new = self.check("/new_password", new, about(&user)).await?;
        self.replace(context, &user, Some(&attempt), new).await
    }

    /// When the password of a user was set; `None` if the user has none.
    pub async fn set_at(self, id: UserId) -> Result<Option<Timestamp>, Error> {
        Ok(with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_scalar(SET_AT)
            .bind(id)
            .fetch_optional(c)
            .await?))
    }

    /// Whether this is the user's password. Neither throttled nor recorded, because the caller has
    /// access to the database anyway.
    pub async fn matches(self, id: UserId, password: &SecretString) -> Result<bool, Error> {
        let hash: Option<String> = with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_scalar(OF_USER)
            .bind(id)
            .fetch_optional(c)
            .await?);
        let (Some(password), Some(hash)) = (normalize(password), hash) else { return Ok(false) };
        let verdict =
            self.accounts.hasher().verify_password(self.accounts.hasher().acquire()?, password, Some(hash)).await?;
        Ok(verdict.is_right)
    }

    /// Normalizes and checks a new password. A check takes as long as several hashes, so it waits
    /// in the queue of the hasher.
    pub(crate) async fn check(
        self,
        pointer: &'static str,
        password: SecretString,
        about: Vec<String>,
    ) -> Result<SecretString, Error> {
        let policy = self.accounts.password_policy();
        self.accounts.hasher().check_password(move || policy.check(pointer, &password, &about)).await?
    }

    /// Replaces the password. `attempt` is the attempt that verified the current password, if any.
    async fn replace(
        self,
        context: &AuditContext,
        user: &User,
        attempt: Option<&LoginAttempt>,
        password: SecretString,
    ) -> Result<(), Error> {
        let hash = self.accounts.hasher().hash_password(password).await?;
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let present = locked(&mut tx, user.id).await?;
            if let Some(attempt) = attempt {
                // The password may have changed since it was verified.
                if present.token_version != user.token_version {
                    return Err(Error::invalid("/current_password", "is not the present password"));
                }
                attempt.clear(&mut tx).await?;
            }
            set(&mut tx, user.id, &hash, self.accounts.now()).await?;
            Ok(tx.commit(Event::new(EventType::PasswordSet).user(user.id).target(user.email.as_str())).await?)
        })
        .await
    }
}

/// Stores a hash, and ends every session of the user.
pub(crate) async fn set(tx: &mut Tx, user: UserId, hash: &str, now: Timestamp) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(SET).bind(user).bind(hash).bind(now).execute(c).await.map(|_| ()))?;
    user::end_sessions(tx, user).await
}

/// Generates a password of 256 random bits: the secret part of a key, which a person can copy.
#[must_use]
pub fn generate_password() -> SecretString {
    let token = ApiKeyToken::generate();
    token.plaintext().expose_secret()[15..58].into()
}

/// Facts about a user, which make a password easy to guess.
fn about(user: &User) -> Vec<String> {
    about_address(&user.email).into_iter().chain(user.display_name.clone()).collect()
}

/// The address and its parts, which make a password easy to guess.
pub(crate) fn about_address(email: &Email) -> Vec<String> {
    let parts = email.as_str().split('@').map(str::to_owned);
    std::iter::once(email.to_string()).chain(parts).collect()
}
