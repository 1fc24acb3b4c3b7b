//! The first admin.

use scoped_futures::ScopedFutureExt;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Accounts,
    audit::{Change, Event, EventType},
    clock::Time,
    context::Context,
    credentials::{self, NewKey},
    email::Email,
    error::Error,
    limits::Limits,
    passwords,
    sets::{Role, Scope, Word},
    store::{Conn, Outcome, on, statements},
    token::Token,
    users::{self, NewUser, User, UserId},
};

statements! {
    LIVE_KEYS = "SELECT count(*) FROM credentials WHERE user_id = $1 AND label = $2 AND revoked_at IS NULL \
                 AND (expires_at IS NULL OR expires_at > $3)";
}

/// The address of the first admin.
pub const ADMIN_EMAIL: &str = "admin@example.com";
/// The label of its key.
pub const KEY_LABEL: &str = "bootstrap";

/// How to seed.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    /// `ADMIN_BOOTSTRAP_PASSWORD`; `None`: one is made.
    pub password: Option<SecretString>,
    /// `ADMIN_BOOTSTRAP_PASSWORD_FORCE`: set the password also where the admin is there already.
    pub force: bool,
}

/// What seeding made; what was there already is not told again.
#[derive(Debug)]
pub struct Seeded {
    /// The admin's address.
    pub email: Email,
    /// The password, if it was set now.
    pub password: Option<SecretString>,
    /// The key, if it was issued now.
    pub key: Option<Token>,
}

impl Accounts {
    /// Makes sure that there is an admin. Where there is none, [`ADMIN_EMAIL`] becomes one with a password and a key labelled
    /// `bootstrap`; while that user is an admin it has such a key. One that was disabled, demoted or, as there are other
    /// admins, deleted stays so. Running it twice changes nothing the second time.
    pub async fn seed(&self, seed: &Seed) -> Result<Seeded, Error> {
        self.seed_by(seed, true).await
    }

    /// The same with a password that no rule has to allow: for a machine that only itself can reach.
    pub async fn seed_for_development(&self, seed: &Seed) -> Result<Seeded, Error> {
        self.seed_by(seed, false).await
    }

    async fn seed_by(&self, seed: &Seed, judged: bool) -> Result<Seeded, Error> {
        let email = Email::parse(ADMIN_EMAIL).expect("the address is well formed");
        let context = Context::system("seed");
        let (admin, password) = match self.user_by_email(&email).await? {
            Some(admin) if !seed.force => (Some(admin), None),
            None if !seed.force && users::has_admin(self.reader().await?.conn()).await? => (None, None),
            _ => {
                let password = seed.password.clone().unwrap_or_else(random_password);
                let hash = self.hash_first(&email, &password, judged).await?;
                let (admin, is_set) = self.bootstrap(&context, &email, &hash, seed.force).await?;
                (Some(admin), is_set.then_some(password))
            }
        };
        let key = match admin.filter(|admin| admin.is_active && admin.roles.has(Role::Admin)) {
            Some(admin) => self.bootstrap_key(&context, admin.id).await?,
            None => None,
        };
        Ok(Seeded { email, password, key })
    }

    async fn hash_first(&self, email: &Email, password: &SecretString, judged: bool) -> Result<String, Error> {
        let name = "ADMIN_BOOTSTRAP_PASSWORD";
        let normal = if judged {
            self.judge(name, password.clone(), passwords::about_address(email)).await?
        } else {
            passwords::normal(password).ok_or_else(|| Error::invalid(name, "is too long"))?
        };
        self.hasher().hash_password(normal).await
    }

    /// The admin, and whether it has this password now: not where another process was first, unless `force`.
    async fn bootstrap(
        &self,
        context: &Context,
        email: &Email,
        hash: &str,
        force: bool,
    ) -> Result<(User, bool), Error> {
        self.write(context, |tx| {
            async move {
                let now = self.now();
                let (admin, detail) = match users::by_email(tx.conn(), email).await? {
                    Some(admin) if !force => return Ok(Outcome::Unchanged((admin, false))),
                    Some(admin) => (admin, "password reset"),
                    None => {
                        let new = NewUser { roles: [Role::Admin].into_iter().collect(), ..NewUser::new(email.clone()) };
                        (users::insert(tx.conn(), &new, now).await?, "created")
                    }
                };
                passwords::set(tx, admin.id, hash, now).await?;
                let mut change = Change::default();
                change.field("roles", None, Some(&admin.roles));
                let event = Event::new(EventType::AdminBootstrapped)
                    .user(admin.id)
                    .target(email.as_str())
                    .detail(detail)
                    .change(change);
                Ok(Outcome::changed((admin, true), event))
            }
            .scope_boxed()
        })
        .await
    }

    /// A key for the admin, if it has no live one.
    async fn bootstrap_key(&self, context: &Context, admin: UserId) -> Result<Option<Token>, Error> {
        if has_live_key(self.reader().await?.conn(), admin, self.now()).await? {
            return Ok(None);
        }
        let new = NewKey {
            user_id: admin,
            label: Some(KEY_LABEL.to_owned()),
            scopes: Some(Scope::ALL.iter().copied().collect()),
            models: None,
            limits: Limits::default(),
            expires_at: None,
        };
        let token = Token::generate();
        let hash = self.hasher().hash_key(token.plaintext().clone()).await?;
        let issued = self.write(context, |tx| {
            let (new, token, hash) = (&new, &token, &hash);
            async move {
                // Locked, so that of several who seed at once the others see the key of the first.
                let user = users::locked(tx, admin).await?;
                if has_live_key(tx.conn(), admin, self.now()).await? {
                    return Ok(Outcome::Unchanged(false));
                }
                let credential = credentials::issue_in(tx, &user, new, token, hash, self.now()).await?;
                let event = credentials::issued_event(EventType::ApiKeyIssued, &credential);
                Ok(Outcome::changed(true, event))
            }
            .scope_boxed()
        });
        Ok(issued.await?.then_some(token))
    }
}

async fn has_live_key(conn: Conn<'_>, admin: UserId, now: Time) -> Result<bool, Error> {
    let live: i64 =
        on!(conn, |c| sqlx::query_scalar(LIVE_KEYS).bind(admin).bind(KEY_LABEL).bind(now).fetch_one(c).await?);
    Ok(live > 0)
}

/// 256 random bits a person can copy: the secret part of a key.
fn random_password() -> SecretString {
    let token = Token::generate();
    token.plaintext().expose_secret()[15..58].into()
}
