//! The first admin.

use scoped_futures::ScopedFutureExt;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Accounts,
    audit::{Change, Event, EventType},
    context::Context,
    credentials::NewKey,
    email::Email,
    error::Error,
    limits::Limits,
    passwords,
    sets::{Role, Scope, Word},
    store::Outcome,
    token::Token,
    users::{self, NewUser, User},
};

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
    /// Makes sure that there is an admin, with a password and a live key labelled `bootstrap`. Running it twice changes
    /// nothing the second time.
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
        let password = seed.password.clone().unwrap_or_else(random_password);
        let there = self.user_by_email(&email).await?;
        let set = there.is_none() || seed.force;
        let admin = match there {
            Some(admin) if !set => admin,
            _ => {
                let name = "ADMIN_BOOTSTRAP_PASSWORD";
                let about = passwords::about_address(&email);
                let normal = if judged {
                    self.judge(name, password.clone(), about).await?
                } else {
                    passwords::normal(&password).ok_or_else(|| Error::invalid(name, "is too long"))?
                };
                let hash = self.hasher().hash_password(normal).await?;
                self.bootstrap(&context, &email, &hash).await?
            }
        };
        // One that was disabled stays so, and can have no key.
        let wants_key = admin.is_active && !self.has_live_key(&admin).await?;
        let key = if wants_key { Some(self.bootstrap_key(&context, &admin).await?) } else { None };
        Ok(Seeded { email, password: set.then_some(password), key })
    }

    async fn bootstrap(&self, context: &Context, email: &Email, hash: &str) -> Result<User, Error> {
        self.write(context, |tx| {
            async move {
                let now = self.now();
                let (admin, detail) = if let Some(admin) = users::by_email(tx.conn(), email).await? {
                    (admin, "password reset")
                } else {
                    let new = NewUser { roles: [Role::Admin].into_iter().collect(), ..NewUser::new(email.clone()) };
                    (users::insert(tx.conn(), &new, now).await?, "created")
                };
                passwords::set(tx, admin.id, hash, now).await?;
                let mut change = Change::default();
                change.field("roles", None, Some(&admin.roles));
                let event = Event::new(EventType::AdminBootstrapped)
                    .user(admin.id)
                    .target(email.as_str())
                    .detail(detail)
                    .change(change);
                Ok(Outcome::changed(admin, event))
            }
            .scope_boxed()
        })
        .await
    }

    async fn has_live_key(&self, admin: &User) -> Result<bool, Error> {
        let now = self.now();
        Ok(self.credentials(Some(admin.id)).await?.iter().any(|key| {
            key.label == KEY_LABEL && key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > now)
        }))
    }

    async fn bootstrap_key(&self, context: &Context, admin: &User) -> Result<Token, Error> {
        let new = NewKey {
            user_id: admin.id,
            label: Some(KEY_LABEL.to_owned()),
            scopes: Some(Scope::ALL.iter().copied().collect()),
            models: None,
            limits: Limits::default(),
            expires_at: None,
        };
        Ok(self.issue_key(context, new).await?.token)
    }
}

/// 256 random bits a person can copy: the secret part of a key.
fn random_password() -> SecretString {
    let token = Token::generate();
    token.plaintext().expose_secret()[15..58].into()
}
