//! Snapshots of releases, which later releases are tested against: the rows of every table as the
//! release wrote them on both engines, and the statements it sends.
//!
//! `paddock-tests release FOLDER` writes one with the executable beside it, once, when a schema is
//! released.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, migrate::Migrator};

use crate::{
    database::{Database, Engine},
    paddock::{Launch, fetch_json},
    process::{Signal, run},
    testbed::{Part, repository},
};

const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

/// Facts about the rows of a release, which must still hold in later releases.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Facts {
    /// The first admin's password.
    pub password: String,
    /// Its key.
    pub admin_key: String,
    /// A live key.
    pub live_key: String,
    /// A key that was rotated away, with a grace period of a century.
    pub retiring_key: String,
    /// A revoked key.
    pub revoked_key: String,
    /// A key of a disabled user.
    pub disabled_key: String,
    /// The addresses of the users, in order of id.
    pub users: Vec<String>,
    /// The number of audit rows.
    pub events: i64,
}

/// The snapshot of a release, in a folder named after its last migration.
#[derive(Clone, Debug)]
pub struct Release {
    /// The last migration of the release.
    pub schema: i64,
    folder: PathBuf,
}

impl Release {
    /// All snapshots, oldest first.
    pub fn all() -> Result<Vec<Self>> {
        let mut releases = Vec::new();
        for entry in fs::read_dir(repository().join("tests/releases"))? {
            let folder = entry?.path();
            let schema = folder.file_name().and_then(|name| name.to_str()).context("a name")?.parse()?;
            releases.push(Self { schema, folder });
        }
        releases.sort_by_key(|release| release.schema);
        Ok(releases)
    }

    /// Its rows, as statements for its own schema, and the facts about them.
    pub fn rows(&self, engine: Engine) -> Result<(String, Facts)> {
        let rows = fs::read_to_string(self.folder.join(file_name(engine, "sql")))?;
        let facts = fs::read_to_string(self.folder.join(file_name(engine, "json")))?;
        Ok((rows, serde_json::from_str(&facts)?))
    }

    /// The statements that its executable sends, by name.
    pub fn statements(&self) -> Result<Vec<(String, String)>> {
        let text = fs::read_to_string(self.folder.join(STATEMENTS))?;
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs.map(|(name, statement)| (name.to_owned(), statement.to_owned())).collect())
    }

    /// The versions of its migrations, each with its SHA-384 in hexadecimal.
    pub fn checksums(&self, engine: Engine) -> Result<Vec<(i64, String)>> {
        let text = fs::read_to_string(self.folder.join(file_name(engine, CHECKSUMS)))?;
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        pairs.map(|(version, sum)| Ok((version.parse()?, sum.to_owned()))).collect()
    }
}

/// Writes the snapshot of the executable beside this one into a folder of `parent`.
pub async fn write(parent: &Path) -> Result<()> {
    let schema = migrator(Engine::Postgres).await?.iter().map(|migration| migration.version).max().unwrap_or_default();
    let folder = parent.join(format!("{schema:04}"));
    fs::create_dir_all(&folder)?;
    for engine in [Engine::Postgres, Engine::Sqlite] {
        let database = Database::new(engine).await?;
        let facts = populate(&database).await?;
        fs::write(folder.join(file_name(engine, "sql")), dump(engine, &database).await?)?;
        fs::write(folder.join(file_name(engine, "json")), serde_json::to_string_pretty(&facts)? + "\n")?;
        let mut checksums = String::new();
        for migration in migrator(engine).await?.iter() {
            writeln!(checksums, "{}\t{}", migration.version, hex::encode(&migration.checksum))?;
        }
        fs::write(folder.join(file_name(engine, CHECKSUMS)), checksums)?;
    }
    let mut statements = String::new();
    for (name, statement) in paddock_accounts::statements() {
        writeln!(statements, "{name}\t{statement}")?;
    }
    fs::write(folder.join(STATEMENTS), statements)?;
    Ok(())
}

/// The migrations of the repository.
pub async fn migrator(engine: Engine) -> Result<Migrator> {
    Ok(Migrator::new(repository().join("migrations").join(engine_name(engine))).await?)
}

const STATEMENTS: &str = "statements.tsv";
const CHECKSUMS: &str = "checksums.tsv";

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "postgres",
        Engine::Sqlite => "sqlite",
    }
}

fn file_name(engine: Engine, ending: &str) -> String {
    format!("{}.{ending}", engine_name(engine))
}

/// Fills every table with rows in every state that the API produces. Rows that only the operator
/// and the gateway write are inserted directly.
async fn populate(database: &Database) -> Result<Facts> {
    let launch = Launch::new(&["api"], database.url())?;
    let bootstrap = launch.seed()?;
    let paddock = launch.start().await?;
    let admin = paddock.caller(&bootstrap.key);
    let ada = json!({"email": "ada@example.com", "display_name": "Ada O'Brien \u{e9}", "external_id": "hr-1", "roles": ["user"]});
    let ada = admin.create_user(ada).await?;
    let bob = admin.create_user(json!({"email": "bob@example.com"})).await?;
    let carol = admin.create_user(json!({"email": "carol@example.com", "roles": ["admin", "user"]})).await?;
    let (_, disabled) = admin.create_key(carol, json!({"label": "laptop"})).await?;
    fetch_json(admin.patch(&format!("/users/{carol}"), &json!({"is_active": false}))).await?;
    let narrow = json!({"models": ["smollm2:*"], "limits": {"requests_per_minute": 600, "tokens_per_day": 0}});
    fetch_json(admin.patch(&format!("/users/{ada}"), &narrow)).await?;

    let fields = json!({"label": "batch", "models": ["smollm2:135m"], "limits": {"max_concurrent": 2}, "expires_at": "2199-01-01T00:00:00Z"});
    let (id, retiring) = admin.create_key(ada, fields).await?;
    let rotated = fetch_json(admin.post(&format!("/credentials/{id}/rotate"), &json!({"grace_seconds": 3600}))).await?;
    let live = rotated["plaintext"].as_str().context("a key")?.to_owned();
    let (id, revoked) = admin.create_key(ada, json!({})).await?;
    admin.post(&format!("/credentials/{id}/revoke"), &Value::Null).send().await?.error_for_status()?;

    let sign_in = json!({"username": bootstrap.email, "password": bootstrap.password});
    for _ in 0..2 {
        fetch_json(admin.post("/auth/login", &sign_in)).await?;
    }
    admin.post("/auth/login", &json!({"username": "ada@example.com", "password": "a guess"})).send().await?;
    paddock.process().signal(Signal::Term)?;
    paddock.process().wait_for_exit(SHUTDOWN_TIMEOUT).await?;

    let time = format!("(SELECT created_at FROM users WHERE id = {ada})");
    let managed =
        "managed_cluster = 'c0ffee', managed_namespace = 'team-a', managed_name = 'bob', managed_uid = 'uid-1'";
    database
        .execute(&format!(
            "UPDATE users SET {managed} WHERE id = {bob};
             UPDATE credential_secrets SET retire_at = (SELECT expires_at FROM credentials WHERE label = 'batch') WHERE state = 'retiring';
             INSERT INTO models (model, origin, digest, size_bytes, created_at, updated_at)
               VALUES ('registry.ollama.ai/library/smollm2:135m', 'pulled', 'sha256:00', 98000000, {time}, {time});
             INSERT INTO usage (usage_id, request_id, user_id, model, endpoint, prompt_tokens, completion_tokens, tokens_estimated,
               started_at, first_byte_us, duration_us, status, http_status)
               SELECT event_id, 'request-1', {ada}, 'registry.ollama.ai/library/smollm2:135m', 'POST /api/chat', 31, 9, TRUE,
               occurred_at, 1000, 2000, 'ok', 200 FROM audit_logs WHERE id = 1;"
        ))
        .await?;
    let users: Vec<(String,)> = database.rows("SELECT email FROM users WHERE email IS NOT NULL ORDER BY id").await?;
    let events: Vec<(i64,)> = database.rows("SELECT position FROM audit_head").await?;
    Ok(Facts {
        password: bootstrap.password,
        admin_key: bootstrap.key,
        live_key: live,
        retiring_key: retiring.key().to_owned(),
        revoked_key: revoked.key().to_owned(),
        disabled_key: disabled.key().to_owned(),
        users: users.into_iter().map(|(email,)| email).collect(),
        events: events.first().map(|(position,)| *position).context("a head")?,
    })
}

/// Every row, as one INSERT per line. They replace the rows that a migration inserts, such as the
/// head of the chain.
async fn dump(engine: Engine, database: &Database) -> Result<String> {
    let statements: Vec<String> = match engine {
        Engine::Postgres => {
            let all = run(Command::new(Part::Postgres.locate()?.join("pg_dump"))
                .args(["--data-only", "--column-inserts", "--exclude-table=_sqlx_migrations"])
                .arg(database.url()))?;
            let wanted = |line: &&str| line.starts_with("INSERT INTO") || line.starts_with("SELECT pg_catalog.setval");
            all.lines().filter(wanted).map(str::to_owned).collect()
        }
        Engine::Sqlite => dump_sqlite(database).await?,
    };
    let tables: Vec<(String,)> = database
        .rows(match engine {
            Engine::Postgres => {
                "SELECT CAST(tablename AS text) FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'"
            }
            Engine::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'"
            }
        })
        .await?;
    let emptied = tables.into_iter().map(|(table,)| format!("DELETE FROM {table};"));
    Ok(emptied.chain(statements).map(|line| line + "\n").collect())
}

async fn dump_sqlite(database: &Database) -> Result<Vec<String>> {
    let mut connection = SqliteConnection::connect(database.url()).await?;
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, group_concat(c.name, ', ') FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations' GROUP BY m.rowid ORDER BY m.rowid",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut statements = Vec::new();
    for (table, columns) in tables {
        let values: Vec<String> = columns.split(", ").map(|column| format!("quote({column})")).collect();
        let query = format!("SELECT {} FROM {table} ORDER BY rowid", values.join(" || ', ' || "));
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await?;
        statements.extend(rows.into_iter().map(|row| format!("INSERT INTO {table} ({columns}) VALUES ({row});")));
    }
    connection.close().await?;
    Ok(statements)
}
