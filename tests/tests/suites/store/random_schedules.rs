//! Random schedules of operations on users and keys, compared with a small model of their expected
//! state.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::{
    Accounts, CredentialId, Error, UserId,
    access::Permission,
    credentials::NewKey,
    types::{ApiKeyToken, Role, Scope},
    users::UserPatch,
};
use paddock_store::clock::Timestamp;
use paddock_tests::{
    database::Engine,
    random::SeededRng,
    story::{soak_or, story},
};
use rstest::rstest;

use super::{StoreFixture, context, keys::new_key, open};

const STEPS: usize = 60;
const HOUR: Duration = Duration::from_hours(1);

struct User {
    id: UserId,
    roles: Vec<Role>,
    active: bool,
    deleted: bool,
}

impl User {
    fn is_admin(&self) -> bool {
        self.active && !self.deleted && self.roles.contains(&Role::Admin)
    }
}

struct Key {
    id: CredentialId,
    owner: usize,
    revoked: bool,
    expires_at: Option<Timestamp>,
    /// All tokens of the key, each with the time at which a rotation retires it.
    tokens: Vec<(ApiKeyToken, Option<Timestamp>)>,
}

struct Model<'a> {
    store: &'a StoreFixture,
    rng: SeededRng,
    number: u64,
    users: Vec<User>,
    keys: Vec<Key>,
}

impl Model<'_> {
    fn accounts(&self) -> &Accounts {
        &self.store.accounts
    }

    fn pick(&mut self, of: usize) -> usize {
        let sides = u64::try_from(of).expect("few");
        usize::try_from(self.rng.below(sides)).expect("few")
    }

    fn roles(&mut self) -> Vec<Role> {
        [vec![], vec![Role::User], vec![Role::Admin]][self.pick(3)].clone()
    }

    /// Whether the user is the only active admin.
    fn is_last_admin(&self, user: usize) -> bool {
        self.users[user].is_admin() && self.users.iter().filter(|user| user.is_admin()).count() == 1
    }

    async fn step(&mut self) -> Result<()> {
        match self.rng.below(12) {
            0 | 1 => self.create().await,
            2 | 3 => self.change_roles().await,
            4 => self.set_active(false).await,
            5 => self.set_active(true).await,
            6 => self.delete().await,
            7 | 8 => self.issue().await,
            9 => self.rotate().await,
            10 => self.revoke().await,
            _ => {
                self.store.clock.advance(HOUR / 2);
                Ok(self.accounts().credentials().sweep().await?)
            }
        }
    }

    async fn create(&mut self) -> Result<()> {
        let roles = self.roles();
        let email = format!("s{}-u{}@example.com", self.number, self.users.len());
        let id = self.store.user(&email, &roles).await?.id;
        self.users.push(User { id, roles, active: true, deleted: false });
        Ok(())
    }

    async fn change_roles(&mut self) -> Result<()> {
        let (user, roles) = (self.pick(self.users.len()), self.roles());
        let patch = UserPatch { roles: Some(roles.iter().copied().collect()), ..UserPatch::default() };
        let done = self.accounts().users().update(&context(), self.users[user].id, patch, Ok(())).await.map(|_| ());
        if self.assert_outcome(user, !roles.contains(&Role::Admin), &done)? {
            self.users[user].roles = roles;
        }
        Ok(())
    }

    async fn set_active(&mut self, active: bool) -> Result<()> {
        let user = self.pick(self.users.len());
        let patch = UserPatch { is_active: Some(active), ..UserPatch::default() };
        let done = self.accounts().users().update(&context(), self.users[user].id, patch, Ok(())).await.map(|_| ());
        if self.assert_outcome(user, !active, &done)? {
            self.users[user].active = active;
        }
        Ok(())
    }

    async fn delete(&mut self) -> Result<()> {
        let user = self.pick(self.users.len());
        let done = self.accounts().users().delete(&context(), self.users[user].id, Ok(())).await;
        if self.assert_outcome(user, true, &done)? {
            self.users[user].deleted = true;
            for key in self.keys.iter_mut().filter(|key| key.owner == user) {
                key.revoked = true;
            }
        }
        Ok(())
    }

    /// Asserts the outcome of a change to a user. Returns whether the change was made.
    fn assert_outcome(&self, user: usize, removes_admin: bool, done: &Result<(), Error>) -> Result<bool> {
        let expected = if self.users[user].deleted {
            matches!(done, Err(Error::NoUser(_)))
        } else if removes_admin && self.is_last_admin(user) {
            matches!(done, Err(Error::LastAdmin))
        } else {
            done.is_ok()
        };
        ensure!(expected, "{done:?}");
        Ok(done.is_ok())
    }

    async fn issue(&mut self) -> Result<()> {
        let owner = self.pick(self.users.len());
        let expires_at = (self.rng.below(3) == 0).then(|| self.accounts().now() + HOUR);
        let new = NewKey { expires_at, ..new_key(self.users[owner].id) };
        let issued = self.accounts().credentials().issue(&context(), new).await;
        let User { deleted, active, .. } = self.users[owner];
        match issued {
            Err(Error::NoUser(_)) => ensure!(deleted),
            Err(Error::Disabled(_)) => ensure!(!deleted && !active),
            issued => {
                let issued = issued?;
                ensure!(!deleted && active);
                let (id, tokens) = (issued.credential.id, vec![(issued.token, None)]);
                self.keys.push(Key { id, owner, revoked: false, expires_at, tokens });
            }
        }
        Ok(())
    }

    async fn rotate(&mut self) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let (key, grace) = (self.pick(self.keys.len()), HOUR * u32::try_from(self.rng.below(2))?);
        let now = self.accounts().now();
        let done = self.accounts().credentials().rotate(&context(), self.keys[key].id, grace, None).await;
        let key = &mut self.keys[key];
        let expired = key.expires_at.is_some_and(|end| end <= now);
        match done {
            Err(Error::Revoked(_)) => ensure!(key.revoked),
            Err(Error::Expired(_)) => ensure!(!key.revoked && expired),
            done => {
                ensure!(!key.revoked && !expired);
                let end = now + grace;
                for (_, retires) in &mut key.tokens {
                    *retires = Some(retires.map_or(end, |at| at.min(end)));
                }
                key.tokens.push((done?.token, None));
            }
        }
        Ok(())
    }

    async fn revoke(&mut self) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let key = self.pick(self.keys.len());
        let changed = self.accounts().credentials().revoke(&context(), self.keys[key].id).await?;
        ensure!(changed != self.keys[key].revoked, "the result is not whether the key was live");
        self.keys[key].revoked = true;
        Ok(())
    }

    /// Asserts that every token is accepted exactly when the model says so, with the rights of both
    /// key and owner.
    async fn assert_matches(&self) -> Result<()> {
        ensure!(self.users.iter().any(User::is_admin), "no admin is left");
        let now = self.accounts().now();
        for key in &self.keys {
            let owner = &self.users[key.owner];
            let live = !key.revoked && owner.active && !owner.deleted && key.expires_at.is_none_or(|end| end > now);
            for (token, retires) in &key.tokens {
                let judged = self.accounts().authentication().authenticate(&token.plaintext().into()).await?;
                let counts = live && retires.is_none_or(|end| end > now);
                ensure!(judged.is_ok() == counts, "{token:?} of credential {}: {judged:?}", key.id);
                let Ok(principal) = judged else { continue };
                ensure!(principal.may(Permission::Use(Scope::Chat)).is_ok() == !owner.roles.is_empty());
                ensure!(
                    principal.may(Permission::Manage(Scope::UsersWrite)).is_err(),
                    "a key without the scope manages users"
                );
            }
        }
        Ok(())
    }
}

/// Runs the schedule with this seed.
async fn schedule(store: &StoreFixture, number: u64) -> Result<()> {
    let id = store.user(&format!("s{number}-root@example.com"), &[Role::Admin]).await?.id;
    let root = User { id, roles: vec![Role::Admin], active: true, deleted: false };
    let mut model = Model { store, rng: SeededRng::new(number), number, users: vec![root], keys: Vec::new() };
    for step in 0..STEPS {
        model.step().await.with_context(|| format!("step {step}"))?;
        model.assert_matches().await.with_context(|| format!("after step {step}"))?;
    }
    for user in model.users.iter().filter(|user| user.deleted) {
        store.assert_tombstone(user.id).await?;
    }
    for key in &model.keys {
        let active = format!(
            "UPDATE credential_secrets SET state = state WHERE state = 'active' AND credential_id = {}",
            key.id
        );
        ensure!(store.database.execute(&active).await? == u64::from(!key.revoked), "one active secret, or none");
    }
    ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn users_and_keys_match_the_model_after_every_step(#[case] engine: Engine) {
    story(async {
        for number in 1..=u64::try_from(soak_or(60, 6))? {
            // A new database, so that the schedules do not share admins.
            let store = open(engine).await?;
            schedule(&store, number).await.with_context(|| format!("schedule {number}"))?;
        }
        Ok(())
    })
    .await;
}
