//! Databases that stand still or have no room: every operation is refused in time, and did not happen, nor does later.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{join, try_join_all};
use paddock_tests::database::Database;
use paddock_tests::disk::Disk;
use paddock_tests::eventually::eventually;
use paddock_tests::postgres::{Durability, Postgres};
use paddock_tests::sentinel;
use paddock_tests::story::story;
use serde_json::json;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::super::Api;
use super::super::authorization::Cast;
use super::{EVENTS, Prepared, prepare, success};

/// In how many rounds they are stopped in the middle of their transactions: so many that those of one round are fewer than
/// there are connections, and that one of them at the most has a password to hash.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(20);

async fn served(url: &str) -> Result<(Api, Cast)> {
    let mut api = Api::on(url, Duration::from_secs(5)).await?;
    api.database = Some(Database::at(url)?);
    prepare(&api).await?;
    let cast = Cast::new(&api).await?;
    // No key's end is recorded meanwhile.
    let endless = "UPDATE credentials SET expires_at = NULL; UPDATE credential_secrets SET expires_at = NULL";
    api.behind()?.execute(endless).await?;
    Ok((api, cast))
}

/// Every operation, each with a session that is known by now, so that it gets as far as it would.
async fn every_operation(api: &Api, cast: &Cast) -> Result<Vec<Prepared>> {
    let mut requests = Vec::new();
    for (operation, ..) in EVENTS {
        requests.push(Prepared::new(api, cast, operation).await?);
    }
    for request in &requests {
        api.by(&request.session.token, "GET /me", 0).expect(200).await?;
    }
    Ok(requests)
}

/// All of them at once; what each is told.
async fn refused(api: &Api, requests: impl IntoIterator<Item = &Prepared>) -> Result<Vec<String>> {
    try_join_all(requests.into_iter().map(|request| request.refused(api))).await
}

/// They were told for certain that it was not done.
fn unchanged(said: &[String]) -> Result<()> {
    // Who asks to revoke many is told of how many.
    let certain = |said: &String| said.contains("nothing was changed") || said.contains("0 of 1 are revoked");
    ensure!(said.iter().all(certain), "{said:#?}");
    Ok(())
}

/// The same operations are done, now that they can be, and leave their records.
async fn goes_on(api: &Api, cast: &Cast) -> Result<()> {
    eventually("the API to be back", PATIENCE, async || api.anonymous("GET /readyz", 0).expect(200).await).await?;
    for (operation, event, _) in EVENTS {
        Prepared::new(api, cast, operation).await?.send(api, success(operation)).await?;
        assert_eq!(api.events(1).await?, [event], "{operation} afterwards");
        api.keep_password(operation).await?;
    }
    Ok(())
}

/// The sessions of Paddock's, and whether they are at work.
async fn sessions(other: &mut PgConnection) -> Result<Vec<(i32, bool)>> {
    let query = "SELECT pid, state <> 'idle' FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'paddock'";
    Ok(sqlx::query_as(query).fetch_all(other).await?)
}

/// Waits until whatever these sessions had been asked for is over, so that nothing more can come of it.
async fn settled(other: &mut PgConnection, asked: &[(i32, bool)]) -> Result<()> {
    eventually("the sessions of that time to end or to rest", PATIENCE, async || {
        let now = sessions(other).await?;
        let at_work: Vec<_> =
            now.iter().filter(|(pid, busy)| *busy && asked.iter().any(|(old, _)| old == pid)).collect();
        ensure!(at_work.is_empty(), "{at_work:?}");
        Ok(())
    })
    .await
}

/// Stops every process of the cluster while `asking` is answered.
async fn frozen<T>(cluster: &Postgres, asking: impl Future<Output = Result<T>>) -> Result<T> {
    cluster.freeze()?;
    let answered = asking.await;
    cluster.thaw()?;
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meets_a_frozen_postgres_does_not_happen() {
    story(async {
        let cluster = Postgres::start(Durability::Relaxed).await?;
        let url = cluster.empty_database().await?;
        let (api, cast) = Box::pin(served(&url)).await?;
        let mut other = PgConnection::connect(&url).await?;
        let requests = Box::pin(every_operation(&api, &cast)).await?;
        let before = api.state().await?;

        let asked = sessions(&mut other).await?;
        Box::pin(frozen(&cluster, refused(&api, &requests))).await.context("before they began")?;
        settled(&mut other, &asked).await?;
        assert_eq!(api.state().await?, before);

        for round in 0..ROUNDS {
            let requests: Vec<_> = requests.iter().skip(round).step_by(ROUNDS).collect();
            Box::pin(in_the_middle(&cluster, &api, &mut other, &requests)).await.context("in their middle")?;
            assert_eq!(api.state().await?, before);
        }
        Box::pin(goes_on(&api, &cast)).await
    })
    .await;
}

/// Freezes the cluster when each of the requests has made its change and waits to record it.
async fn in_the_middle(cluster: &Postgres, api: &Api, other: &mut PgConnection, requests: &[&Prepared]) -> Result<()> {
    eventually("the API to be back", PATIENCE, async || api.anonymous("GET /readyz", 0).expect(200).await).await?;
    for request in requests {
        api.by(&request.session.token, "GET /me", 0).expect(200).await?;
    }
    let mut holder = PgConnection::connect(api.behind()?.url()).await?;
    sqlx::raw_sql("BEGIN; UPDATE audit_head SET position = position").execute(&mut holder).await?;
    let stopping = async {
        // Not over the holder's connection: within a transaction the list of sessions stays as it was first read.
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
    let (refused, asked) = join(refused(api, requests.iter().copied()), stopping).await;
    cluster.thaw()?;
    refused?;
    // The way is free again for whoever still waits.
    holder.close().await?;
    settled(other, &asked?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meets_a_locked_sqlite_file_does_not_happen() {
    story(async {
        let folder = sentinel::scratch("sqlite")?;
        let url = format!("sqlite:{}", folder.path().join("paddock.db").display());
        let (api, cast) = Box::pin(served(&url)).await?;
        let requests = Box::pin(every_operation(&api, &cast)).await?;
        let before = api.state().await?;
        let mut other = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        Box::pin(refused(&api, &requests)).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
        other.close().await?;
        // Whoever still waited for the one connection that writes has had it before this.
        eventually("a user", PATIENCE, async || api.user(json!({})).await).await?;
        let after = api.state().await?;
        let changed: Vec<_> = after.iter().filter(|(table, rows)| before[*table] != **rows).collect();
        let tables: Vec<_> = changed.iter().map(|(table, _)| table.as_str()).collect();
        assert_eq!(tables, ["audit_head", "audit_logs", "sqlite_sequence", "users"]);
        ensure!(changed.iter().all(|(table, rows)| rows.len() <= before[*table].len() + 1), "something came late");
        Box::pin(goes_on(&api, &cast)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meets_a_full_disk_under_sqlite_does_not_happen() {
    story(async {
        let disk = Disk::small(16)?;
        let url = format!("sqlite:{}", disk.path().join("paddock.db").display());
        let (api, cast) = Box::pin(served(&url)).await?;
        let requests = Box::pin(every_operation(&api, &cast)).await?;
        let before = api.state().await?;
        // A log that begins anew needs room for the first thing that is written.
        let emptied: Vec<(i64, i64, i64)> = api.behind()?.rows("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        ensure!(emptied == [(0, 0, 0)], "{emptied:?}");

        let filling = disk.fill()?;
        let said = Box::pin(refused(&api, &requests)).await;
        filling.free()?;
        unchanged(&said?)?;
        assert_eq!(api.state().await?, before);
        Box::pin(goes_on(&api, &cast)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meets_a_full_disk_under_postgres_does_not_happen() {
    story(async {
        let disk = Disk::small(96)?;
        let mut cluster = Postgres::start_on(&disk, Durability::Full).await?;
        let url = cluster.empty_database().await?;
        let (api, cast) = Box::pin(served(&url)).await?;
        let requests = Box::pin(every_operation(&api, &cast)).await?;
        let before = api.state().await?;
        know_the_room(api.behind()?).await?;

        let filling = disk.fill()?;
        take_the_room(api.behind()?).await?;
        let said = Box::pin(refused(&api, &requests)).await;
        filling.free()?;
        unchanged(&said?)?;
        if cluster.process().is_some_and(|process| process.exited().is_some()) {
            cluster.restart().await?;
        }
        assert_eq!(api.state().await?, before);
        Box::pin(goes_on(&api, &cast)).await
    })
    .await;
}

/// Has the pages of the log that have room listed, where the next session finds them, and keeps that list as it is.
async fn know_the_room(database: &Database) -> Result<()> {
    for statement in ["ALTER TABLE audit_logs SET (autovacuum_enabled = off)", "VACUUM audit_logs", "CHECKPOINT"] {
        database.execute(statement).await?;
    }
    Ok(())
}

/// On a full disk a record still fits into a page that is there already. Fills them all with rows that nobody sees, each
/// shorter than any record, until not one more has had a place for a while.
async fn take_the_room(database: &Database) -> Result<()> {
    let rows = "DO $$ DECLARE refused INT := 0; number BIGINT := 9000000000000000000; BEGIN \
        WHILE refused < 100 LOOP BEGIN \
            number := number + 1; \
            INSERT INTO audit_logs (id, event_id, chain_version, event_type, occurred_at, actor, prev_hash, hash) \
            VALUES (number, gen_random_uuid(), 1, '', now(), '', '', ''); \
            refused := 0; \
        EXCEPTION WHEN disk_full THEN refused := refused + 1; END; END LOOP; \
        RAISE EXCEPTION 'full after %', number - 9000000000000000000; END $$";
    let ended = database.execute(rows).await.err().context("rows that were to be undone")?;
    ensure!(format!("{ended:#}").contains("full after"), "{ended:#}");
    Ok(())
}
