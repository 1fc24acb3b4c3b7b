//! Setting passwords.

mod policy;

pub use policy::{PASSWORD_HIGHEST_MINIMUM, PASSWORD_LOWEST_MINIMUM, PASSWORD_MAX_BYTES, PASSWORD_MIN_LENGTH};
pub(crate) use policy::{Policy, normal};
use scoped_futures::ScopedFutureExt;
use secrecy::SecretString;

use crate::{
    Accounts,
    audit::{Event, EventType},
    clock::Time,
    context::Context,
    email::Email,
    error::Error,
    sessions::Attempt,
    store::{Outcome, Tx, on, statements},
    users::{self, User, UserId},
};

/// What `paddock run --env dev` gives the first admin, so that one can sign in at once. Everybody knows it, and no policy lets
/// it be set otherwise.
pub const DEV_PASSWORD: &str = "admin";

statements! {
    OF_USER = "SELECT hash FROM passwords WHERE user_id = $1";
    SET = "INSERT INTO passwords (user_id, hash, set_at) VALUES ($1, $2, $3) \
           ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, set_at = excluded.set_at";
}

impl Accounts {
    /// Sets a user's password, which ends its sessions.
    pub async fn set_password(&self, context: &Context, id: UserId, password: SecretString) -> Result<(), Error> {
        let user = self.user(id).await?.ok_or(Error::NoUser(id))?;
        let password = self.judge("/password", password, about(&user)).await?;
        self.replace_password(context, &user, None, password).await
    }

    /// Has a user who knows its password set another one, which ends its sessions. Who does not know it is held up as one
    /// who signs in.
    pub async fn change_password(
        &self,
        context: &Context,
        id: UserId,
        current: SecretString,
        new: SecretString,
    ) -> Result<(), Error> {
        let user = self.user(id).await?.ok_or(Error::NoUser(id))?;
        let attempt = Attempt::new(context, Some(&user.email));
        let place = self.admit(context, &attempt).await?;
        let hash: Option<String> =
            on!(self.reader().await?.conn(), |c| sqlx::query_scalar(OF_USER).bind(user.id).fetch_optional(c).await?);
        let (current, hash) = normal(&current).map_or((SecretString::default(), None), |current| (current, hash));
        if !self.hasher().verify_password(place, current, hash).await?.is_right {
            self.login_failed(context, &attempt, Some(user.id), "wrong current password").await?;
            return Err(Error::invalid("/current_password", "is not the present password"));
        }
        let new = self.judge("/new_password", new, about(&user)).await?;
        self.replace_password(context, &user, Some(&attempt), new).await
    }

    /// Whether this is the user's password, for whoever has the database: no sign-in, so nothing is recorded and nobody waits.
    pub async fn password_is(&self, id: UserId, password: &SecretString) -> Result<bool, Error> {
        let hash: Option<String> =
            on!(self.reader().await?.conn(), |c| sqlx::query_scalar(OF_USER).bind(id).fetch_optional(c).await?);
        let (Some(password), Some(hash)) = (normal(password), hash) else { return Ok(false) };
        let verdict = self.hasher().verify_password(self.hasher().place()?, password, Some(hash)).await?;
        Ok(verdict.is_right)
    }

    /// The password in its one spelling. Judging one takes as long as hashing some, and waits its turn among them.
    pub(crate) async fn judge(
        &self,
        pointer: &'static str,
        password: SecretString,
        about: Vec<String>,
    ) -> Result<SecretString, Error> {
        let policy = self.password_policy();
        self.hasher().judge_password(move || policy.judge(pointer, &password, &about)).await?
    }

    /// `attempt`: the one that proved that the user knows the present password.
    async fn replace_password(
        &self,
        context: &Context,
        user: &User,
        attempt: Option<&Attempt>,
        password: SecretString,
    ) -> Result<(), Error> {
        let hash = self.hasher().hash_password(password).await?;
        self.write(context, |tx| {
            let hash = &hash;
            async move {
                let present = users::locked(tx, user.id).await?;
                if let Some(attempt) = attempt {
                    // What was proved may be true no longer.
                    if present.token_version != user.token_version {
                        return Err(Error::invalid("/current_password", "is not the present password"));
                    }
                    attempt.clear(tx).await?;
                }
                set(tx, user.id, hash, self.now()).await?;
                Ok(Outcome::changed((), Event::new(EventType::PasswordSet).user(user.id).target(user.email.as_str())))
            }
            .scope_boxed()
        })
        .await
    }
}

/// Keeps a hash, and ends every session of the user.
pub(crate) async fn set(tx: &mut Tx, user: UserId, hash: &str, now: Time) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(SET).bind(user).bind(hash).bind(now).execute(c).await.map(|_| ()))?;
    users::end_sessions(tx, user).await
}

/// What is known of a user, and so of no use in its password.
fn about(user: &User) -> Vec<String> {
    about_address(&user.email).into_iter().chain(user.display_name.clone()).collect()
}

pub(crate) fn about_address(email: &Email) -> Vec<String> {
    let parts = email.as_str().split('@').map(str::to_owned);
    std::iter::once(email.to_string()).chain(parts).collect()
}
