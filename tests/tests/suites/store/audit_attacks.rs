//! A thousand random attacks on the audit log by an attacker with full access to the database but
//! without the signing key.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_store::audit::{AuditFilter, AuditRow, Head, KnownHead};
use paddock_tests::{database::Engine, random::SeededRng, story::story};
use rstest::rstest;
use serde_json::Value;

use super::{
    StoppedClock, StoreFixture,
    audit::{literal, time_expression, uuid_literal},
    open_with,
};

const ATTACKS: u64 = 1000;
/// The statements that restore the log.
const RESTORE: &str = "BEGIN; DELETE FROM audit_logs; INSERT INTO audit_logs SELECT * FROM kept; \
                       DELETE FROM audit_head; INSERT INTO audit_head SELECT * FROM kept_head; \
                       DELETE FROM audit_anchor; INSERT INTO audit_anchor SELECT * FROM kept_anchor; COMMIT";
const COLUMNS: [&str; 16] = [
    "id",
    "event_id",
    "chain_version",
    "event_type",
    "occurred_at",
    "user_id",
    "credential_id",
    "actor",
    "target",
    "ip",
    "user_agent",
    "request_id",
    "detail",
    "change",
    "prev_hash",
    "hash",
];

/// The attacked log: its rows after the checkpoint, oldest first.
struct Target {
    engine: Engine,
    rows: Vec<AuditRow>,
    /// The id of the last row that retention removed.
    begins_after: i64,
}

impl Target {
    /// A random attack: its statements, and its kind.
    fn attack(&self, rng: &mut SeededRng) -> (String, &'static str) {
        match rng.index(12) {
            0..4 => (self.edit(rng), "an edit"),
            4 => (self.deletion(rng), "a deletion"),
            5 => (self.cut(rng), "a cut tail"),
            6 => (self.insertion(rng), "an insertion"),
            7 => (self.swapped_rows(rng), "swapped rows"),
            8 => (self.swapped_values(rng), "swapped values"),
            9 => (self.early_trimming(rng), "rows removed as if they had expired"),
            10 => (self.anchor(rng), "another checkpoint"),
            _ => (self.head(rng), "another head"),
        }
    }

    /// Changes one column of one row.
    fn edit(&self, rng: &mut SeededRng) -> String {
        let (row, column) = (rng.pick(&self.rows), *rng.pick(&COLUMNS));
        let value = match column {
            "id" => format!("id + {}", 1000 + rng.index(1000)),
            "event_id" => uuid_literal(self.engine, random_uuid(rng)),
            "chain_version" => format!("chain_version + {}", 1 + rng.index(3)),
            "occurred_at" => time_expression(
                self.engine,
                row.occurred_at.micros() - 1 - i64::try_from(rng.index(1 << 40)).expect("small"),
            ),
            "user_id" | "credential_id" => match value(row, column) {
                Value::Null => rng.index(100).to_string(),
                _ if rng.index(2) == 0 => "NULL".to_owned(),
                _ => format!("{column} + {}", 1 + rng.index(100)),
            },
            // A text becomes longer or shorter, or replaces a null.
            _ => match value(row, column) {
                Value::String(text) if !text.is_empty() && rng.index(2) == 0 => literal(&text[1..]),
                Value::String(text) => literal(&format!("{text}{}", rng.index(10))),
                _ => literal(["", "x"][rng.index(2)]),
            },
        };
        format!("UPDATE audit_logs SET {column} = {value} WHERE id = {}", row.id)
    }

    /// Deletes one row or several consecutive ones.
    fn deletion(&self, rng: &mut SeededRng) -> String {
        let from = rng.pick(&self.rows).id;
        let to = from + [0, 0, 3][rng.index(3)];
        format!("DELETE FROM audit_logs WHERE id BETWEEN {from} AND {to}")
    }

    /// Deletes the newest rows, with or without an adjusted head.
    fn cut(&self, rng: &mut SeededRng) -> String {
        let last = &self.rows[self.rows.len() - 2 - rng.index(self.rows.len() - 2)];
        let cut = format!("DELETE FROM audit_logs WHERE id > {}", last.id);
        match rng.index(3) {
            0 => cut,
            _ => format!("{cut}; UPDATE audit_head SET position = {}, hash = '{}'", last.id, last.hash),
        }
    }

    /// Inserts a copy of a row: at the end, in between, or before the first.
    fn insertion(&self, rng: &mut SeededRng) -> String {
        let (copied, last) = (rng.pick(&self.rows), &self.rows[self.rows.len() - 1]);
        let (make_room, id, follow) = match rng.index(3) {
            0 => (String::new(), last.id + 1, format!("; UPDATE audit_head SET position = {}", last.id + 1)),
            1 => {
                let at = rng.pick(&self.rows).id;
                let shift = format!(
                    "UPDATE audit_logs SET id = id + 5000 WHERE id >= {at}; \
                     UPDATE audit_logs SET id = id - 4999 WHERE id > 5000; "
                );
                (shift, at, format!("; UPDATE audit_head SET position = {}", last.id + 1))
            }
            _ => (String::new(), 1 + i64::try_from(rng.index(20)).expect("small") % self.begins_after, String::new()),
        };
        let event_id = uuid_literal(self.engine, random_uuid(rng));
        format!(
            "{make_room}DELETE FROM forged; INSERT INTO forged SELECT * FROM kept WHERE id = {}; \
             UPDATE forged SET id = {id}, event_id = {event_id}; INSERT INTO audit_logs SELECT * FROM forged{follow}",
            copied.id
        )
    }

    fn swapped_rows(&self, rng: &mut SeededRng) -> String {
        let (one, other) = self.two(rng, |one, other| one.id != other.id);
        format!(
            "UPDATE audit_logs SET id = 9000 WHERE id = {one}; UPDATE audit_logs SET id = {one} WHERE id = {other}; \
             UPDATE audit_logs SET id = {other} WHERE id = 9000",
            one = one.id,
            other = other.id
        )
    }

    fn swapped_values(&self, rng: &mut SeededRng) -> String {
        let columns =
            ["event_type", "actor", "target", "request_id", "user_id", "change", "detail", "prev_hash", "hash"];
        // A column with equal values has none to swap.
        let differs = |column: &&str| self.rows.iter().any(|row| value(row, column) != value(&self.rows[0], column));
        let columns: Vec<_> = columns.into_iter().filter(differs).collect();
        let column = *rng.pick(&columns);
        let (one, other) = self.two(rng, |one, other| value(one, column) != value(other, column));
        let of = |row: &AuditRow| format!("(SELECT {column} FROM kept WHERE id = {})", row.id);
        format!(
            "UPDATE audit_logs SET {column} = {} WHERE id = {}; UPDATE audit_logs SET {column} = {} WHERE id = {}",
            of(other),
            one.id,
            of(one),
            other.id
        )
    }

    /// Deletes the oldest rows, with or without a checkpoint that is moved without the key.
    fn early_trimming(&self, rng: &mut SeededRng) -> String {
        let last = &self.rows[rng.index(self.rows.len() - 1)];
        let removed = format!("DELETE FROM audit_logs WHERE id <= {}", last.id);
        match rng.index(3) {
            0 => removed,
            1 => format!("{removed}; UPDATE audit_anchor SET position = {}, hash = '{}'", last.id, last.hash),
            _ => format!(
                "{removed}; UPDATE audit_anchor SET position = {}, hash = '{}', seal = '{}'",
                last.id, last.hash, last.hash
            ),
        }
    }

    fn anchor(&self, rng: &mut SeededRng) -> String {
        match rng.index(6) {
            0 => format!("UPDATE audit_anchor SET position = position + {}", 1 + rng.index(9)),
            1 => format!("UPDATE audit_anchor SET position = position - {}", 1 + rng.index(9)),
            2 => format!("UPDATE audit_anchor SET hash = '{}'", rng.pick(&self.rows).hash),
            3 => "DELETE FROM audit_anchor".to_owned(),
            4 => "UPDATE audit_anchor SET position = 0, hash = '', seal = ''".to_owned(),
            // An earlier checkpoint, which was right once.
            _ => "DELETE FROM audit_anchor; INSERT INTO audit_anchor SELECT * FROM earlier_anchor".to_owned(),
        }
    }

    fn head(&self, rng: &mut SeededRng) -> String {
        match rng.index(4) {
            0 => format!("UPDATE audit_head SET position = position + {}", 1 + rng.index(9)),
            1 => format!("UPDATE audit_head SET position = position - {}", 1 + rng.index(9)),
            2 => format!("UPDATE audit_head SET hash = '{}'", self.rows[rng.index(self.rows.len() - 1)].hash),
            _ => "DELETE FROM audit_head".to_owned(),
        }
    }

    /// Two rows that differ in this respect.
    fn two(&self, rng: &mut SeededRng, differ: impl Fn(&AuditRow, &AuditRow) -> bool) -> (&AuditRow, &AuditRow) {
        loop {
            let (one, other) = (rng.pick(&self.rows), rng.pick(&self.rows));
            if differ(one, other) {
                return (one, other);
            }
        }
    }
}

fn value(row: &AuditRow, column: &str) -> Value {
    serde_json::to_value(row).expect("a row is an object")[column].take()
}

fn random_uuid(rng: &mut SeededRng) -> uuid::Uuid {
    let mut half = || u64::try_from(rng.index(1 << 47)).expect("small");
    uuid::Uuid::from_u64_pair(half(), half())
}

/// Writes some thirty days of events, of which retention removes the first ones in two steps.
async fn write_log(store: &StoreFixture, clock: &StoppedClock) -> Result<()> {
    for number in 0..60 {
        store.user(&format!("user-{number}@example.com"), &[]).await?;
        if number % 2 == 0 {
            clock.advance(Duration::from_hours(25));
        }
        if number == 30 {
            ensure!(store.accounts.audit().trim().await? > 0);
            let copy = "CREATE TABLE earlier_anchor AS SELECT * FROM audit_anchor";
            store.database.execute(copy).await?;
        }
    }
    ensure!(store.accounts.audit().trim().await? > 0);
    store.user("last@example.com", &[]).await?;
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_thousand_attacks_is_found(#[case] engine: Engine) {
    story(async {
        let store = open_with(engine, |options| options.audit_retention_days = Some(10)).await?;
        write_log(&store, &store.clock).await?;
        let mut rows = store.accounts.audit().list(&AuditFilter::default(), 500, AuditRow::owned).await?;
        rows.reverse();
        let last = rows[rows.len() - 1].clone();
        let known = [KnownHead { source: "elsewhere".into(), head: Head { position: last.id, hash: last.hash } }];
        let verify = async || store.accounts.audit().verify(&known, |_| ()).await;
        let whole = verify().await?.expect("it is whole");
        ensure!(whole.trimmed > 20 && whole.rows > 20 && whole.beyond == Some(0), "{whole:?}");
        if engine == Engine::Sqlite {
            // Durability does not matter here.
            store.database.execute("PRAGMA synchronous = OFF").await?;
        }
        store
            .database
            .execute(
                "CREATE TABLE kept AS SELECT * FROM audit_logs; CREATE TABLE kept_head AS SELECT * FROM audit_head; \
                 CREATE TABLE kept_anchor AS SELECT * FROM audit_anchor; CREATE TABLE forged AS SELECT * FROM audit_logs",
            )
            .await?;
        let target = Target { engine, rows, begins_after: whole.trimmed };
        let mut found = 0;
        for seed in 1..=ATTACKS {
            let mut rng = SeededRng::new(seed);
            let (statements, what) = target.attack(&mut rng);
            store.database.execute(&format!("BEGIN; {statements}; COMMIT")).await?;
            let verdict = verify().await?;
            ensure!(verdict.is_err(), "attack {seed}, {what}, was not found: {statements}");
            found += 1;
            store.database.execute(RESTORE).await?;
        }
        ensure!(found == 1000, "{found}");
        ensure!(verify().await? == Ok(whole), "the log was not put back");
        Ok(())
    })
    .await;
}
