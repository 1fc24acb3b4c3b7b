//! A thousand attacks on the audit log by someone who may do anything to the database and has not the signing key.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_accounts::audit::{AuditFilter, AuditRow, Head, KnownHead};
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;
use serde_json::Value;

use super::audit::{literal, moment, uuid_literal};
use super::{StoppedClock, StoreFixture, open_with};

/// How many attacks there are.
const ATTACKS: u64 = 1000;
/// Puts everything back as it was.
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

/// Numbers that look random and are the same in every run.
struct SeededRng(u64);

impl SeededRng {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("48 bits") % sides
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

/// The log that is attacked: its rows, oldest first, after the anchor.
struct Target {
    engine: Engine,
    rows: Vec<AuditRow>,
    /// The row that retention removed last, and an earlier one at which the log began before: its anchor as it was sealed.
    begins_after: i64,
}

impl Target {
    /// One attack, as the statements that carry it out and a few words on it.
    fn attack(&self, rng: &mut SeededRng) -> (String, &'static str) {
        match rng.roll(12) {
            0..4 => (self.edit(rng), "an edit"),
            4 => (self.deletion(rng), "a deletion"),
            5 => (self.cut(rng), "a cut tail"),
            6 => (self.insertion(rng), "an insertion"),
            7 => (self.swap_of_places(rng), "a swap of rows"),
            8 => (self.swap_of_values(rng), "a swap of values"),
            9 => (self.early_trimming(rng), "rows removed as if their time was over"),
            10 => (self.anchor(rng), "another anchor"),
            _ => (self.head(rng), "another head"),
        }
    }

    /// One column of one row.
    fn edit(&self, rng: &mut SeededRng) -> String {
        let (row, column) = (rng.pick(&self.rows), *rng.pick(&COLUMNS));
        let value = match column {
            "id" => format!("id + {}", 1000 + rng.roll(1000)),
            "event_id" => uuid_literal(self.engine, random_uuid(rng)),
            "chain_version" => format!("chain_version + {}", 1 + rng.roll(3)),
            "occurred_at" => {
                moment(self.engine, row.occurred_at.micros() - 1 - i64::try_from(rng.roll(1 << 40)).expect("small"))
            }
            "user_id" | "credential_id" => match value(row, column) {
                Value::Null => rng.roll(100).to_string(),
                _ if rng.roll(2) == 0 => "NULL".to_owned(),
                _ => format!("{column} + {}", 1 + rng.roll(100)),
            },
            // A text becomes a longer or a shorter one, or appears where none was.
            _ => match value(row, column) {
                Value::String(text) if !text.is_empty() && rng.roll(2) == 0 => literal(&text[1..]),
                Value::String(text) => literal(&format!("{text}{}", rng.roll(10))),
                _ => literal(["", "x"][rng.roll(2)]),
            },
        };
        format!("UPDATE audit_logs SET {column} = {value} WHERE id = {}", row.id)
    }

    /// One row, or several in a row.
    fn deletion(&self, rng: &mut SeededRng) -> String {
        let from = rng.pick(&self.rows).id;
        let to = from + [0, 0, 3][rng.roll(3)];
        format!("DELETE FROM audit_logs WHERE id BETWEEN {from} AND {to}")
    }

    /// The newest rows, by someone who sees to it that the head agrees, or does not.
    fn cut(&self, rng: &mut SeededRng) -> String {
        let last = &self.rows[self.rows.len() - 2 - rng.roll(self.rows.len() - 2)];
        let cut = format!("DELETE FROM audit_logs WHERE id > {}", last.id);
        match rng.roll(3) {
            0 => cut,
            _ => format!("{cut}; UPDATE audit_head SET position = {}, hash = '{}'", last.id, last.hash),
        }
    }

    /// A copy of some row: at the end, in between, or before the first.
    fn insertion(&self, rng: &mut SeededRng) -> String {
        let (copied, last) = (rng.pick(&self.rows), &self.rows[self.rows.len() - 1]);
        let (make_room, id, follow) = match rng.roll(3) {
            0 => (String::new(), last.id + 1, format!("; UPDATE audit_head SET position = {}", last.id + 1)),
            1 => {
                let at = rng.pick(&self.rows).id;
                let shift = format!(
                    "UPDATE audit_logs SET id = id + 5000 WHERE id >= {at}; \
                     UPDATE audit_logs SET id = id - 4999 WHERE id > 5000; "
                );
                (shift, at, format!("; UPDATE audit_head SET position = {}", last.id + 1))
            }
            _ => (String::new(), 1 + i64::try_from(rng.roll(20)).expect("small") % self.begins_after, String::new()),
        };
        let event_id = uuid_literal(self.engine, random_uuid(rng));
        format!(
            "{make_room}DELETE FROM forged; INSERT INTO forged SELECT * FROM kept WHERE id = {}; \
             UPDATE forged SET id = {id}, event_id = {event_id}; INSERT INTO audit_logs SELECT * FROM forged{follow}",
            copied.id
        )
    }

    fn swap_of_places(&self, rng: &mut SeededRng) -> String {
        let (one, other) = self.two(rng, |one, other| one.id != other.id);
        format!(
            "UPDATE audit_logs SET id = 9000 WHERE id = {one}; UPDATE audit_logs SET id = {one} WHERE id = {other}; \
             UPDATE audit_logs SET id = {other} WHERE id = 9000",
            one = one.id,
            other = other.id
        )
    }

    fn swap_of_values(&self, rng: &mut SeededRng) -> String {
        let columns =
            ["event_type", "actor", "target", "request_id", "user_id", "change", "detail", "prev_hash", "hash"];
        // A column whose values are all the same has none to swap.
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

    /// The oldest rows, with an anchor moved along as far as that goes without the key, or left.
    fn early_trimming(&self, rng: &mut SeededRng) -> String {
        let last = &self.rows[rng.roll(self.rows.len() - 1)];
        let removed = format!("DELETE FROM audit_logs WHERE id <= {}", last.id);
        match rng.roll(3) {
            0 => removed,
            1 => format!("{removed}; UPDATE audit_anchor SET position = {}, hash = '{}'", last.id, last.hash),
            _ => format!(
                "{removed}; UPDATE audit_anchor SET position = {}, hash = '{}', seal = '{}'",
                last.id, last.hash, last.hash
            ),
        }
    }

    fn anchor(&self, rng: &mut SeededRng) -> String {
        match rng.roll(6) {
            0 => format!("UPDATE audit_anchor SET position = position + {}", 1 + rng.roll(9)),
            1 => format!("UPDATE audit_anchor SET position = position - {}", 1 + rng.roll(9)),
            2 => format!("UPDATE audit_anchor SET hash = '{}'", rng.pick(&self.rows).hash),
            3 => "DELETE FROM audit_anchor".to_owned(),
            4 => "UPDATE audit_anchor SET position = 0, hash = '', seal = ''".to_owned(),
            // One that was right once.
            _ => "DELETE FROM audit_anchor; INSERT INTO audit_anchor SELECT * FROM earlier_anchor".to_owned(),
        }
    }

    fn head(&self, rng: &mut SeededRng) -> String {
        match rng.roll(4) {
            0 => format!("UPDATE audit_head SET position = position + {}", 1 + rng.roll(9)),
            1 => format!("UPDATE audit_head SET position = position - {}", 1 + rng.roll(9)),
            2 => format!("UPDATE audit_head SET hash = '{}'", self.rows[rng.roll(self.rows.len() - 1)].hash),
            _ => "DELETE FROM audit_head".to_owned(),
        }
    }

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
    let mut half = || u64::try_from(rng.roll(1 << 47)).expect("small");
    uuid::Uuid::from_u64_pair(half(), half())
}

/// Forty days of events, of which retention has taken away the first in two steps.
async fn log_of(store: &StoreFixture, clock: &StoppedClock) -> Result<()> {
    for number in 0..60 {
        store.user(&format!("user-{number}@example.com"), &[]).await?;
        if number % 2 == 0 {
            clock.advance(Duration::from_hours(25));
        }
        if number == 30 {
            ensure!(store.accounts.trim_audit().await? > 0);
            let copy = "CREATE TABLE earlier_anchor AS SELECT * FROM audit_anchor";
            store.database.execute(copy).await?;
        }
    }
    ensure!(store.accounts.trim_audit().await? > 0);
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
        log_of(&store, &store.clock).await?;
        let mut rows = store.accounts.audit(&AuditFilter::default(), 500, AuditRow::owned).await?;
        rows.reverse();
        let last = rows[rows.len() - 1].clone();
        let known = [KnownHead { source: "elsewhere".into(), head: Head { position: last.id, hash: last.hash } }];
        let verify = async || store.accounts.verify_audit_against(&known, |_| ()).await;
        let whole = verify().await?.expect("it is whole");
        ensure!(whole.trimmed > 20 && whole.rows > 20 && whole.beyond == Some(0), "{whole:?}");
        if engine == Engine::Sqlite {
            // What a crash would leave of the attacker's work is no part of the story.
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
            let mut rng = SeededRng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
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
