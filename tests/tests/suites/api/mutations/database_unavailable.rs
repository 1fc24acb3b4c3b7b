//! Frozen databases and full disks: every mutation is refused in time, and does not happen then or
//! later.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{join, try_join_all};
use paddock_tests::{
    database::Database,
    disk::Disk,
    eventually::eventually,
    postgres::{Durability, Postgres},
    reaper,
    story::story,
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::{
    super::{Api, authorization::Callers},
    EVENTS, PreparedRequest, prepare, success,
};

/// The number of rounds in which transactions are interrupted. The operations of one round need
/// fewer connections than there are, and at most one of them hashes a password.
const ROUNDS: usize = 5;
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The API over the database at this URL, and a caller of each kind.
async fn served(url: &str) -> Result<(Api, Callers)> {
    let mut api = Api::over(url).await?;
    api.database = Some(Database::open(url)?);
    prepare(&api).await?;
    let callers = Callers::new(&api).await?;
    // No key may expire and be recorded meanwhile.
    let endless = "UPDATE credentials SET expires_at = NULL; UPDATE credential_secrets SET expires_at = NULL";
    api.database()?.execute(endless).await?;
    Ok((api, callers))
}

/// A request for every operation, each with a cached session, so that it reaches its transaction.
async fn every_operation(api: &Api, callers: &Callers) -> Result<Vec<PreparedRequest>> {
    let mut requests = Vec::new();
    for (operation, ..) in EVENTS {
        requests.push(PreparedRequest::new(api, callers, operation).await?);
    }
    for request in &requests {
        api.by(&request.session.token).get("/me").expect(200).await?;
    }
    Ok(requests)
}

/// Sends all requests at once while the database is unavailable, and returns the bodies of the
/// refusals.
async fn assert_unavailable(api: &Api, requests: impl IntoIterator<Item = &PreparedRequest>) -> Result<Vec<String>> {
    try_join_all(requests.into_iter().map(|request| request.assert_unavailable(api))).await
}

/// Asserts that every refusal promises that nothing was changed.
fn assert_unchanged(refusals: &[String]) -> Result<()> {
    // A bulk revocation reports the number of revoked keys instead.
    let is_certain = |body: &String| body.contains("nothing was changed") || body.contains("0 of 1 are revoked");
    ensure!(refusals.iter().all(is_certain), "{refusals:#?}");
    Ok(())
}

/// Asserts that every operation succeeds again and leaves its event.
async fn assert_recovered(api: &Api, callers: &Callers) -> Result<()> {
    eventually("the API to be back", EVENT_TIMEOUT, async || api.anonymous().get("/readyz").expect(200).await).await?;
    for (operation, event, _) in EVENTS {
        PreparedRequest::new(api, callers, operation).await?.send(api, success(operation)).await?;
        assert_eq!(api.events(1).await?, [event], "{operation} afterwards");
        api.restore_password(operation).await?;
    }
    Ok(())
}

/// The database sessions of Paddock, each with whether it is busy.
async fn sessions(other: &mut PgConnection) -> Result<Vec<(i32, bool)>> {
    let query = "SELECT pid, state <> 'idle' FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'paddock'";
    Ok(sqlx::query_as(query).fetch_all(other).await?)
}

/// Waits until the queries of these sessions are over, so that they can have no later effect.
async fn wait_until_settled(other: &mut PgConnection, asked: &[(i32, bool)]) -> Result<()> {
    eventually("the earlier sessions to end or to be idle", EVENT_TIMEOUT, async || {
        let now = sessions(other).await?;
        let at_work: Vec<_> =
            now.iter().filter(|(pid, busy)| *busy && asked.iter().any(|(old, _)| old == pid)).collect();
        ensure!(at_work.is_empty(), "{at_work:?}");
        Ok(())
    })
    .await
}

/// Suspends the cluster while `requests` are answered.
async fn while_frozen<T>(cluster: &Postgres, requests: impl Future<Output = Result<T>>) -> Result<T> {
    cluster.freeze()?;
    let answered = requests.await;
    cluster.thaw()?;
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_on_a_frozen_postgres_does_not_happen() {
    story(async {
        let cluster = Postgres::start(Durability::Relaxed).await?;
        let url = cluster.empty_database().await?;
        let (api, callers) = Box::pin(served(&url)).await?;
        let mut other = PgConnection::connect(&url).await?;
        let requests = Box::pin(every_operation(&api, &callers)).await?;
        let before = api.state().await?;

        let asked = sessions(&mut other).await?;
        Box::pin(while_frozen(&cluster, assert_unavailable(&api, &requests)))
            .await
            .context("before the transactions")?;
        wait_until_settled(&mut other, &asked).await?;
        assert_eq!(api.state().await?, before);

        for round in 0..ROUNDS {
            let requests: Vec<_> = requests.iter().skip(round).step_by(ROUNDS).collect();
            Box::pin(interrupt(&cluster, &api, &mut other, &requests)).await.context("during the transactions")?;
            assert_eq!(api.state().await?, before);
        }
        Box::pin(assert_recovered(&api, &callers)).await
    })
    .await;
}

/// Suspends the cluster when each request has made its change and waits to record it.
async fn interrupt(
    cluster: &Postgres,
    api: &Api,
    other: &mut PgConnection,
    requests: &[&PreparedRequest],
) -> Result<()> {
    eventually("the API to be back", EVENT_TIMEOUT, async || api.anonymous().get("/readyz").expect(200).await).await?;
    for request in requests {
        api.by(&request.session.token).get("/me").expect(200).await?;
    }
    let mut holder = PgConnection::connect(api.database()?.url()).await?;
    sqlx::raw_sql("BEGIN; UPDATE audit_head SET position = position").execute(&mut holder).await?;
    let stopping = async {
        // Not over the holder's connection: within a transaction the list of sessions does not
        // change.
        let asked = eventually("all to wait for the head of the log", Duration::from_secs(4), async || {
            let waiting: Vec<(i32, bool)> = sqlx::query_as(
                "SELECT pid, true FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'paddock' AND wait_event_type = 'Lock'",
            )
            .fetch_all(&mut *other)
            .await?;
            ensure!(waiting.len() == requests.len(), "{} of {}", waiting.len(), requests.len());
            Ok(waiting)
        })
        .await?;
        cluster.freeze()?;
        Ok::<_, anyhow::Error>(asked)
    };
    let (refused, asked) = join(assert_unavailable(api, requests.iter().copied()), stopping).await;
    cluster.thaw()?;
    refused?;
    // Releases the lock for requests that still wait.
    holder.close().await?;
    wait_until_settled(other, &asked?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_on_a_locked_sqlite_file_does_not_happen() {
    story(async {
        let folder = reaper::scratch_dir("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let (api, callers) = Box::pin(served(&url)).await?;
        let requests = Box::pin(every_operation(&api, &callers)).await?;
        let before = api.state().await?;
        let mut other = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        Box::pin(assert_unavailable(&api, &requests)).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
        // Requests that still waited for the writing connection have had it before this one.
        eventually("a user", EVENT_TIMEOUT, async || api.user(json!({})).await).await?;
        let after = api.state().await?;
        let changed: Vec<_> = after.iter().filter(|(table, rows)| before[*table] != **rows).collect();
        let tables: Vec<_> = changed.iter().map(|(table, _)| table.as_str()).collect();
        assert_eq!(tables, ["audit_head", "audit_logs", "sqlite_sequence", "users"]);
        ensure!(changed.iter().all(|(table, rows)| rows.len() <= before[*table].len() + 1), "something came late");
        Box::pin(assert_recovered(&api, &callers)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_on_a_full_disk_under_sqlite_does_not_happen() {
    story(async {
        let disk = Disk::small(16)?;
        let url = format!("sqlite:{}", disk.path().join("paddock.db").display());
        let (api, callers) = Box::pin(served(&url)).await?;
        let requests = Box::pin(every_operation(&api, &callers)).await?;
        let before = api.state().await?;
        // An emptied write-ahead log needs space for the first write.
        let emptied: Vec<(i64, i64, i64)> = api.database()?.rows("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        ensure!(emptied == [(0, 0, 0)], "{emptied:?}");

        let filling = disk.fill()?;
        let refusals = Box::pin(assert_unavailable(&api, &requests)).await;
        filling.free()?;
        assert_unchanged(&refusals?)?;
        assert_eq!(api.state().await?, before);
        Box::pin(assert_recovered(&api, &callers)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_on_a_full_disk_under_postgres_does_not_happen() {
    story(async {
        let disk = Disk::small(96)?;
        let mut cluster = Postgres::start_on(&disk, Durability::Full).await?;
        let url = cluster.empty_database().await?;
        let (api, callers) = Box::pin(served(&url)).await?;
        let requests = Box::pin(every_operation(&api, &callers)).await?;
        let before = api.state().await?;
        fix_free_space(api.database()?).await?;

        let filling = disk.fill()?;
        use_up_free_space(api.database()?).await?;
        let refusals = Box::pin(assert_unavailable(&api, &requests)).await;
        filling.free()?;
        assert_unchanged(&refusals?)?;
        if cluster.process().is_some_and(|process| process.exit_status().is_some()) {
            cluster.restart().await?;
        }
        assert_eq!(api.state().await?, before);
        Box::pin(assert_recovered(&api, &callers)).await
    })
    .await;
}

/// Lists the pages of the audit log with free space for the next session, and freezes that list.
async fn fix_free_space(database: &Database) -> Result<()> {
    for statement in ["ALTER TABLE audit_logs SET (autovacuum_enabled = off)", "VACUUM audit_logs", "CHECKPOINT"] {
        database.execute(statement).await?;
    }
    Ok(())
}

/// Fills the existing pages of the audit log, where an event would still fit on a full disk, with
/// rolled-back rows that are shorter than any event.
async fn use_up_free_space(database: &Database) -> Result<()> {
    let rows = "DO $$ DECLARE refused INT := 0; number BIGINT := 9000000000000000000; BEGIN \
        WHILE refused < 100 LOOP BEGIN \
            number := number + 1; \
            INSERT INTO audit_logs (id, event_id, chain_version, event_type, occurred_at, actor, prev_hash, hash) \
            VALUES (number, gen_random_uuid(), 1, '', now(), '', '', ''); \
            refused := 0; \
        EXCEPTION WHEN disk_full THEN refused := refused + 1; END; END LOOP; \
        RAISE EXCEPTION 'full after %', number - 9000000000000000000; END $$";
    let ended = database.execute(rows).await.err().context("the rows were not rolled back")?;
    ensure!(format!("{ended:#}").contains("full after"), "{ended:#}");
    Ok(())
}
