//! Creates the first admin.

use paddock_store::{
    Conn, Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    retry_lost_race, statements, with_conn,
};
use secrecy::SecretString;

use crate::{
    accounts::Accounts,
    credentials::{
        NewKey,
        issue::{issue_in, issued_event},
    },
    error::Error,
    passwords::{about_address, generate_password, policy::normalize, set},
    types::{ApiKeyToken, Email, Limits, Priority, Role, Scope, TextEnum as _},
    users::{
        AdminBlocker, NewUser,
        create::{initial_fields, insert},
        last_admin,
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

/// The options of seeding.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    /// `ADMIN_BOOTSTRAP_PASSWORD`; `None` generates a password.
    pub password: Option<SecretString>,
    /// `ADMIN_BOOTSTRAP_PASSWORD_FORCE`: also sets the password of an existing admin.
    pub force: bool,
}

/// The result of seeding. An existing key is not returned, nor is a password that the caller knows.
#[derive(Debug)]
pub struct Seeded {
    /// The admin's address.
    pub email: Email,
    /// The password, if it was generated now.
    pub password: Option<SecretString>,
    /// The key, if it was issued now.
    pub key: Option<ApiKeyToken>,
}

/// Why seeding failed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is no admin, and the user with the address [`ADMIN_EMAIL`] cannot administer.
    #[error(
        "nobody can administer: {email} {0}, and there is no other admin; ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 makes it the admin, \
         with a new password, and `paddock user create root@example.com --admin --local` makes another one",
        email = ADMIN_EMAIL
    )]
    NoAdmin(AdminBlocker),
    /// A password was forced on a user whom another admin may have disabled, demoted or limited.
    #[error(
        "ADMIN_BOOTSTRAP_PASSWORD_FORCE is set, but {email} {0}, and other admins may have meant that: leave it out, or undo \
         that with `paddock user {remedy}` first",
        email = ADMIN_EMAIL,
        remedy = remedy(*.0)
    )]
    Withheld(AdminBlocker),
    /// The password was set, and then issuing the key failed.
    #[error(
        "{email} has a password that nobody was told, unless you chose it (ADMIN_BOOTSTRAP_PASSWORD_FORCE=1 sets it anew), and \
         no key",
        email = ADMIN_EMAIL
    )]
    Untold(#[source] Error),
    /// Any other error.
    #[error(transparent)]
    Other(#[from] Error),
}

/// The arguments of `paddock user` that remove the blocker.
fn remedy(admin_blocker: AdminBlocker) -> String {
    match admin_blocker {
        AdminBlocker::Disabled => format!("enable {ADMIN_EMAIL}"),
        AdminBlocker::NoRole => format!("update {ADMIN_EMAIL} --role admin"),
        AdminBlocker::NoRequests => format!("update {ADMIN_EMAIL} --limit requests_per_minute="),
    }
}

impl Accounts {
    /// Ensures that an admin exists. Idempotent.
    ///
    /// If no user can administer and no user has the address [`ADMIN_EMAIL`], creates this user as
    /// an admin, with a password and a key labelled `bootstrap`. If the user is an admin without
    /// such a key, issues one.
    ///
    /// A user that was disabled, demoted or deleted stays so while another user can administer. If
    /// no user can, seeding fails with [`SeedError::NoAdmin`]. [`Seed::force`] creates the user if
    /// it does not exist, and restores it as the admin if there is no other admin. Otherwise
    /// forcing a blocked user fails with [`SeedError::Withheld`].
    pub async fn seed(&self, seed: &Seed) -> Result<Seeded, SeedError> {
        self.seed_by(seed, true).await
    }

    /// Does the same, and accepts any password: for a server that only its own machine can
    /// reach.
    pub async fn seed_for_development(&self, seed: &Seed) -> Result<Seeded, SeedError> {
        self.seed_by(seed, false).await
    }

    async fn seed_by(&self, seed: &Seed, is_checked: bool) -> Result<Seeded, SeedError> {
        let email = Email::parse(ADMIN_EMAIL).expect("the address is well formed");
        let context = AuditContext::system("seed");
        let (admin, set_password) = match self.users().find_by_email(&email).await? {
            Some(admin) if !seed.force => (admin, None),
            None if !seed.force && self.has_admin().await? => return Ok(Seeded { email, password: None, key: None }),
            _ => {
                let password = seed.password.clone().unwrap_or_else(generate_password);
                let hash = self.hash_first(&email, &password, is_checked).await?;
                let (admin, is_set) = self.bootstrap(&context, &email, &hash, seed.force).await??;
                (admin, is_set.then_some(password))
            }
        };
        let key = match admin.admin_blocker() {
            None => self.bootstrap_key(&context, admin.id).await.map_err(|error| match set_password {
                Some(_) => SeedError::Untold(error),
                None => error.into(),
            })?,
            Some(_) if self.has_admin().await? => None,
            Some(admin_blocker) => return Err(SeedError::NoAdmin(admin_blocker)),
        };
        let password = set_password.filter(|_| seed.password.is_none());
        Ok(Seeded { email, password, key })
    }

    async fn has_admin(&self) -> Result<bool, Error> {
        last_admin::has_admin(self.reader().await?.conn()).await
    }

    /// Hashes the first password. With `is_checked`, the password policy applies.
    async fn hash_first(&self, email: &Email, password: &SecretString, is_checked: bool) -> Result<String, Error> {
        let name = "ADMIN_BOOTSTRAP_PASSWORD";
        let normal = if is_checked {
            self.passwords().check(name, password.clone(), about_address(email)).await?
        } else {
            normalize(password).ok_or_else(|| Error::invalid(name, "is too long"))?
        };
        self.hasher().hash_password(normal).await
    }

    /// Makes the user of [`ADMIN_EMAIL`] the admin and sets its password. Returns the admin, and
    /// whether the password was set. Without `force` an existing user stays as it is.
    async fn bootstrap(
        &self,
        context: &AuditContext,
        email: &Email,
        hash: &str,
        force: bool,
    ) -> Result<Result<(User, bool), SeedError>, Error> {
        retry_lost_race(|| async {
            let mut tx = self.begin(context).await?;
            let now = self.now();
            let (admin, changes, detail) = match user::by_email(tx.conn(), email).await? {
                Some(admin) if !force => return Ok(Ok((admin, false))),
                Some(admin) => match with_admin_restored(&mut tx, admin.id, now).await? {
                    Ok((admin, changes)) if changes.is_empty() => (admin, changes, "password reset"),
                    Ok((admin, changes)) => (admin, changes, "made the admin again"),
                    Err(refused) => return Ok(Err(refused)),
                },
                None => {
                    let new = NewUser { roles: [Role::Admin].into_iter().collect(), ..NewUser::new(email.clone()) };
                    let admin = insert(&mut tx, &new, now).await?;
                    let changes = initial_fields(&admin);
                    (admin, changes, "created")
                }
            };
            set(&mut tx, admin.id, hash, now).await?;
            let event = Event::new(EventType::AdminBootstrapped)
                .user(admin.id)
                .target(email.as_str())
                .detail(detail)
                .change(changes);
            tx.commit(event).await?;
            Ok(Ok((admin, true)))
        })
        .await
    }

    /// Issues the bootstrap key; `None` if the admin has a live one.
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
            priority: Priority::default(),
            expires_at: None,
        };
        let token = ApiKeyToken::generate();
        let hash = self.hasher().hash_key(token.plaintext().clone()).await?;
        let is_issued = retry_lost_race(|| async {
            let mut tx = self.begin(context).await?;
            // Locked, so that of several concurrent seeds only the first issues a key.
            let user = user::locked(&mut tx, admin).await?;
            if has_live_key(tx.conn(), admin, self.now()).await? {
                return Ok(false);
            }
            let credential = issue_in(&mut tx, &user, &new, &token, &hash, self.now()).await?;
            tx.commit(issued_event(EventType::ApiKeyIssued, &credential)).await?;
            Ok::<_, Error>(true)
        });
        Ok(is_issued.await?.then_some(token))
    }
}

/// Restores the user as an admin. Returns the user and the changes. Refuses while another admin can
/// act, because that admin may have blocked the user on purpose. Fails if a Kubernetes object owns
/// the user.
async fn with_admin_restored(
    tx: &mut Tx,
    id: UserId,
    now: Timestamp,
) -> Result<Result<(User, Change), SeedError>, Error> {
    let before = user::locked(tx, id).await?;
    let Some(admin_blocker) = before.admin_blocker() else { return Ok(Ok((before, Change::default()))) };
    if last_admin::has_other_admin(tx, id).await? {
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
