//! Retention: expired rows are removed, and the rest of the log stays verifiable.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_store::audit::{AuditFilter, AuditRow, Head, KnownHead, Verified, VerifyError};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::Value;

use super::{StoreFixture, context, open, open_with};

const DAY: Duration = Duration::from_hours(24);

/// A log of `old` users of three days ago and `young` users of today.
async fn old_and_young(engine: Engine, old: usize, young: usize) -> Result<StoreFixture> {
    let store = open_with(engine, |options| options.audit_retention_days = Some(2)).await?;
    for number in 0..old {
        store.user(&format!("old-{number}@example.com"), &[]).await?;
    }
    store.clock.advance(3 * DAY);
    for number in 0..young {
        store.user(&format!("young-{number}@example.com"), &[]).await?;
    }
    Ok(store)
}

impl StoreFixture {
    async fn verify(&self, heads: &[KnownHead]) -> Result<Result<Verified, VerifyError>> {
        Ok(self.accounts.audit().verify(heads, |_| ()).await?)
    }

    async fn known(&self, position: i64) -> Result<KnownHead> {
        let filter = AuditFilter { before: Some(position + 1), ..AuditFilter::default() };
        let row = self.accounts.audit().list(&filter, 1, AuditRow::owned).await?.pop().context("a row")?;
        Ok(KnownHead { source: format!("row {position}"), head: Head { position: row.id, hash: row.hash } })
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn expired_rows_are_removed_and_the_rest_is_verified(#[case] engine: Engine) {
    story(async {
        let store = old_and_young(engine, 10, 5).await?;
        ensure!(store.accounts.audit().trim().await? == 10);
        let whole = store.verify(&[]).await?.expect("it is whole");
        ensure!((whole.trimmed, whole.rows) == (10, 6), "{whole:?}");
        store.user("new@example.com", &[]).await?;
        ensure!(store.verify(&[]).await?.is_ok(), "the chain does not continue");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_trim_is_recorded_with_the_removed_rows(#[case] engine: Engine) {
    story(async {
        let store = old_and_young(engine, 10, 5).await?;
        let last = store.known(10).await?.head;
        store.accounts.audit().trim().await?;
        let newest =
            store.accounts.audit().list(&AuditFilter::default(), 1, AuditRow::owned).await?.pop().context("a row")?;
        ensure!(newest.event_type == "audit_trimmed" && newest.actor == "system:retention", "{newest:?}");
        ensure!(newest.detail.as_deref() == Some("rows 1 to 10 were removed"), "{newest:?}");
        let change: Value = serde_json::from_str(newest.change.as_deref().context("a change")?)?;
        ensure!(change["after"]["position"] == 10 && change["after"]["hash"] == last.hash, "{change}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn known_heads_of_removed_rows_are_still_checked(#[case] engine: Engine) {
    story(async {
        let store = old_and_young(engine, 10, 5).await?;
        let heads = [store.known(7).await?, store.known(10).await?, store.known(12).await?];
        store.accounts.audit().trim().await?;
        let whole = store.verify(&heads).await?.expect("it is whole");
        ensure!(whole.beyond == Some(4) && whole.outlived == ["row 7"], "{whole:?}");
        let forged = KnownHead { head: Head { position: 10, hash: heads[0].head.hash.clone() }, ..heads[1].clone() };
        ensure!(matches!(store.verify(&[forged]).await?, Err(VerifyError::Rewritten { position: 10, .. })));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_kept_to_the_end_of_their_last_day(#[case] engine: Engine) {
    story(async {
        let store = old_and_young(engine, 10, 5).await?;
        store.accounts.audit().trim().await?;
        ensure!(store.accounts.audit().trim().await? == 0, "younger rows are removed");
        ensure!(store.events().await?.len() == 6, "a trim without rows is recorded");
        store.clock.advance(2 * DAY);
        ensure!(store.accounts.audit().trim().await? == 0, "rows are removed before the end of their day");
        store.clock.advance(DAY);
        ensure!(store.accounts.audit().trim().await? == 6);
        ensure!(store.events().await? == ["audit_trimmed"]);
        let whole = store.verify(&[]).await?.expect("it is whole");
        ensure!((whole.trimmed, whole.rows) == (16, 1), "{whole:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_changed_is_not_trimmed(#[case] engine: Engine) {
    story(async {
        let store = old_and_young(engine, 4, 4).await?;
        store.database.execute("CREATE TABLE kept AS SELECT * FROM audit_logs").await?;
        for attack in [
            // A row is dated back, so that retention would remove it.
            "UPDATE audit_logs SET occurred_at = (SELECT min(occurred_at) FROM kept) WHERE id = 5",
            "UPDATE audit_logs SET actor = 'system:x' WHERE id = 2",
            "DELETE FROM audit_logs WHERE id = 3",
            "UPDATE audit_anchor SET position = 2, hash = (SELECT hash FROM kept WHERE id = 2); \
             DELETE FROM audit_logs WHERE id <= 2",
        ] {
            store.database.execute(attack).await?;
            let left = store.accounts.audit().list(&AuditFilter::default(), 100, AuditRow::owned).await?;
            let refused = store.accounts.audit().trim().await;
            ensure!(matches!(refused, Err(paddock_store::Error::Corrupt(_))), "{attack}: {refused:?}");
            ensure!(
                store.accounts.audit().list(&AuditFilter::default(), 100, AuditRow::owned).await? == left,
                "{attack}: rows are gone"
            );
            store
                .database
                .execute(
                    "DELETE FROM audit_logs; INSERT INTO audit_logs SELECT * FROM kept; \
                     UPDATE audit_anchor SET position = 0, hash = '', seal = ''",
                )
                .await?;
        }
        ensure!(store.accounts.audit().trim().await? == 4, "it goes on when the log is whole again");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_trims_remove_the_rows_once(#[case] engine: Engine) {
    story(async {
        let store = old_and_young(engine, 10, 1).await?;
        let removed = try_join_all((0..8).map(|_| store.accounts.audit().trim())).await?;
        ensure!(removed.iter().sum::<i64>() == 10, "{removed:?}");
        let trimmed = store.events().await?.iter().filter(|name| *name == "audit_trimmed").count();
        ensure!(trimmed == 1, "{trimmed} events");
        ensure!(store.verify(&[]).await?.is_ok());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_nothing_is_removed() {
    story(async {
        let store = open(Engine::Sqlite).await?;
        store.user("ada@example.com", &[]).await?;
        store.clock.advance(36_500 * DAY);
        ensure!(store.accounts.audit().trim().await? == 0);
        ensure!(store.events().await? == ["user_created"]);
        Ok(())
    })
    .await;
}

/// Rows are removed after verification has read its first page.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_trimmed_during_verification_is_valid(#[case] engine: Engine) {
    story(async {
        let store = open_with(engine, |options| options.audit_retention_days = Some(2)).await?;
        let user = store.user("ada@example.com", &[]).await?;
        // Enough for more than one page.
        let writers = (0..12).map(|_| async {
            for _ in 0..100 {
                store.accounts.sessions().logout_everywhere(&context(), user.id).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(writers).await?;
        store.clock.advance(3 * DAY);
        store.user("bob@example.com", &[]).await?;
        let mut removed = None;
        let verdict = store
            .accounts
            .audit()
            .verify(&[], |_| {
                if removed.is_none() {
                    let trim = store.accounts.audit().trim();
                    removed = Some(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(trim)));
                }
            })
            .await?;
        let removed = removed.context("it was called")??;
        ensure!(removed == 1201, "{removed}");
        let whole = verdict.expect("it is whole");
        ensure!((whole.trimmed, whole.rows) == (1201, 2), "{whole:?}");
        Ok(())
    })
    .await;
}
