//! Concurrent changes: every invariant holds.

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use paddock_accounts::{
    Error, UserId,
    types::{Email, LimitsPatch, Role, Roles},
    users::{Created, NewUser, UserPatch},
};
use paddock_tests::{
    database::Engine,
    random::SeededRng,
    story::{soak_or, story},
};
use rstest::rstest;

use super::{StoreFixture, context, open};

const CROWD: usize = 200;

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creations_with_one_external_id_create_one_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let here = context();
        let racers = (0..CROWD).map(|_| async {
            let email = Email::parse("ada@example.com")?;
            let new = NewUser { external_id: Some("hr-7".into()), ..NewUser::new(email) };
            store.accounts.users().create(&here, new).await.map_err(anyhow::Error::from)
        });
        let outcomes = join_all(racers).await.into_iter().collect::<Result<Vec<_>>>()?;
        let created = outcomes.iter().filter(|outcome| matches!(outcome, Created::New(_))).count();
        ensure!(created == 1, "{created} were created");
        let one = match &outcomes[0] {
            Created::New(user) | Created::Existing(user) => user,
        };
        for Created::New(user) | Created::Existing(user) in &outcomes {
            ensure!(user == one);
        }
        ensure!(store.events().await? == ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creations_with_one_address_create_one_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let here = context();
        let racers =
            (0..CROWD).map(|i| {
                let (store, here) = (&store, &here);
                // Spellings of one address.
                let email = if i % 2 == 0 { "Ada@Example.com" } else { "ada@EXAMPLE.com" };
                async move {
                    store.accounts.users().create(here, NewUser::new(Email::parse(email).expect("an address"))).await
                }
            });
        let (created, refused): (Vec<_>, Vec<_>) = join_all(racers).await.into_iter().partition(Result::is_ok);
        ensure!(created.len() == 1, "{} were created", created.len());
        for refusal in refused {
            ensure!(matches!(refusal, Err(Error::EmailTaken(_))), "{refusal:?}");
        }
        ensure!(store.events().await? == ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_of_different_fields_are_all_kept(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[]).await?.id;
        for round in 1..=20_i64 {
            let set = Some(Some(round));
            // A limit of tokens is at most that of a longer time, in every order of the patches.
            let (per_day, per_month) = (100 + round, 1_000 + round);
            let limits = [
                LimitsPatch { requests_per_minute: set, ..LimitsPatch::default() },
                LimitsPatch { tokens_per_minute: set, ..LimitsPatch::default() },
                LimitsPatch { tokens_per_day: Some(Some(per_day)), ..LimitsPatch::default() },
                LimitsPatch { tokens_per_month: Some(Some(per_month)), ..LimitsPatch::default() },
                LimitsPatch { max_concurrent: set, ..LimitsPatch::default() },
            ];
            let mut patches = limits.map(|limits| UserPatch { limits, ..UserPatch::default() }).to_vec();
            patches.push(UserPatch { display_name: Some(Some(format!("Ada {round}"))), ..UserPatch::default() });
            let here = context();
            for outcome in
                join_all(patches.into_iter().map(|patch| store.accounts.users().update(&here, ada, patch, Ok(()))))
                    .await
            {
                outcome?;
            }
            let after = store.accounts.users().find(ada).await?.expect("she is there");
            let limits = after.limits;
            let all = [
                limits.requests_per_minute,
                limits.tokens_per_minute,
                limits.tokens_per_day,
                limits.tokens_per_month,
                limits.max_concurrent,
            ];
            let expected = [round, round, per_day, per_month, round].map(Some);
            ensure!(all == expected, "round {round}: {limits:?}");
            ensure!(after.display_name == Some(format!("Ada {round}")));
        }
        Ok(())
    })
    .await;
}

/// A change after which an admin no longer counts as one.
#[derive(Clone, Copy, Debug)]
enum Removal {
    Demoted,
    Disabled,
    Deleted,
    Silenced,
}

impl Removal {
    fn random(rng: &mut SeededRng) -> Self {
        match rng.below(4) {
            0 => Self::Demoted,
            1 => Self::Disabled,
            2 => Self::Deleted,
            _ => Self::Silenced,
        }
    }

    async fn apply(self, store: &StoreFixture, id: UserId) -> Result<(), Error> {
        let patch = match self {
            Self::Demoted => UserPatch { roles: Some(Roles::default()), ..UserPatch::default() },
            Self::Disabled => UserPatch { is_active: Some(false), ..UserPatch::default() },
            Self::Silenced => {
                let limits = LimitsPatch { requests_per_minute: Some(Some(0)), ..LimitsPatch::default() };
                UserPatch { limits, ..UserPatch::default() }
            }
            Self::Deleted => return store.accounts.users().delete(&context(), id, Ok(())).await,
        };
        store.accounts.users().update(&context(), id, patch, Ok(())).await.map(|_| ())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres, soak_or(1_000, 60))]
#[case::sqlite(Engine::Sqlite, soak_or(200, 20))]
#[tokio::test(flavor = "multi_thread")]
async fn of_two_last_admins_one_stays(#[case] engine: Engine, #[case] rounds: usize) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(7);
        let mut last = store.user("admin@example.com", &[Role::Admin]).await?.id;
        for round in 0..rounds {
            let other = store.user(&format!("admin-{round}@example.com"), &[Role::Admin]).await?.id;
            let (one, two) = (Removal::random(&mut rng), Removal::random(&mut rng));
            let (first, second) = tokio::join!(one.apply(&store, last), two.apply(&store, other));
            last = match (first, second) {
                (Ok(()), Err(Error::LastAdmin)) => other,
                (Err(Error::LastAdmin), Ok(())) => last,
                both => anyhow::bail!("round {round}: {one:?} and {two:?} ended in {both:?}"),
            };
            let left = store.accounts.users().find(last).await?.expect("one stays");
            let is_admin = left.is_active && left.roles.has(Role::Admin) && left.limits.requests_per_minute != Some(0);
            ensure!(is_admin, "round {round}: {left:?}");
        }
        Ok(())
    })
    .await;
}
