//! Pulls as rows: the queue, the claims of processes, and the removal of old pulls.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::{
    PullJobId, UserId,
    pulls::{CLAIM_TTL, NewPull, PullJob, PullProgress, PullState, Started},
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, open, refuse_audit_events};

impl StoreFixture {
    async fn start_pull(&self, model: &str) -> Result<Started> {
        let (model, written) = (model.to_owned(), model.to_uppercase());
        let new = NewPull { model, written, user_id: UserId(1), credential_id: None };
        Ok(self.accounts.pulls().start(&context(), &new).await?)
    }

    async fn new_pull(&self, model: &str) -> Result<PullJobId> {
        match self.start_pull(model).await? {
            Started::New(job) => Ok(job.id),
            Started::Joined(job) => anyhow::bail!("joined {job:?}"),
        }
    }

    async fn pull(&self, id: PullJobId) -> Result<PullJob> {
        self.accounts.pulls().find(id).await?.context("a pull")
    }
}

fn half() -> PullProgress {
    PullProgress {
        percent: 50,
        completed_bytes: 5,
        total_bytes: 10,
        bytes_per_second: Some(1),
        steps: "[\"half\"]".to_owned(),
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_for_a_model_share_one_pull(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let started = try_join_all((0..20).map(|_| store.start_pull("m"))).await?;
        let new = started.iter().filter(|started| matches!(started, Started::New(_))).count();
        let ids: BTreeSet<_> = started
            .iter()
            .map(|started| match started {
                Started::New(job) | Started::Joined(job) => job.id,
            })
            .collect();
        assert_eq!((new, ids.len()), (1, 1));
        assert_eq!(store.events().await?, ["model_pull_started"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_get_each_pull_once_and_respect_the_limit(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for number in 0..10 {
            store.new_pull(&format!("m{number}")).await?;
        }
        let mut claimed = Vec::new();
        for _ in 0..4 {
            let claims = try_join_all((0..8).map(|_| store.accounts.pulls().claim(3))).await?;
            claimed.extend(claims.into_iter().flatten());
            ensure!(claimed.len() <= 3, "{} run at once", claimed.len());
        }
        let ids: BTreeSet<_> = claimed.iter().map(|claimed| claimed.job.id).collect();
        assert_eq!(ids, BTreeSet::from([1, 2, 3].map(PullJobId)));
        for claimed in &claimed {
            store.accounts.pulls().succeed(claimed, &half()).await?;
        }
        let next = store.accounts.pulls().claim(3).await?.context("a pull")?;
        assert_eq!(next.job.id, PullJobId(4));
        assert_eq!(store.accounts.pulls().claim(0).await?.map(|claimed| claimed.job), None);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_lost_its_claim_changes_nothing(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let pulls = || store.accounts.pulls();
        let id = store.new_pull("m").await?;
        let dead = pulls().claim(1).await?.context("a pull")?;
        assert_eq!(dead.job.written, "M");
        ensure!(pulls().renew(&dead, &half()).await?);
        let second = Duration::from_secs(1);
        store.clock.advance(CLAIM_TTL.saturating_sub(second));
        ensure!(pulls().claim(1).await?.is_none(), "the claim is still valid");
        store.clock.advance(second);
        let heir = pulls().claim(1).await?.context("the pull of the dead process")?;
        assert_eq!((heir.job.id, &heir.job.progress), (id, &half()));

        let other = PullProgress { percent: 1, ..half() };
        ensure!(!pulls().renew(&dead, &other).await?);
        pulls().succeed(&dead, &other).await?;
        pulls().fail(&dead, "too late", &other).await?;
        pulls().release(&dead).await?;
        let pull = store.pull(id).await?;
        assert_eq!((pull.state, &pull.progress), (PullState::Running, &half()));
        assert_eq!(store.events().await?, ["model_pull_started"]);

        pulls().release(&heir).await?;
        let again = pulls().claim(1).await?.context("a pull that was given up")?;
        pulls().fail(&again, "the registry is gone", &half()).await?;
        let pull = store.pull(id).await?;
        assert_eq!((pull.state, pull.reason.as_deref()), (PullState::Failed, Some("the registry is gone")));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_stays_cancelled(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let pulls = || store.accounts.pulls();
        let id = store.new_pull("m").await?;
        let claimed = pulls().claim(1).await?.context("a pull")?;
        ensure!(pulls().cancel(&context(), id).await?);
        ensure!(!pulls().cancel(&context(), id).await?, "a second time");
        ensure!(!pulls().renew(&claimed, &half()).await?);
        pulls().succeed(&claimed, &half()).await?;
        assert_eq!(store.pull(id).await?.state, PullState::Cancelled);
        assert_eq!(store.events().await?, ["model_pull_started", "model_pull_cancelled"]);
        ensure!(store.new_pull("m").await? != id);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_cannot_be_recorded_is_no_success(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let id = store.new_pull("m").await?;
        let claimed = store.accounts.pulls().claim(1).await?.context("a pull")?;
        let (refuse, allow) = refuse_audit_events(engine);
        store.database.execute(refuse).await?;
        ensure!(store.accounts.pulls().succeed(&claimed, &half()).await.is_err());
        assert_eq!(store.pull(id).await?.state, PullState::Running);
        store.database.execute(allow).await?;
        store.accounts.pulls().succeed(&claimed, &half()).await?;
        assert_eq!(store.pull(id).await?.state, PullState::Succeeded);
        assert_eq!(store.events().await?, ["model_pull_started", "model_pulled"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn old_pulls_are_removed_except_the_last_hundred(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let pulls = || store.accounts.pulls();
        let unfinished = store.new_pull("unfinished").await?;
        let finish = async |count: usize| {
            for number in 0..count {
                let id = store.new_pull(&format!("m{number}")).await?;
                pulls().cancel(&context(), id).await?;
            }
            pulls().sweep().await?;
            Ok::<_, anyhow::Error>(pulls().list(1, 0).await?.1)
        };
        assert_eq!(finish(110).await?, 111);
        store.clock.advance(Duration::from_hours(7 * 24 + 1));
        assert_eq!(finish(0).await?, 101);
        assert_eq!(finish(5).await?, 101);
        assert_eq!(store.pull(unfinished).await?.state, PullState::Queued);
        Ok(())
    })
    .await;
}
