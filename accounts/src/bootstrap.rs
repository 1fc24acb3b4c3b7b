//! Creates the first admin.

use paddock_store::{
    Conn, Mutation, Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    statements, with_conn,
};
use scoped_futures::ScopedFutureExt;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    accounts::Accounts,
    credentials::{
        NewKey,
        issue::{issue_in, issued_event},
    },
    error::Error,
    passwords::{about_address, policy::normalize, set},
    types::{ApiKeyToken, Email, Limits, Role, Scope, TextEnum as _},
    users::{
        AdminBlocker, NewUser, admins,
        create::{initial_fields, insert},
        update::{change, put},
        user::{self, User},
    },
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
    pub key: Option<ApiKeyToken>,
}

/// Why there is no admin, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is no admin, and the user of the first one's address is none.
    #[error(
        "nobody can administer: {email} {0}, and there is no other admin; ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 makes it the admin, \
         with a new password, and `paddock user create root@example.com --admin --local` makes another one",
        email = ADMIN_EMAIL
    )]
    NoAdmin(AdminBlocker),
    /// A password was forced on one from whom another admin may have taken something.
    #[error(
        "ADMIN_BOOTSTRAP_PASSWORD_FORCE is set, but {email} {0}, and other admins may have meant that: leave it out, or undo \
         that with `paddock user {remedy}` first",
        email = ADMIN_EMAIL,
        remedy = remedy(*.0)
    )]
    Withheld(AdminBlocker),
    /// The password was set, and then there was no key.
    #[error(
        "{email} has a password that nobody was told, unless you chose it (ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 sets it anew), and \
         no key",
        email = ADMIN_EMAIL
    )]
    Untold(#[source] Error),
    /// Something that is not about seeding.
    #[error(transparent)]
    Other(#[from] Error),
}

/// What gives it back, as arguments of `paddock user`.
fn remedy(admin_blocker: AdminBlocker) -> String {
    match admin_blocker {
        AdminBlocker::Disabled => format!("enable {ADMIN_EMAIL}"),
        AdminBlocker::NoRole => format!("update {ADMIN_EMAIL} --role admin"),
        AdminBlocker::NoRequests => format!("update {ADMIN_EMAIL} --limit requests_per_minute="),
    }
}

impl Accounts {
    /// Makes sure that there is an admin, or says why there is none. Where nobody can administer and [`ADMIN_EMAIL`] is
    /// nobody's, it becomes an admin with a password and a key labelled `bootstrap`; while it is an admin it has such a key.
    /// Running it twice changes nothing the second time.
    ///
    /// What was taken from that user stays taken: disabled, demoted or deleted, it stays so while somebody else can
    /// administer, and where nobody can, that is an error. [`Seed::force`] makes the user anew if it is not there, and the
    /// admin again if nobody else is one; beside another admin it gives nothing back, and is refused.
    pub async fn seed(&self, seed: &Seed) -> Result<Seeded, SeedError> {
        self.seed_by(seed, true).await
    }

    /// The same with a password that no rule has to allow: for a machine that only itself can reach.
    pub async fn seed_for_development(&self, seed: &Seed) -> Result<Seeded, SeedError> {
        self.seed_by(seed, false).await
    }

    async fn seed_by(&self, seed: &Seed, judged: bool) -> Result<Seeded, SeedError> {
        let email = Email::parse(ADMIN_EMAIL).expect("the address is well formed");
        let context = AuditContext::system("seed");
        let (admin, password) = match self.users().find_by_email(&email).await? {
            Some(admin) if !seed.force => (admin, None),
            None if !seed.force && self.has_admin().await? => return Ok(Seeded { email, password: None, key: None }),
            _ => {
                let password = seed.password.clone().unwrap_or_else(random_password);
                let hash = self.hash_first(&email, &password, judged).await?;
                let (admin, is_set) = self.bootstrap(&context, &email, &hash, seed.force).await??;
                (admin, is_set.then_some(password))
            }
        };
        let key = match admin.admin_blocker() {
            None => self.bootstrap_key(&context, admin.id).await.map_err(|error| match password {
                Some(_) => SeedError::Untold(error),
                None => error.into(),
            })?,
            Some(_) if self.has_admin().await? => None,
            Some(admin_blocker) => return Err(SeedError::NoAdmin(admin_blocker)),
        };
        Ok(Seeded { email, password, key })
    }

    async fn has_admin(&self) -> Result<bool, Error> {
        admins::has_admin(self.reader().await?.conn()).await
    }

    async fn hash_first(&self, email: &Email, password: &SecretString, judged: bool) -> Result<String, Error> {
        let name = "ADMIN_BOOTSTRAP_PASSWORD";
        let normal = if judged {
            self.passwords().check(name, password.clone(), about_address(email)).await?
        } else {
            normalize(password).ok_or_else(|| Error::invalid(name, "is too long"))?
        };
        self.hasher().hash_password(normal).await
    }

    /// The admin, and whether it has this password now: not where another process was first, unless `force`.
    async fn bootstrap(
        &self,
        context: &AuditContext,
        email: &Email,
        hash: &str,
        force: bool,
    ) -> Result<Result<(User, bool), SeedError>, Error> {
        self.write(context, |tx| {
            async move {
                let now = self.now();
                let (admin, changes, detail) = match user::by_email(tx.conn(), email).await? {
                    Some(admin) if !force => return Ok(Mutation::Unchanged(Ok((admin, false)))),
                    Some(admin) => match with_admin_restored(tx, admin.id, now).await? {
                        Ok((admin, changes)) if changes.is_empty() => (admin, changes, "password reset"),
                        Ok((admin, changes)) => (admin, changes, "made the admin again"),
                        Err(refused) => return Ok(Mutation::Unchanged(Err(refused))),
                    },
                    None => {
                        let new = NewUser { roles: [Role::Admin].into_iter().collect(), ..NewUser::new(email.clone()) };
                        let admin = insert(tx.conn(), &new, now).await?;
                        let changes = initial_fields(&admin);
                        (admin, changes, "created")
                    }
                };
                set(tx, admin.id, hash, now).await?;
                let event = Event::new(EventType::AdminBootstrapped)
                    .user(admin.id)
                    .target(email.as_str())
                    .detail(detail)
                    .change(changes);
                Ok(Mutation::changed(Ok((admin, true)), event))
            }
            .scope_boxed()
        })
        .await
    }

    /// A key for the admin, if it has no live one.
    async fn bootstrap_key(&self, context: &AuditContext, admin: UserId) -> Result<Option<ApiKeyToken>, Error> {
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
        let token = ApiKeyToken::generate();
        let hash = self.hasher().hash_key(token.plaintext().clone()).await?;
        let issued = self.write(context, |tx| {
            let (new, token, hash) = (&new, &token, &hash);
            async move {
                // Locked, so that of several who seed at once the others see the key of the first.
                let user = user::locked(tx, admin).await?;
                if has_live_key(tx.conn(), admin, self.now()).await? {
                    return Ok(Mutation::Unchanged(false));
                }
                let credential = issue_in(tx, &user, new, token, hash, self.now()).await?;
                let event = issued_event(EventType::ApiKeyIssued, &credential);
                Ok(Mutation::changed(true, event))
            }
            .scope_boxed()
        });
        Ok(issued.await?.then_some(token))
    }
}

/// The user as one who can administer, and what that took. What keeps it from that stays while another admin can act, who
/// may have meant it, or while the user is an object's.
async fn with_admin_restored(
    tx: &mut Tx,
    id: UserId,
    now: Timestamp,
) -> Result<Result<(User, Change), SeedError>, Error> {
    let before = user::locked(tx, id).await?;
    let Some(admin_blocker) = before.admin_blocker() else { return Ok(Ok((before, Change::default()))) };
    if admins::has_other_admin(tx, id).await? {
        return Ok(Err(SeedError::Withheld(admin_blocker)));
    }
    if let Some(owner) = before.managed_by {
        return Err(Error::Managed { kind: "ApiUser", owner });
    }
    let after = put(tx, &before, &before.clone().with_admin_restored(), now).await?;
    let changes = change(&before, &after);
    Ok(Ok((after, changes)))
}

async fn has_live_key(conn: Conn<'_>, admin: UserId, now: Timestamp) -> Result<bool, Error> {
    let live: i64 =
        with_conn!(conn, |c| sqlx::query_scalar(LIVE_KEYS).bind(admin).bind(KEY_LABEL).bind(now).fetch_one(c).await?);
    Ok(live > 0)
}

/// 256 random bits a person can copy: the secret part of a key.
fn random_password() -> SecretString {
    let token = ApiKeyToken::generate();
    token.plaintext().expose_secret()[15..58].into()
}
