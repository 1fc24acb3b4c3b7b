//! The audit log: its chain, and that verification finds every change.

use std::sync::Arc;

use anyhow::ensure;
use paddock_accounts::{
    Accounts, Error,
    credentials::NewKey,
    passwords::PasswordPolicy,
    types::{Email, Limits, Priority, Role},
    users::{Created, NewUser, UserSearch},
};
use paddock_store::{
    OpenOptions,
    audit::{AuditFilter, AuditRow, Chain},
    context::{Actor, AuditContext},
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::Value;
use uuid::Uuid;

use super::{context, open, refuse_audit_events, sessions};

/// Edits of each column, and of whole rows. The table `other` has a time and an event id that no
/// row has.
const EDITS: [&str; 24] = [
    "UPDATE audit_logs SET event_type = 'user_updatee' WHERE id = 2",
    "UPDATE audit_logs SET user_id = user_id + 1 WHERE id = 2",
    "UPDATE audit_logs SET occurred_at = (SELECT moment FROM other) WHERE id = 2",
    "UPDATE audit_logs SET user_id = NULL WHERE id = 2",
    "UPDATE audit_logs SET credential_id = 0 WHERE id = 2",
    "UPDATE audit_logs SET actor = 'system:tess' WHERE id = 2",
    "UPDATE audit_logs SET target = target || ' ' WHERE id = 2",
    "UPDATE audit_logs SET ip = '' WHERE id = 2",
    "UPDATE audit_logs SET user_agent = '' WHERE id = 2",
    "UPDATE audit_logs SET request_id = 'x' WHERE id = 2",
    "UPDATE audit_logs SET detail = '' WHERE id = 2",
    "UPDATE audit_logs SET change = replace(change, 'b', 'c') WHERE id = 2",
    "UPDATE audit_logs SET chain_version = 2 WHERE id = 2",
    "UPDATE audit_logs SET hash = 'x' || substr(hash, 2) WHERE id = 2",
    "UPDATE audit_logs SET prev_hash = 'x' || substr(prev_hash, 2) WHERE id = 2",
    "UPDATE audit_logs SET event_id = (SELECT event_id FROM other) WHERE id = 2",
    "UPDATE audit_logs SET id = 9 WHERE id = 2",
    "DELETE FROM audit_logs WHERE id = 1",
    "DELETE FROM audit_logs WHERE id = 2",
    "DELETE FROM audit_logs WHERE id = 4",
    "DELETE FROM audit_logs",
    "UPDATE audit_logs SET id = 5 WHERE id = 3; UPDATE audit_logs SET id = 3 WHERE id = 2; UPDATE audit_logs SET id = 2 WHERE id = 5",
    "UPDATE audit_head SET hash = ''",
    "UPDATE audit_head SET position = 0, hash = ''",
];

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_edit_of_the_log_is_found(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for name in ["ada", "bob", "cyd", "dan"] {
            store.user(&format!("{name}@example.com"), &[]).await?;
        }
        let whole = store.accounts.audit().verify(&[], |_| ()).await?.expect("it is whole");
        ensure!(whole.rows == 4);
        let (later, another) = match engine {
            Engine::Postgres => ("+ interval '1 microsecond'", "gen_random_uuid()"),
            Engine::Sqlite => ("+ 1", "randomblob(16)"),
        };
        store.database.execute(&format!(
                "CREATE TABLE kept AS SELECT * FROM audit_logs; CREATE TABLE kept_head AS SELECT * FROM audit_head; \
                 CREATE TABLE other AS SELECT max(occurred_at) {later} AS moment, {another} AS event_id FROM audit_logs"
            ))
            .await?;
        for edit in EDITS {
            store.database.execute(edit).await?;
            let verdict = store.accounts.audit().verify(&[], |_| ()).await?;
            ensure!(verdict.is_err(), "not found: {edit}");
            store.database.execute(
                    "DELETE FROM audit_logs; INSERT INTO audit_logs SELECT * FROM kept; \
                     UPDATE audit_head SET hash = (SELECT hash FROM kept_head), position = (SELECT position FROM kept_head)",
                )
                .await?;
            ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok(), "the log was not put back after {edit}");
        }
        Ok(())
    })
    .await;
}

/// The text columns, including hashes.
const TEXT_COLUMNS: [&str; 10] =
    ["event_type", "actor", "target", "ip", "user_agent", "request_id", "detail", "change", "prev_hash", "hash"];
/// The integer columns.
const INTEGER_COLUMNS: [&str; 4] = ["id", "chain_version", "user_id", "credential_id"];

/// The schema refuses a row before the first one, so that its constraint is dropped first.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_row_before_the_first_is_found(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user("ada@example.com", &[]).await?;
        let other_id = match engine {
            Engine::Postgres => "gen_random_uuid()",
            Engine::Sqlite => "randomblob(16)",
        };
        let forge = |id: i64| {
            format!("UPDATE forged SET id = {id}, event_id = {other_id}; INSERT INTO audit_logs SELECT * FROM forged")
        };
        store.database.execute("CREATE TABLE forged AS SELECT * FROM audit_logs").await?;
        ensure!(store.database.execute(&forge(0)).await.is_err(), "the schema takes it");
        let unguard = match engine {
            Engine::Postgres => "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_id_check",
            Engine::Sqlite => "PRAGMA ignore_check_constraints = ON",
        };
        for id in [0, -7] {
            store.database.execute(&format!("{unguard}; {}", forge(id))).await?;
            let verdict = store.accounts.audit().verify(&[], |_| ()).await?;
            ensure!(verdict.is_err(), "row {id} was not found");
            store.database.execute(&format!("DELETE FROM audit_logs WHERE id = {id}")).await?;
            ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
            if engine == Engine::Postgres {
                store
                    .database
                    .execute("ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_id_check CHECK (id > 0)")
                    .await?;
            }
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_of_any_column_is_found(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let context = AuditContext {
            actor: Actor::System("test"),
            ip: Some("192.0.2.7".parse()?),
            user_agent: Some("curl/8.0".into()),
            request_id: Some("r-1".into()),
        };
        let ada = match store.accounts.users().create(&context, NewUser::new(Email::parse("ada@example.com")?)).await? {
            Created::New(user) | Created::Existing(user) => user,
        };
        let key = NewKey {
            user_id: ada.id,
            label: None,
            scopes: None,
            models: None,
            priority: Priority::default(),
            limits: Limits::default(),
            expires_at: None,
        };
        store.accounts.credentials().issue(&context, key).await?;
        let rows = store.accounts.audit().list(&AuditFilter::default(), 10, AuditRow::owned).await?;
        ensure!(rows.len() == 2);
        let mut changes = Vec::new();
        for row in &rows {
            let Value::Object(columns) = serde_json::to_value(row)? else { anyhow::bail!("a row is an object") };
            for column in TEXT_COLUMNS {
                let Some(text) = columns[column].as_str() else { continue };
                changes.extend((0..text.len()).map(|at| (row.id, column, literal(&with_another_byte(text, at)))));
            }
            for column in INTEGER_COLUMNS.into_iter().filter(|column| !columns[*column].is_null()) {
                changes.extend((0..7).map(|byte| (row.id, column, format!("{column} + {}", 2_i64 << (8 * byte)))));
            }
            for byte in 0..16 {
                let mut bytes = *row.event_id.as_bytes();
                bytes[byte] ^= 1;
                changes.push((row.id, "event_id", uuid_literal(engine, Uuid::from_bytes(bytes))));
            }
            for byte in 0..7 {
                changes.push((
                    row.id,
                    "occurred_at",
                    time_expression(engine, row.occurred_at.micros() ^ (1 << (8 * byte))),
                ));
            }
        }
        ensure!(changes.len() > 500, "{} changes", changes.len());
        store
            .database
            .execute(
                "CREATE TABLE kept AS SELECT * FROM audit_logs; CREATE TABLE kept_head AS SELECT * FROM audit_head",
            )
            .await?;
        for (row, column, value) in changes {
            let edit = format!("UPDATE audit_logs SET {column} = {value} WHERE id = {row}");
            ensure!(store.database.execute(&edit).await? == 1, "{edit}");
            ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_err(), "not found: {edit}");
            store.database.execute("DELETE FROM audit_logs; INSERT INTO audit_logs SELECT * FROM kept").await?;
        }
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok(), "the log was not put back");
        Ok(())
    })
    .await;
}

/// The text with another byte at this position. A multi-byte character there becomes invalid and is
/// replaced.
fn with_another_byte(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as an SQL literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A UUID as an SQL literal.
pub(super) fn uuid_literal(engine: Engine, id: Uuid) -> String {
    match engine {
        Engine::Postgres => format!("'{id}'"),
        Engine::Sqlite => format!("x'{}'", id.simple()),
    }
}

/// A time as an SQL expression, from microseconds since 1970.
pub(super) fn time_expression(engine: Engine, micros: i64) -> String {
    match engine {
        Engine::Postgres => format!("timestamptz 'epoch' + {micros} * interval '1 microsecond'"),
        Engine::Sqlite => micros.to_string(),
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_recorded_does_not_happen(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user("ada@example.com", &[]).await?;
        store.database.execute(refuse_audit_events(engine).0).await?;
        let new = NewUser::new(Email::parse("bob@example.com")?);
        let refused = store.accounts.users().create(&context(), new).await;
        ensure!(matches!(refused, Err(Error::Store(paddock_store::Error::Audit(_)))), "{refused:?}");
        ensure!(store.accounts.users().list(&UserSearch::default(), 10, 0).await?.1 == 1, "the user is not there");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_events_are_in_commit_order_without_gaps(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let writers = (0..20).map(|i| {
            let store = &store;
            async move {
                for j in 0..5 {
                    store.user(&format!("u{i}-{j}@example.com"), &[Role::User]).await?;
                }
                anyhow::Ok(())
            }
        });
        futures_util::future::try_join_all(writers).await?;
        let whole = store.accounts.audit().verify(&[], |_| ()).await?.expect("it is whole");
        ensure!(whole.rows == 100, "{} rows", whole.rows);
        let page = AuditFilter { before: Some(51), ..AuditFilter::default() };
        let rows = store.accounts.audit().list(&page, 10, AuditRow::owned).await?;
        ensure!(rows.iter().map(|row| row.id).eq((41..=50).rev()), "newest first, from the cursor on");
        Ok(())
    })
    .await;
}

/// Both processes start before there is a row that shows the key. On SQLite only one process
/// writes.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_signing_keys_on_an_empty_log_one_writes() {
    story(async {
        let opened = open(Engine::Postgres).await?;
        let options = OpenOptions::new(opened.database.url().into());
        let chain = Chain::new(&"another signing key of many bytes".into());
        let other =
            Accounts::open(&options, chain, sessions()?, PasswordPolicy::default(), Arc::new(opened.clock.clone()))
                .await?;
        let user = |email: &str| NewUser::new(Email::parse(email).expect("an address"));
        opened.accounts.users().create(&context(), user("ada@example.com")).await?;
        let refused = other.users().create(&context(), user("eve@example.com")).await;
        ensure!(matches!(refused, Err(Error::Store(paddock_store::Error::SigningKeyMismatch))), "{refused:?}");
        ensure!(other.ready().await.is_err(), "it is ready");
        opened.accounts.users().create(&context(), user("eve@example.com")).await?;
        opened.accounts.audit().verify(&[], |_| ()).await??;
        Ok(())
    })
    .await;
}
