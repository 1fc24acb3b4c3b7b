//! Migrations: forward from every released schema, several at once, interrupted by crashes, and
//! compatible with the executables of earlier releases.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    paddock::{Launch, fetch_json},
    process::run,
    random::random_below,
    release::{Facts, Release, migrator},
    story::story,
};
use rstest::rstest;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection};

fn launch(database: &Database) -> Result<Launch> {
    Ok(Launch::new(&["api"], database.url())?.env("RATE_LIMIT_PER_MINUTE", "1000000"))
}

/// A database with the schema after that migration, and only the rows that migrations insert.
async fn schema_at(engine: Engine, version: i64) -> Result<Database> {
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

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_schema_migrates_forward_and_its_rows_are_read(#[case] engine: Engine) {
    story(async {
        let releases = Release::all()?;
        for version in migrator(engine).await?.iter().map(|migration| migration.version) {
            let release = releases.iter().rfind(|release| release.schema <= version).context("a release")?;
            let (rows, facts) = release.rows(engine)?;
            let database = schema_at(engine, version).await?;
            database.execute(&rows).await.with_context(|| format!("rows of {} at {version}", release.schema))?;
            run(&mut launch(&database)?.command(&["migrate"])?)?;
            Box::pin(assert_facts(&database, &facts)).await.with_context(|| format!("forward from {version}"))?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_schema_accepts_the_rows_of_older_executables(#[case] engine: Engine) {
    story(async {
        for release in Release::all()? {
            let (rows, facts) = release.rows(engine)?;
            let database = schema_at(engine, newest(engine).await?).await?;
            database.execute(&rows).await.with_context(|| format!("rows of {}", release.schema))?;
            Box::pin(assert_facts(&database, &facts)).await.with_context(|| format!("rows of {}", release.schema))?;
        }
        Ok(())
    })
    .await;
}

/// Asserts that the present executable reads the facts from these rows.
async fn assert_facts(database: &Database, facts: &Facts) -> Result<()> {
    let launch = launch(database)?;
    let verified = run(&mut launch.command(&["audit", "verify"])?)?;
    ensure!(verified.contains(&format!(" {} row", facts.events)), "{verified}");

    let paddock = launch.clone().start().await?;
    let by = |key: &str| paddock.caller(key);
    let admin = by(&facts.admin_key);
    let users = fetch_json(admin.get("/users?limit=200")).await?;
    let users = users.as_array().context("a list")?;
    let emails: Vec<&str> = users.iter().filter_map(|user| user["email"].as_str()).collect();
    ensure!(emails == facts.users, "{emails:?}");
    for key in [&facts.live_key, &facts.retiring_key] {
        fetch_json(by(key).get("/me")).await?;
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
    let keys = fetch_json(admin.get(&format!("/credentials?user_id={}", ada["id"]))).await?;
    let batch = keys.as_array().and_then(|keys| keys.iter().find(|key| key["label"] == "batch")).context("its key")?;
    ensure!(batch["expires_at"] == "2199-01-01T00:00:00.000000Z" && batch["limits"]["max_concurrent"] == 2, "{batch}");
    let usage = fetch_json(admin.get(&format!("/usage?user_id={}", ada["id"]))).await?;
    let totals = json!([{
        "requests": 1, "failed": 0, "prompt_tokens": 31, "cached_prompt_tokens": 0, "completion_tokens": 9, "estimated": 1
    }]);
    ensure!(usage == totals, "{usage}");

    // The executable also writes to this database.
    let sign_in = json!({"username": facts.users.first(), "password": facts.password});
    fetch_json(admin.post("/auth/login", &sign_in)).await?;
    let again = fetch_json(admin.post("/users", &json!({"email": "ada@example.com", "external_id": "hr-1"}))).await?;
    ensure!(again["id"] == ada["id"], "{again}");
    let new = admin.create_user(json!({})).await?;
    ensure!(users.iter().all(|user| user["id"].as_i64() < Some(new)), "{new} was another user's id");
    drop(paddock);
    run(&mut launch.command(&["audit", "verify"])?)?;
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_released_migration_is_not_edited(#[case] engine: Engine) {
    story(async {
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
    })
    .await;
}

/// The properties of each column that an executable depends on: its type, whether it may be NULL,
/// and whether an INSERT may omit it.
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
    let columns = rows
        .into_iter()
        .map(|(table, column, kind, null, optional)| ((table, column), (kind, yes(null), yes(optional))));
    Ok(columns.collect())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn migrations_only_add(#[case] engine: Engine) {
    story(async {
        let new = columns(engine, &schema_at(engine, newest(engine).await?).await?).await?;
        for release in Release::all()? {
            let old = columns(engine, &schema_at(engine, release.schema).await?).await?;
            ensure!(!old.is_empty());
            for (column, (kind, null, _)) in &old {
                let (now, is_nullable, _) = new.get(column).with_context(|| format!("{column:?} is gone"))?;
                ensure!(
                    now == kind && is_nullable == null,
                    "{column:?} was {kind} ({null}) and is {now} ({is_nullable})"
                );
            }
            for (column, (.., optional)) in &new {
                let of_old_table = old.keys().any(|(table, _)| *table == column.0);
                ensure!(
                    old.contains_key(column) || !of_old_table || *optional,
                    "older executables do not name {column:?}"
                );
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
async fn the_newest_schema_accepts_the_statements_of_older_executables(#[case] engine: Engine) {
    story(async {
        let database = schema_at(engine, newest(engine).await?).await?;
        for release in Release::all()? {
            let statements = release.statements()?;
            ensure!(statements.len() > 20, "{} statements", statements.len());
            for (name, statement) in statements {
                assert_accepted(engine, &database, &statement).await.with_context(|| format!("{name}: {statement}"))?;
            }
        }
        Ok(())
    })
    .await;
}

/// Asserts that the statement can be prepared and run, apart from constraints that its dummy values
/// violate.
async fn assert_accepted(engine: Engine, database: &Database, statement: &str) -> Result<()> {
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
        Err(sqlx::Error::Database(error)) if is_constraint_violation(&*error) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether the error is a violated constraint of PostgreSQL or SQLite.
fn is_constraint_violation(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| match code.len() {
        5 => code.starts_with("23"),
        _ => code.parse::<u32>().is_ok_and(|code| code & 0xff == 19),
    })
}

/// The statement with this value for every parameter.
fn filled(statement: &str, value: &str) -> String {
    // From the last one, because $1 is a prefix of $10.
    (1..100).rev().fold(statement.to_owned(), |text, place| text.replace(&format!("${place}"), value))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn five_migrations_at_once_run_one_after_the_other(#[case] engine: Engine) {
    story(async {
        let database = Database::new(engine).await?;
        let launch = launch(&database)?;
        let start = || -> Result<_> {
            Ok(launch.command(&["migrate"])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
        };
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
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_migration_is_completed_by_the_next(#[case] engine: Engine) {
    story(async {
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
                let mut migration =
                    launch.command(&["migrate"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
                tokio::time::sleep(random_part(length)).await;
                migration.kill()?;
                let was_killed = migration.wait()?.signal().is_some();
                midway += usize::from(was_killed);
                // The duration of a migration depends on the load of the machine.
                length = if was_killed { length * 17 / 16 } else { length * 7 / 8 };
            }
            run(&mut launch.command(&["migrate"])?)?;
            ensure!(columns(engine, &database).await? == expected);
            run(&mut launch.command(&["seed"])?)?;
        }
        ensure!(midway > 10, "only {midway} of 40 were killed before their end");
        Ok(())
    })
    .await;
}

/// A random part of a duration.
fn random_part(length: Duration) -> Duration {
    length.mul_f64(f64::from(u8::try_from(random_below(256)).unwrap_or_default()) / 256.0)
}
