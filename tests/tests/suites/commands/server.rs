//! The commands that manage a running server, and the commands that use its database with
//! `--local`.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    paddock::{Caller, Launch, Paddock, fetch_json},
    process::free_port,
    reaper,
    story::story,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{assert_refused, bare_command, successful, successful_json, with_input};

const PASSWORD: &str = "violet harbour tangle 93";

struct ServerFixture {
    paddock: Paddock,
    admin: Caller,
    database: Database,
    launch: Launch,
    ollama: FakeOllama,
}

impl ServerFixture {
    async fn start(engine: Engine) -> Result<Self> {
        let (database, ollama) = (Database::new(engine).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        let (paddock, admin) = Paddock::seeded(launch.clone()).await?;
        Ok(Self { paddock, admin, database, launch, ollama })
    }

    /// A command with this caller's key.
    fn command(&self, caller: &Caller, arguments: &[&str]) -> Result<Command> {
        let mut command = bare_command(arguments)?;
        command.env("PADDOCK_SERVER", self.paddock.url()).env("PADDOCK_TOKEN", caller.key());
        Ok(command)
    }

    /// Runs a command as the first admin.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(&self.admin, arguments)?.output()?)
    }

    /// Runs a command as the first admin, and returns its JSON.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        successful_json(self.run(&[arguments, &["-o", "json"]].concat())?).with_context(|| format!("{arguments:?}"))
    }

    async fn signs_in(&self, email: &str, password: &str) -> Result<bool> {
        let body = json!({"username": email, "password": password});
        Ok(self.admin.post("/auth/login", &body).send().await?.status().is_success())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_created_shown_and_changed(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let created = server.json(&["user", "create", "Ada@Example.com", "--display-name", "Ada", "--role", "user"])?;
        ensure!(created["email"] == "ada@example.com" && created["roles"] == json!(["user"]), "{created}");
        ensure!(created.get("password").is_none(), "{created}");
        let shown = server.json(&["user", "show", "ada@example.com"])?;
        ensure!(shown == created, "{shown}");
        let id = created["id"].to_string();
        let fields = ["--display-name", "", "--role", "admin", "--model", "smollm2", "--limit", "max_concurrent=3"];
        let changed = server.json(&[&["user", "update", &id][..], &fields].concat())?;
        ensure!(changed["display_name"].is_null() && changed["roles"] == json!(["admin"]), "{changed}");
        ensure!(changed["limits"]["max_concurrent"] == 3 && changed["models"].is_array(), "{changed}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_disabled_and_enabled(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let id = server.json(&["user", "create", "ada@example.com", "--role", "user"])?["id"].to_string();
        ensure!(server.json(&["user", "disable", &id])?["is_active"] == false);
        ensure!(server.json(&["user", "enable", "ada@example.com"])?["is_active"] == true);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_users_has_every_page(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        for n in 0..201 {
            server.admin.create_user(json!({"email": format!("many-{n}@example.com")})).await?;
        }
        let many = server.json(&["user", "list", "--query", "many-"])?;
        ensure!(many.as_array().is_some_and(|many| many.len() == 201), "{}", many.as_array().map_or(0, Vec::len));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn users_are_printed_as_a_table_and_as_yaml(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let id = server.json(&["user", "create", "ada@example.com", "--role", "user"])?["id"].clone();
        let table = successful(server.run(&["user", "list", "--query", "ada@"])?)?;
        ensure!(table.starts_with("id ") && table.contains("ada@example.com"), "{table}");
        let yaml = successful(server.run(&["user", "show", &id.to_string(), "-o", "yaml"])?)?;
        let yaml: Value = serde_yaml_ng::from_str(&yaml)?;
        ensure!(yaml["id"] == id);
        Ok(())
    })
    .await;
}

impl ServerFixture {
    /// Whether the server accepts a key.
    async fn accepts(&self, key: &str) -> Result<bool> {
        Ok(self.paddock.caller(key).get("/me").send().await?.status().is_success())
    }

    /// Creates the user `ada@example.com`, and issues its key `ci`.
    fn issue(&self) -> Result<Value> {
        self.json(&["user", "create", "ada@example.com", "--role", "user"])?;
        let fields = ["--label", "ci", "--scope", "chat", "--scope", "models:read", "--expires-in", "24h"];
        self.json(&[&["key", "issue", "ada@example.com"][..], &fields].concat())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_issued_and_listed_without_its_secret(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let issued = server.issue()?;
        ensure!(issued["expires_at"].is_string(), "{issued}");
        let key = issued["plaintext"].as_str().context("a key")?;
        ensure!(server.accepts(key).await?);
        let listed = server.json(&["key", "list", "--user", "ada@example.com"])?;
        ensure!(listed[0]["label"] == "ci" && listed.as_array().is_some_and(|keys| keys.len() == 1), "{listed}");
        ensure!(!listed.to_string().contains(&key[14..]), "a secret is listed");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_and_revoked(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let issued = server.issue()?;
        let (key, id) = (issued["plaintext"].as_str().context("a key")?, issued["credential_id"].to_string());
        let rotated = server.json(&["key", "rotate", &id, "--grace", "0s"])?;
        let next = rotated["plaintext"].as_str().context("a key")?;
        ensure!(!server.accepts(key).await? && server.accepts(next).await?);
        successful(server.run(&["key", "revoke", &id])?)?;
        ensure!(!server.accepts(next).await?);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_listed_by_user_type_and_key(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let id = server.issue()?["credential_id"].to_string();
        server.json(&["key", "rotate", &id, "--grace", "0s"])?;
        successful(server.run(&["key", "revoke", &id])?)?;
        let events = server.json(&["audit", "list", "--user", "ada@example.com", "--limit", "3"])?;
        let types: Vec<_> = events.as_array().context("events")?.iter().map(|event| &event["event_type"]).collect();
        ensure!(types == ["api_key_revoked", "api_key_rotated", "api_key_issued"], "{types:?}");
        let rotations = server.json(&["audit", "list", "--type", "api_key_rotated", "--credential", &id])?;
        ensure!(rotations[0] == events[1] && rotations.as_array().is_some_and(|all| all.len() == 1), "{rotations}");
        let former_names = ["audit", "list", "--event-type", "api_key_rotated", "--credential-id", &id];
        ensure!(server.json(&former_names)? == rotations);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_from_a_file_or_a_variable_and_not_from_both() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let folder = reaper::scratch_dir("token")?;
        let token = folder.path().join("token");
        std::fs::write(&token, format!("{}\n", server.admin.key()))?;
        let mut command = bare_command(&["user", "list"])?;
        command.env("PADDOCK_SERVER", server.paddock.url()).env("PADDOCK_TOKEN_FILE", &token);
        successful(command.output()?)?;
        assert_refused(&command.env("PADDOCK_TOKEN", "x").output()?, 2, &["PADDOCK_TOKEN", "PADDOCK_TOKEN_FILE"])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_named() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        for (arguments, code, words) in [
            (&["user", "create", "nowhere"][..], 1, &["/email", "name@domain"][..]),
            (&["user", "update", "1", "--limit", "cheese=1"], 1, &["cheese"]),
            (&["user", "update", "1"], 2, &[]),
            (&["user", "show", "999"], 1, &["999"]),
            (&["user", "show", "nobody@example.com"], 1, &["nobody@example.com", "user list"]),
            (&["user", "list", "--server", "ftp://x"], 2, &["PADDOCK_SERVER", "https://"]),
        ] {
            assert_refused(&server.run(arguments)?, code, words).with_context(|| arguments.join(" "))?;
        }
        for limit in ["0", "100001", "many"] {
            let output = server.run(&["audit", "list", "--limit", limit])?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(2) && error.contains("from 1 to 100000"), "{output:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_named_by_its_variable() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let unknown = server.paddock.caller("pdk_nonsense");
        let output = server.command(&unknown, &["user", "list"])?.output()?;
        assert_refused(&output, 1, &["PADDOCK_TOKEN"])?;
        let workload = server.admin.create_workload().await?;
        let output = server.command(&workload, &["key", "issue", "1"])?.output()?;
        assert_refused(&output, 1, &["`admin`"])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_server_is_named_by_its_url() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let list = |url: &str| server.run(&["user", "list", "--server", url]);
        let nobody = format!("http://127.0.0.1:{}", free_port()?);
        assert_refused(&list(&nobody)?, 1, &[&nobody, "PADDOCK_SERVER"])?;
        // The metrics listener is not the API.
        assert_refused(&list(server.paddock.metrics_url())?, 1, &["--server"])?;
        let tls = server.paddock.url().replace("http://", "https://");
        assert_refused(&list(&tls)?, 1, &[&tls, "TLS", server.paddock.url()])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_does_not_show_the_token() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let help = successful(server.run(&["user", "list", "--help"])?)?;
        ensure!(!help.contains(server.admin.key()), "{help}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn local_commands_create_an_admin_and_set_a_password(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let ServerFixture { paddock, database: _database, launch, .. } = &server;
        let local = |arguments: &[&str]| launch.command(&[arguments, &["--local", "-o", "json"]].concat());
        if engine == Engine::Sqlite {
            for arguments in [["user", "create", "root@example.com"], ["user", "set-password", "admin@example.com"]] {
                let output = local(&arguments)?.output()?;
                assert_refused(&output, 1, &["paddock.db", "--local", "--server"])?;
            }
            paddock.process().signal(paddock_tests::process::Signal::Term)?;
            paddock.process().wait_for_exit(std::time::Duration::from_secs(10)).await?;
        }
        let made = successful_json(local(&["user", "create", "root@example.com", "--admin"])?.output()?)?;
        let password = made["password"].as_str().context("a new password")?.to_owned();
        ensure!(made["roles"] == json!(["admin"]), "{made}");
        let output =
            with_input(local(&["user", "set-password", "admin@example.com", "--password-file", "-"])?, PASSWORD)?;
        let set = successful_json(output)?;
        ensure!(set["password_set"] == true && !set.to_string().contains(PASSWORD), "{set}");
        assert_refused(&local(&["user", "set-password", "nobody@example.com"])?.output()?, 1, &["nobody@example.com"])?;

        let again = if engine == Engine::Sqlite { Some(launch.clone().start().await?) } else { None };
        ensure!(server.signs_in("root@example.com", &password).await?, "the new admin");
        ensure!(server.signs_in("admin@example.com", PASSWORD).await?, "the old one");
        let events = fetch_json(server.admin.get("/audit?event_type=password_set")).await?;
        ensure!(events.as_array().is_some_and(|events| events.len() == 2), "{events}");
        ensure!(events[0]["actor"] == "system:cli", "{events}");
        drop(again);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_shown_as_a_table_and_as_json(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let chat = json!({"model": "smollm2:135m", "messages": []});
        server.ollama.script("/api/chat", Script::ndjson(chat_lines("smollm2:135m", 3)));
        server.admin.post("/api/chat", &chat).send().await?.error_for_status()?.text().await?;
        eventually("the request", std::time::Duration::from_secs(10), async || {
            let total = server.json(&["usage"])?;
            ensure!(total[0]["requests"] == 1 && total[0]["completion_tokens"] == 3, "{total}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let arguments =
            ["usage", "--group-by", "user,model,day", "--user", "admin@example.com", "--model", "smollm2:135m"];
        let table = successful(server.run(&arguments)?)?;
        let heading: Vec<_> = table.lines().next().context("a heading")?.split_whitespace().collect();
        let columns =
            "day user_id model requests failed prompt_tokens cached_prompt_tokens completion_tokens estimated";
        ensure!(heading.join(" ") == columns && table.lines().count() == 3, "{table}");
        let limits = server.json(&["usage", "--limits"])?;
        let requests = limits.as_array().and_then(|rows| rows.first()).context("a limit")?;
        ensure!(requests["name"] == "requests_per_minute" && requests["left"].is_u64(), "{limits}");
        ensure!(server.json(&["usage", "--group-by", "key", "--to", "2020-01-01"])? == json!([]));
        assert_refused(&server.run(&["usage", "--from", "yesterday"])?, 1, &["?from", "2026-01-31"])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_command_says_when_to_try_again() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let admin = fetch_json(server.admin.get("/me")).await?["id"].as_i64().context("an id")?;
        let limited = json!({"scopes": ["users:read"], "limits": {"requests_per_minute": 1}});
        let (_, limited) = server.admin.create_key(admin, limited).await?;
        successful(server.command(&limited, &["user", "show", "1"])?.output()?)?;
        let output = server.command(&limited, &["user", "show", "1"])?.output()?;
        assert_refused(&output, 1, &["1 request", " s"])
    })
    .await;
}

/// Asserts that a command succeeded, with a hint about the missing role of this user; `None` for no
/// hint.
fn assert_hint(output: &Output, user: Option<i64>) -> Result<()> {
    let hint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{output:?}");
    match user {
        None => ensure!(hint.is_empty(), "{hint}"),
        Some(id) => {
            let remedy = format!("`paddock user update {id} --role user`");
            ensure!(hint.lines().count() == 1 && hint.contains(&remedy), "{hint}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_role_gets_a_hint() {
    story(async {
        let server = ServerFixture::start(Engine::Postgres).await?;
        let create = server.run(&["user", "create", "ada@example.com", "-o", "json"])?;
        let id = successful_json(create.clone())?["id"].as_i64().context("an id")?;
        assert_hint(&create, Some(id))?;
        assert_hint(&server.run(&["key", "issue", "ada@example.com"])?, Some(id))?;
        // The command in the hint works.
        assert_hint(&server.run(&["user", "update", &id.to_string(), "--role", "user"])?, None)?;
        assert_hint(&server.run(&["key", "issue", "ada@example.com"])?, None)?;
        assert_hint(&server.run(&["user", "create", "bob@example.com", "--role", "user"])?, None)?;

        let local = |email: &str| -> Result<Output> {
            Ok(server.launch.command(&["user", "create", email, "--local", "-o", "json"])?.output()?)
        };
        let create = local("eve@example.com")?;
        assert_hint(&create, successful_json(create.clone())?["id"].as_i64())?;
        Ok(())
    })
    .await;
}
