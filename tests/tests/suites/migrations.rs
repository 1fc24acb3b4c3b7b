//! Migrations: forward from every schema there was, by several at once, through crashes, and without breaking the
//! executables of the release before.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::paddock::{Launch, answer};
use paddock_tests::process::run;
use paddock_tests::release::{Facts, Release, migrator};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection};
use uuid::Uuid;

use crate::api::on_both_engines;

on_both_engines! {
    every_schema_goes_forward_and_its_rows_are_read_by_the_present_rules,
    the_newest_schema_takes_the_rows_that_older_executables_write,
    the_newest_schema_understands_the_statements_of_older_executables,
    migrations_only_add,
    what_was_released_is_not_edited,
    five_at_once_wait_for_each_other,
    one_that_is_killed_is_gone_on_with,
}

fn launch(database: &Database) -> Result<Launch> {
    Ok(Launch::new(&["api"], database.url())?.env("RATE_LIMIT_PER_MINUTE", "1000000"))
}

/// The schema as it was after that migration, without rows but those that migrations put there.
async fn at(engine: Engine, version: i64) -> Result<Database> {
    let database = Database::new(engine).await?;
    let migrator = migrator(engine).await?;
    match engine {
        Engine::Postgres => {
            let mut connection = PgConnection::connect(database.url()).await?;
            migrator.run_to(version, &mut connection).await?;
            connection.close().await?;
        }
        Engine::Sqlite => {
            std::fs::File::create(database.url().trim_start_matches("sqlite:"))?;
            let mut connection = SqliteConnection::connect(database.url()).await?;
            migrator.run_to(version, &mut connection).await?;
            connection.close().await?;
        }
    }
    Ok(database)
}

async fn newest(engine: Engine) -> Result<i64> {
    migrator(engine).await?.iter().map(|migration| migration.version).max().context("migrations")
}

async fn every_schema_goes_forward_and_its_rows_are_read_by_the_present_rules(engine: Engine) -> Result<()> {
    let releases = Release::all()?;
    for version in migrator(engine).await?.iter().map(|migration| migration.version) {
        let release = releases.iter().rfind(|release| release.schema <= version).context("a release")?;
        let (rows, facts) = release.rows(engine)?;
        let database = at(engine, version).await?;
        database.execute(&rows).await.with_context(|| format!("rows of {} at {version}", release.schema))?;
        run(&mut launch(&database)?.command(&["migrate"])?)?;
        Box::pin(reads(&database, &facts)).await.with_context(|| format!("forward from {version}"))?;
    }
    Ok(())
}

async fn the_newest_schema_takes_the_rows_that_older_executables_write(engine: Engine) -> Result<()> {
    for release in Release::all()? {
        let (rows, facts) = release.rows(engine)?;
        let database = at(engine, newest(engine).await?).await?;
        database.execute(&rows).await.with_context(|| format!("rows of {}", release.schema))?;
        Box::pin(reads(&database, &facts)).await.with_context(|| format!("rows of {}", release.schema))?;
    }
    Ok(())
}

/// The present executable finds in these rows what it was that was written.
async fn reads(database: &Database, facts: &Facts) -> Result<()> {
    let launch = launch(database)?;
    let verified = run(&mut launch.command(&["audit", "verify"])?)?;
    ensure!(verified.contains(&format!(" {} row", facts.events)), "{verified}");

    let paddock = launch.clone().start().await?;
    let by = |key: &str| paddock.caller(key);
    let admin = by(&facts.admin_key);
    let users = answer(admin.get("/users?limit=200")).await?;
    let users = users.as_array().context("a list")?;
    let emails: Vec<&str> = users.iter().filter_map(|user| user["email"].as_str()).collect();
    ensure!(emails == facts.users, "{emails:?}");
    for key in [&facts.live_key, &facts.retiring_key] {
        answer(by(key).get("/me")).await?;
    }
    for key in [&facts.revoked_key, &facts.disabled_key] {
        let refused = by(key).get("/me").send().await?.status();
        ensure!(refused == 401, "{refused}");
    }
    let named = |email: &str| users.iter().find(|user| user["email"] == email).with_context(|| email.to_owned());
    let ada = named("ada@example.com")?;
    ensure!(ada["models"] == json!(["registry.ollama.ai/library/smollm2:*"]), "{ada}");
    ensure!(ada["limits"]["requests_per_minute"] == 600 && ada["limits"]["tokens_per_day"] == 0, "{ada}");
    ensure!(named("bob@example.com")?["managed_by"]["namespace"] == "team-a");
    ensure!(named("carol@example.com")?["is_active"] == false);
    let keys = answer(admin.get(&format!("/credentials?user_id={}", ada["id"]))).await?;
    let batch = keys.as_array().and_then(|keys| keys.iter().find(|key| key["label"] == "batch")).context("its key")?;
    ensure!(batch["expires_at"] == "2199-01-01T00:00:00.000000Z" && batch["limits"]["max_concurrent"] == 2, "{batch}");

    // And goes on from there.
    let sign_in = json!({"username": facts.users.first(), "password": facts.password});
    answer(admin.post("/auth/login", &sign_in)).await?;
    let again = answer(admin.post("/users", &json!({"email": "ada@example.com", "external_id": "hr-1"}))).await?;
    ensure!(again["id"] == ada["id"], "{again}");
    let new = admin.create_user(json!({})).await?;
    ensure!(users.iter().all(|user| user["id"].as_i64() < Some(new)), "{new} was somebody else's id");
    drop(paddock);
    run(&mut launch.command(&["audit", "verify"])?)?;
    Ok(())
}

async fn what_was_released_is_not_edited(engine: Engine) -> Result<()> {
    let migrator = migrator(engine).await?;
    for release in Release::all()? {
        for (name, checksum) in release.checksums(engine)? {
            let migration = migrator.iter().find(|migration| migration.version == name);
            let migration = migration.with_context(|| format!("migration {name} was released and is gone"))?;
            let present = hex::encode(&migration.checksum);
            ensure!(present == checksum, "migration {name} was released, and somewhere it ran: write another one");
        }
    }
    Ok(())
}

/// What an executable can tell of a column: its type, whether it may be NULL, whether a row can do without naming it.
type Columns = BTreeMap<(String, String), (String, bool, bool)>;

async fn columns(engine: Engine, database: &Database) -> Result<Columns> {
    let query = match engine {
        Engine::Postgres => {
            "SELECT CAST(table_name AS text), CAST(column_name AS text), CAST(data_type AS text), CAST(is_nullable AS text), \
             CASE WHEN is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES' THEN 'YES' ELSE 'NO' END \
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'"
        }
        Engine::Sqlite => {
            "SELECT m.name, c.name, c.type, CASE WHEN c.\"notnull\" = 0 AND c.pk = 0 THEN 'YES' ELSE 'NO' END, \
             CASE WHEN c.\"notnull\" = 0 OR c.dflt_value IS NOT NULL OR c.pk > 0 THEN 'YES' ELSE 'NO' END \
             FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations'"
        }
    };
    let rows: Vec<(String, String, String, String, String)> = database.rows(query).await?;
    let yes = |word: String| word == "YES";
    let columns =
        rows.into_iter().map(|(table, column, kind, null, spare)| ((table, column), (kind, yes(null), yes(spare))));
    Ok(columns.collect())
}

async fn migrations_only_add(engine: Engine) -> Result<()> {
    let new = columns(engine, &at(engine, newest(engine).await?).await?).await?;
    for release in Release::all()? {
        let old = columns(engine, &at(engine, release.schema).await?).await?;
        ensure!(!old.is_empty());
        for (column, (kind, null, _)) in &old {
            let (now, may, _) = new.get(column).with_context(|| format!("{column:?} is gone"))?;
            ensure!(now == kind && may == null, "{column:?} was {kind} ({null}) and is {now} ({may})");
        }
        for (column, (.., spare)) in &new {
            let of_old_table = old.keys().any(|(table, _)| *table == column.0);
            ensure!(old.contains_key(column) || !of_old_table || *spare, "older executables do not name {column:?}");
        }
    }
    Ok(())
}

async fn the_newest_schema_understands_the_statements_of_older_executables(engine: Engine) -> Result<()> {
    let database = at(engine, newest(engine).await?).await?;
    for release in Release::all()? {
        let statements = release.statements()?;
        ensure!(statements.len() > 20, "{} statements", statements.len());
        for (name, statement) in statements {
            understood(engine, &database, &statement).await.with_context(|| format!("{name}: {statement}"))?;
        }
    }
    Ok(())
}

/// It can be prepared, and it runs, but for what the values that are put into it here break.
async fn understood(engine: Engine, database: &Database, statement: &str) -> Result<()> {
    let sql = || AssertSqlSafe(statement.to_owned()).into_sql_str();
    let ran = match engine {
        Engine::Postgres => {
            let mut connection = PgConnection::connect(database.url()).await?;
            connection.prepare(sql()).await?;
            let mut transaction = connection.begin().await?;
            let ran =
                sqlx::raw_sql(AssertSqlSafe(filled(statement, "NULL"))).execute(&mut *transaction).await.map(|_| ());
            transaction.rollback().await?;
            connection.close().await?;
            ran
        }
        Engine::Sqlite => {
            let mut connection = SqliteConnection::connect(database.url()).await?;
            connection.prepare(sql()).await?;
            let mut transaction = connection.begin().await?;
            let ran = sqlx::raw_sql(AssertSqlSafe(filled(statement, "1"))).execute(&mut *transaction).await.map(|_| ());
            transaction.rollback().await?;
            connection.close().await?;
            ran
        }
    };
    match ran {
        Err(sqlx::Error::Database(error)) if breaks_a_rule(&*error) => Ok(()),
        other => Ok(other?),
    }
}

/// An integrity constraint of PostgreSQL or SQLite.
fn breaks_a_rule(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| match code.len() {
        5 => code.starts_with("23"),
        _ => code.parse::<u32>().is_ok_and(|code| code & 0xff == 19),
    })
}

/// The statement with one value in every place.
fn filled(statement: &str, value: &str) -> String {
    // From the back, as $1 is the beginning of $10.
    (1..100).rev().fold(statement.to_owned(), |text, place| text.replace(&format!("${place}"), value))
}

async fn five_at_once_wait_for_each_other(engine: Engine) -> Result<()> {
    let database = Database::new(engine).await?;
    let launch = launch(&database)?;
    let start =
        || -> Result<_> { Ok(launch.command(&["migrate"])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?) };
    let at_once = (0..5).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let mut said = Vec::new();
    for migration in at_once {
        let output = migration.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said.push(String::from_utf8(output.stdout)?);
    }
    said.sort();
    let all = migrator(engine).await?.iter().count();
    let (one, others) = said.split_last().context("five")?;
    ensure!(*one == format!("the database is up to date; {all} migration(s) ran\n"), "{said:?}");
    ensure!(others.iter().all(|said| said == "the database is up to date\n"), "{said:?}");
    run(&mut launch.command(&["seed"])?)?;
    Ok(())
}

async fn one_that_is_killed_is_gone_on_with(engine: Engine) -> Result<()> {
    let begun = Instant::now();
    let undisturbed = Database::new(engine).await?;
    run(&mut launch(&undisturbed)?.command(&["migrate"])?)?;
    let mut length = begun.elapsed().max(Duration::from_millis(1));
    let expected = columns(engine, &undisturbed).await?;
    let mut midway = 0;
    for _ in 0..20 {
        let database = Database::new(engine).await?;
        let launch = launch(&database)?;
        for _ in 0..2 {
            let mut migration = launch.command(&["migrate"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            tokio::time::sleep(some_of(length)).await;
            migration.kill()?;
            let was_killed = migration.wait()?.signal().is_some();
            midway += usize::from(was_killed);
            // How long one takes changes with what else the machine does.
            length = if was_killed { length * 17 / 16 } else { length * 7 / 8 };
        }
        run(&mut launch.command(&["migrate"])?)?;
        ensure!(columns(engine, &database).await? == expected);
        run(&mut launch.command(&["seed"])?)?;
    }
    ensure!(midway > 10, "only {midway} of 40 were killed before their end");
    Ok(())
}

/// Some part of it, another one each time.
fn some_of(length: Duration) -> Duration {
    let part = u32::try_from(Uuid::now_v7().as_u128() & 0xff).unwrap_or_default();
    length * part / 256
}
