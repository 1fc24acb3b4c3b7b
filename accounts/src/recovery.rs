//! The way back in.

use scoped_futures::ScopedFutureExt;
use secrecy::SecretString;

use crate::{
    Accounts,
    audit::{Event, EventType},
    context::Context,
    error::Error,
    seed,
    sessions::{PASSWORD_MAX_BYTES, normal},
    store::{Outcome, on},
    users::{self, UserId},
};

impl Accounts {
    /// Sets a user's password, which ends its sessions.
    pub async fn set_password(&self, context: &Context, id: UserId, password: SecretString) -> Result<(), Error> {
        let Some(normal) = normal(&password) else {
            return Err(Error::invalid("/password", format!("must be at most {PASSWORD_MAX_BYTES} bytes long")));
        };
        let hash = self.hasher().hash_password(normal).await?;
        self.write(context, |tx| {
            let hash = &hash;
            async move {
                let user = users::locked(tx, id).await?;
                let now = self.now();
                on!(tx.conn(), |c| sqlx::query(seed::SET_PASSWORD)
                    .bind(user.id)
                    .bind(hash)
                    .bind(now)
                    .execute(c)
                    .await
                    .map(|_| ()))?;
                users::end_sessions(tx, user.id).await?;
                Ok(Outcome::changed((), Event::new(EventType::PasswordSet).user(user.id).target(user.email.as_str())))
            }
            .scope_boxed()
        })
        .await
    }
}
