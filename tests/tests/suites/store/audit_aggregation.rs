//! Aggregation of repeated audit events: they are counted instead of written one by one, and none
//! is lost.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use paddock_accounts::{Error, access::Principal};
use paddock_store::{
    audit::{AuditFilter, AuditRow},
    context::AuditContext,
};
use paddock_tests::{database::Engine, eventually::eventually, story::story};
use rstest::rstest;
use serde_json::Value;

use super::{StoreFixture, context, keys::new_key, open, refuse_audit_events};

impl StoreFixture {
    /// Creates a user with a key, and returns its principal and context.
    async fn principal(&self, email: &str) -> Result<(Arc<Principal>, AuditContext)> {
        let user = self.user(email, &[]).await?;
        let token = self.accounts.credentials().issue(&context(), new_key(user.id)).await?.token;
        let principal = self.accounts.authentication().authenticate(&token.plaintext().into()).await?;
        let principal = principal.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        let context = context().acting(principal.actor());
        Ok((Arc::clone(principal.principal()), context))
    }

    /// Records a refusal.
    async fn deny(&self, (principal, context): &(Arc<Principal>, AuditContext), route: &str) -> Result<(), Error> {
        self.accounts.authentication().record_denial(context, principal, route, "needs the role admin").await
    }

    /// The rows of a type, oldest first, each with the number of its events.
    async fn rows_of(&self, event_type: &str) -> Result<Vec<(AuditRow, u64)>> {
        let types = vec![event_type.parse().map_err(anyhow::Error::msg)?];
        let filter = AuditFilter { event_types: Some(types), ..AuditFilter::default() };
        let mut rows = self.accounts.audit().list(&filter, 500, AuditRow::owned).await?;
        rows.reverse();
        rows.into_iter().map(|row| times(&row).map(|times| (row, times))).collect()
    }

    /// The numbers of events of the rows of a type, oldest first.
    pub(super) async fn times_of(&self, event_type: &str) -> Result<Vec<u64>> {
        Ok(self.rows_of(event_type).await?.into_iter().map(|(_, times)| times).collect())
    }
}

fn times(row: &AuditRow) -> Result<u64> {
    let Some(change) = &row.change else { return Ok(1) };
    let change: Value = serde_json::from_str(change)?;
    change["after"]["times"].as_u64().with_context(|| format!("no times in {change}"))
}

/// Longer than the aggregation window of a minute.
const WINDOW: Duration = Duration::from_secs(61);

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_a_refusal_are_counted_in_the_next_row(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let (ada, bob) = (store.principal("ada@example.com").await?, store.principal("bob@example.com").await?);
        for _ in 0..5 {
            store.deny(&ada, "GET /users").await?;
        }
        ensure!(store.times_of("access_denied").await? == [1], "the first is written at once");
        // Another principal or route is counted apart.
        store.deny(&bob, "GET /users").await?;
        store.deny(&ada, "GET /audit").await?;
        ensure!(store.times_of("access_denied").await? == [1, 1, 1]);
        store.clock.advance(WINDOW);
        store.deny(&ada, "GET /users").await?;
        let rows = store.rows_of("access_denied").await?;
        let (row, times) = rows.last().context("a row")?;
        ensure!(*times == 5, "the event and four before it");
        ensure!(row.user_id == Some(ada.0.user_id.into()) && row.target.as_deref() == Some("GET /users"), "{row:?}");
        ensure!(row.detail.as_deref().is_some_and(|detail| detail.contains("2023-11-14T22:13:20")));
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn counts_are_written_after_a_minute_and_at_the_end_of_the_process(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.principal("ada@example.com").await?;
        let denials = (0..50).map(|_| store.deny(&ada, "GET /users"));
        futures_util::future::try_join_all(denials).await?;
        ensure!(store.times_of("access_denied").await? == [1]);
        let maintenance = tokio::spawn(store.accounts.audit().clone().run_maintenance());
        store.clock.advance(WINDOW);
        eventually("the count", Duration::from_secs(20), async || {
            let times = store.times_of("access_denied").await?;
            ensure!(times == [1, 49], "{times:?}");
            Ok(())
        })
        .await?;
        maintenance.abort();
        for _ in 0..3 {
            store.deny(&ada, "GET /users").await?;
        }
        let store = store.reopen(|_| ()).await?;
        let times = store.times_of("access_denied").await?;
        ensure!(times == [1, 49, 1, 2] && times.iter().sum::<u64>() == 53, "{times:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_are_counted_by_account_and_address(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let from = |ip: &str| -> Result<AuditContext> { Ok(AuditContext { ip: Some(ip.parse()?), ..context() }) };
        let (here, there) = (from("192.0.2.1")?, from("192.0.2.2")?);
        let attempt = async |context: &AuditContext, name: &str| {
            // Refused as wrong or as locked.
            let refused = store.accounts.sessions().login(context, name, "wrong".into()).await;
            ensure!(refused.is_err());
            Ok(())
        };
        for _ in 0..4 {
            attempt(&here, "nobody@example.com").await?;
        }
        attempt(&there, "nobody@example.com").await?;
        attempt(&here, "nowhere@example.com").await?;
        let rows = store.rows_of("login_failure").await?;
        let of = |name: &str, ip: &str| {
            rows.iter().filter(|(row, _)| (row.target.as_deref(), row.ip.as_deref()) == (Some(name), Some(ip))).count()
        };
        ensure!(of("nobody@example.com", "192.0.2.1") == 1, "{rows:?}");
        ensure!(of("nobody@example.com", "192.0.2.2") == 1 && of("nowhere@example.com", "192.0.2.1") == 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_could_not_be_written_is_counted(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.principal("ada@example.com").await?;
        let (refuse, allow) = refuse_audit_events(engine);
        store.database.execute(refuse).await?;
        let refused = store.deny(&ada, "GET /users").await;
        ensure!(matches!(refused, Err(Error::Store(paddock_store::Error::Audit(_)))), "{refused:?}");
        store.deny(&ada, "GET /users").await?;
        store.clock.advance(WINDOW);
        let refused = store.deny(&ada, "GET /users").await;
        ensure!(matches!(refused, Err(Error::Store(paddock_store::Error::Audit(_)))), "{refused:?}");
        store.database.execute(allow).await?;
        store.clock.advance(WINDOW);
        store.deny(&ada, "GET /users").await?;
        ensure!(store.times_of("access_denied").await? == [4], "each of the four is counted");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn consecutive_login_locks_are_counted(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let here = AuditContext { ip: Some("192.0.2.1".parse()?), ..context() };
        let attempt =
            async || store.accounts.sessions().login(&here, "nobody@example.com", "wrong".into()).await.map(drop);
        let (mut failed, mut locked) = (0, 0);
        while failed < 5 {
            match attempt().await {
                Err(Error::WrongPassword) => failed += 1,
                Err(Error::LoginLocked { .. }) => locked += 1,
                other => anyhow::bail!("{other:?}"),
            }
            store.clock.advance(Duration::from_millis(500));
        }
        ensure!(locked > 10, "{locked}");
        ensure!(store.rows_of("login_rate_limited").await?.len() == 1, "the first is written at once");
        let store = store.reopen(|_| ()).await?;
        let rows = store.rows_of("login_rate_limited").await?;
        let (row, _) = &rows[1];
        ensure!(
            row.target.as_deref() == Some("nobody@example.com") && row.ip.as_deref() == Some("192.0.2.1"),
            "{row:?}"
        );
        ensure!(rows.len() == 2 && rows[1].1 == 3, "one event for each of four locks: {rows:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_counts_are_written_at_the_end_of_the_process(#[case] engine: Engine) {
    story(async {
        const KINDS: u64 = 2_500;
        let store = open(engine).await?;
        let ada = store.principal("ada@example.com").await?;
        let denials = stream::iter((0..2 * KINDS).map(|number| (number % KINDS).to_string())).map(|number| {
            let (store, ada) = (&store, &ada);
            async move { store.deny(ada, &format!("GET /{number}")).await }
        });
        denials.buffer_unordered(8).try_collect::<Vec<()>>().await?;
        let store = store.reopen(|_| ()).await?;
        let rows = store
            .database
            .rows::<(Option<String>,)>("SELECT change FROM audit_logs WHERE event_type = 'access_denied'");
        let mut sum = 0;
        for (change,) in rows.await? {
            let change = change.map(|text| serde_json::from_str::<Value>(&text)).transpose()?;
            sum += change.and_then(|change| change["after"]["times"].as_u64()).unwrap_or(1);
        }
        ensure!(sum == 2 * KINDS, "{sum} are recorded");
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}
