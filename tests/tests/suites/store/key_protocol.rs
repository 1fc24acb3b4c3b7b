//! The three writes that deliver a secret into a Kubernetes Secret, under random schedules of two
//! leaders that do not know of each other and crash at any step.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::{
    Error, SecretId,
    credentials::{Credential, SecretState},
    managed_resources::{Activation, OnUidMismatch, Staged},
    types::{ApiKeyToken, ManagedBy, Role},
};
use paddock_tests::{database::Engine, random::SeededRng, story::story};
use rstest::rstest;

use super::{StoreFixture, context, desired_key, object, open};

/// The Kubernetes Secret, with the resource version that a writer must know.
#[derive(Clone, Default)]
struct KubernetesSecret {
    version: u64,
    content: Option<(SecretId, ApiKeyToken)>,
}

/// The state of a leader.
enum Leader {
    Idle,
    Staged { staged: Staged, seen: u64 },
    Written { id: SecretId },
}

struct World<'a> {
    store: &'a StoreFixture,
    owner: ManagedBy,
    credential: Credential,
    secret: KubernetesSecret,
    /// The number of secrets to issue: the first one, and one for each requested rotation.
    wanted: usize,
    activated: BTreeSet<i64>,
}

impl World<'_> {
    /// Takes the next step of a leader, as the operator does.
    async fn step(&mut self, leader: Leader) -> Result<Leader> {
        match leader {
            Leader::Idle => self.begin().await,
            Leader::Staged { staged, seen } => {
                if self.secret.version != seen {
                    // The precondition fails, so that the leader reads again.
                    return Ok(Leader::Idle);
                }
                self.secret = KubernetesSecret { version: seen + 1, content: Some((staged.id, staged.token)) };
                Ok(Leader::Written { id: staged.id })
            }
            Leader::Written { id } => {
                self.activate(id).await?;
                Ok(Leader::Idle)
            }
        }
    }

    async fn begin(&mut self) -> Result<Leader> {
        let versions = self.store.accounts.credentials().secrets(self.credential.id).await?;
        let seen = self.secret.version;
        let content = self.secret.content.as_ref().map(|(id, _)| *id);
        let state = |id| versions.iter().find(|version| version.id == id).map(|version| version.state);
        if let Some(id) = content
            && state(id) == Some(SecretState::Staged)
        {
            return Ok(Leader::Written { id });
        }
        // A secret that a crashed leader staged after the last activation is dropped by one more
        // rotation. Nothing else shows that its leader will not come back.
        let stray = versions.iter().any(|version| version.state == SecretState::Staged);
        if !stray && self.activated.len() >= self.wanted && content.and_then(state) == Some(SecretState::Active) {
            return Ok(Leader::Idle);
        }
        let staged =
            self.store.accounts.managed().stage_secret(&context(), &self.owner, self.credential.id, None).await?;
        Ok(Leader::Staged { staged, seen })
    }

    async fn activate(&mut self, id: SecretId) -> Result<()> {
        let activation = Activation { secret: id, expires_at: None, grace: Duration::from_hours(1) };
        let done = self
            .store
            .accounts
            .managed()
            .activate_secret(&context(), &self.owner, self.credential.id, activation)
            .await;
        match done {
            Ok(()) => {
                self.activated.insert(id.0);
                Ok(())
            }
            // Another leader has activated its secret.
            Err(Error::NotStaged) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Asserts the invariants: at most one secret is active, and the token in the Kubernetes Secret
    /// authenticates.
    async fn assert_invariants(&self) -> Result<()> {
        let versions = self.store.accounts.credentials().secrets(self.credential.id).await?;
        let active = versions.iter().filter(|version| version.state == SecretState::Active).count();
        ensure!(active <= 1, "{active} are active");
        if let Some((_, token)) = &self.secret.content {
            let judged = self.store.accounts.authentication().authenticate(&token.plaintext().into()).await?;
            ensure!(judged.is_ok(), "the Secret does not authenticate: {judged:?}");
        }
        Ok(())
    }
}

/// Runs the schedule with this seed.
async fn schedule(store: &StoreFixture, number: u64) -> Result<()> {
    let user = store.user(&format!("u{number}@example.com"), &[Role::User]).await?;
    let owner = object(&format!("key-{number}"), "first");
    let credential =
        store.accounts.managed().apply_key(&context(), &owner, &desired_key(user.id), OnUidMismatch::Reject).await?;
    let secret = KubernetesSecret::default();
    let mut world = World { store, owner, credential, secret, wanted: 1, activated: BTreeSet::new() };
    let mut rng = SeededRng::new(number);
    let mut leaders = [Leader::Idle, Leader::Idle];
    for _ in 0..24 {
        let which = usize::try_from(rng.below(2))?;
        let leader = std::mem::replace(&mut leaders[which], Leader::Idle);
        match rng.below(6) {
            // The leader crashes and loses its state.
            0 => {}
            // A rotation is requested.
            1 => {
                world.wanted += 1;
                leaders[which] = leader;
            }
            _ => leaders[which] = world.step(leader).await?,
        }
        world.assert_invariants().await?;
    }
    // Both leaders are gone. One comes back and finishes the work.
    let mut leader = Leader::Idle;
    // Three steps for each outstanding rotation, and for staged secrets that are left.
    for _ in 0..3 * (world.wanted + 2) {
        leader = world.step(leader).await?;
        world.assert_invariants().await?;
    }
    let versions = world.store.accounts.credentials().secrets(world.credential.id).await?;
    let count = |state| versions.iter().filter(|version| version.state == state).count();
    ensure!(count(SecretState::Active) == 1 && count(SecretState::Staged) == 0, "{versions:?}");
    let (content, _) = world.secret.content.as_ref().context("a Secret")?;
    ensure!(versions.iter().any(|version| version.id == *content && version.state == SecretState::Active));
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn under_any_schedule_of_two_leaders_one_secret_is_active_and_delivered(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for number in 1..=40 {
            schedule(&store, number).await.with_context(|| format!("schedule {number}"))?;
        }
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}
