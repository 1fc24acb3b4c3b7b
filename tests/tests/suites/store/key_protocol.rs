//! The three writes that bring a secret into a Kubernetes Secret, under every schedule of two leaders that do not know of
//! each other and die where they like.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::Error;
use paddock_accounts::credentials::{Credential, SecretState};
use paddock_accounts::gitops::DesiredKey;
use paddock_accounts::limits::Limits;
use paddock_accounts::managed::ManagedBy;
use paddock_accounts::secrets::{SecretId, Staged};
use paddock_accounts::sets::{Role, Scopes};
use paddock_accounts::token::Token;
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::{SeededRng, StoreFixture, context, object, open};

/// What the API server keeps: the Secret, and the version that a writer must know.
#[derive(Clone, Default)]
struct KubernetesSecret {
    version: u64,
    held: Option<(SecretId, Token)>,
}

/// A leader somewhere in its work.
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
    /// How many secrets are to be issued in all: rotations that were asked for, and the first one.
    wanted: usize,
    activated: BTreeSet<i64>,
}

impl World<'_> {
    /// One step of a leader, as the operator takes it: what it finds decides what it does.
    async fn step(&mut self, leader: Leader) -> Result<Leader> {
        match leader {
            Leader::Idle => self.begin().await,
            Leader::Staged { staged, seen } => {
                if self.secret.version != seen {
                    // The precondition fails: read again.
                    return Ok(Leader::Idle);
                }
                self.secret = KubernetesSecret { version: seen + 1, held: Some((staged.id, staged.token)) };
                Ok(Leader::Written { id: staged.id })
            }
            Leader::Written { id } => {
                self.activate(id).await?;
                Ok(Leader::Idle)
            }
        }
    }

    async fn begin(&mut self) -> Result<Leader> {
        let versions = self.store.accounts.secrets(self.credential.id).await?;
        let seen = self.secret.version;
        let held = self.secret.held.as_ref().map(|(id, _)| *id);
        let state = |id| versions.iter().find(|version| version.id == id).map(|version| version.state);
        if let Some(id) = held
            && state(id) == Some(SecretState::Staged)
        {
            return Ok(Leader::Written { id });
        }
        // A secret that was staged after the last activation, by a leader that died, is dropped by one more rotation: nothing
        // else tells that its writer will not come back.
        let stray = versions.iter().any(|version| version.state == SecretState::Staged);
        if !stray && self.activated.len() >= self.wanted && held.and_then(state) == Some(SecretState::Active) {
            return Ok(Leader::Idle);
        }
        let staged = self.store.accounts.stage_secret(&context(), &self.owner, self.credential.id, None).await?;
        Ok(Leader::Staged { staged, seen })
    }

    async fn activate(&mut self, id: SecretId) -> Result<()> {
        let grace = Duration::from_hours(1);
        let done = self.store.accounts.activate_secret(&context(), &self.owner, self.credential.id, id, grace).await;
        match done {
            Ok(()) => {
                self.activated.insert(id.0);
                Ok(())
            }
            // Another leader's secret took over in between.
            Err(Error::NotStaged) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// What holds at every moment: at most one secret is active, and what the Kubernetes Secret holds authenticates.
    async fn holds(&self) -> Result<()> {
        let versions = self.store.accounts.secrets(self.credential.id).await?;
        let active = versions.iter().filter(|version| version.state == SecretState::Active).count();
        ensure!(active <= 1, "{active} are active");
        if let Some((_, token)) = &self.secret.held {
            let judged = self.store.accounts.authenticate(token.plaintext().expose_secret()).await?;
            ensure!(judged.is_ok(), "the Secret does not authenticate: {judged:?}");
        }
        Ok(())
    }
}

async fn schedule(store: &StoreFixture, number: u64) -> Result<()> {
    let user = store.user(&format!("u{number}@example.com"), &[Role::User]).await?;
    let owner = object(&format!("key-{number}"), "first");
    let want = DesiredKey {
        user_id: user.id,
        label: "ci".into(),
        scopes: Scopes::default_for_keys(),
        models: None,
        limits: Limits::default(),
        expires_at: None,
    };
    let credential = store.accounts.apply_key(&context(), &owner, &want, false).await?;
    let secret = KubernetesSecret::default();
    let mut world = World { store, owner, credential, secret, wanted: 1, activated: BTreeSet::new() };
    let mut rng = SeededRng::new(number);
    let mut leaders = [Leader::Idle, Leader::Idle];
    for _ in 0..24 {
        let which = usize::try_from(rng.roll(2))?;
        let leader = std::mem::replace(&mut leaders[which], Leader::Idle);
        match rng.roll(6) {
            // It dies; what it knew is gone.
            0 => {}
            // Someone asks for a rotation.
            1 => {
                world.wanted += 1;
                leaders[which] = leader;
            }
            _ => leaders[which] = world.step(leader).await?,
        }
        world.holds().await?;
    }
    // Both leaders are gone; one comes back and settles.
    let mut leader = Leader::Idle;
    // Three steps for each rotation that is still to be done, and for the strays.
    for _ in 0..3 * (world.wanted + 2) {
        leader = world.step(leader).await?;
        world.holds().await?;
    }
    let versions = world.store.accounts.secrets(world.credential.id).await?;
    let count = |state| versions.iter().filter(|version| version.state == state).count();
    ensure!(count(SecretState::Active) == 1 && count(SecretState::Staged) == 0, "{versions:?}");
    let (held, _) = world.secret.held.as_ref().context("a Secret")?;
    ensure!(versions.iter().any(|version| version.id == *held && version.state == SecretState::Active));
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_two_leaders_do_one_secret_is_active_and_the_kubernetes_secret_authenticates(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for number in 1..=40 {
            schedule(&store, number).await.with_context(|| format!("schedule {number}"))?;
        }
        ensure!(store.accounts.verify_audit(|_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}
