//! The commands that manage a running server, and the way back in without one.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::{Database, Engine};
use paddock_tests::eventually::eventually;
use paddock_tests::fake_ollama::{FakeOllama, Script, chat_lines};
use paddock_tests::paddock::{Caller, Launch, Paddock, fetch_json};
use paddock_tests::process::free_port;
use paddock_tests::reaper;
use paddock_tests::story::story;
use rstest::rstest;
use serde_json::{Value, json};

use super::{assert_refused, bare_command, said, told, with_input};

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

    /// A command as this caller.
    fn command(&self, caller: &Caller, arguments: &[&str]) -> Result<Command> {
        let mut command = bare_command(arguments)?;
        command.env("PADDOCK_SERVER", self.paddock.url()).env("PADDOCK_TOKEN", caller.key());
        Ok(command)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(&self.admin, arguments)?.output()?)
    }

    /// What it answers, as JSON.
    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        told(self.run(&[arguments, &["-o", "json"]].concat())?).with_context(|| format!("{arguments:?}"))
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
async fn a_user_lives_from_create_to_disable(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let made = server.ask(&["user", "create", "Ada@Example.com", "--display-name", "Ada", "--role", "user"])?;
        ensure!(made["email"] == "ada@example.com" && made["roles"] == json!(["user"]), "{made}");
        ensure!(made.get("password").is_none(), "{made}");
        let shown = server.ask(&["user", "show", "ada@example.com"])?;
        ensure!(shown == made, "{shown}");
        let id = made["id"].to_string();
        let changed = server.ask(&[
            "user",
            "update",
            &id,
            "--display-name",
            "",
            "--role",
            "admin",
            "--model",
            "smollm2",
            "--limit",
            "max_concurrent=3",
        ])?;
        ensure!(changed["display_name"].is_null() && changed["roles"] == json!(["admin"]), "{changed}");
        ensure!(changed["limits"]["max_concurrent"] == 3 && changed["models"].is_array(), "{changed}");
        ensure!(server.ask(&["user", "disable", &id])?["is_active"] == false);
        ensure!(server.ask(&["user", "enable", "ada@example.com"])?["is_active"] == true);

        // As many as there are, whatever a page holds.
        for n in 0..201 {
            server.admin.create_user(json!({"email": format!("many-{n}@example.com")})).await?;
        }
        let many = server.ask(&["user", "list", "--query", "many-"])?;
        ensure!(many.as_array().is_some_and(|many| many.len() == 201), "{}", many.as_array().map_or(0, Vec::len));
        let table = said(server.run(&["user", "list", "--query", "ada@"])?)?;
        ensure!(table.starts_with("id ") && table.contains("ada@example.com"), "{table}");
        let yaml: Value = serde_yaml_ng::from_str(&said(server.run(&["user", "show", &id, "-o", "yaml"])?)?)?;
        ensure!(yaml["id"] == made["id"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_from_issue_to_revoke(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        server.ask(&["user", "create", "ada@example.com", "--role", "user"])?;
        let issued = server.ask(&[
            "key",
            "issue",
            "ada@example.com",
            "--label",
            "ci",
            "--scope",
            "chat",
            "--scope",
            "models:read",
            "--expires-in",
            "24h",
        ])?;
        let key = issued["plaintext"].as_str().context("a key")?.to_owned();
        ensure!(issued["expires_at"].is_string(), "{issued}");
        ensure!(server.paddock.caller(&key).get("/me").send().await?.status().is_success());
        let id = issued["credential_id"].to_string();
        let rotated = server.ask(&["key", "rotate", &id, "--grace", "0s"])?;
        let next = rotated["plaintext"].as_str().context("a key")?.to_owned();
        ensure!(!server.paddock.caller(&key).get("/me").send().await?.status().is_success(), "no grace was asked for");
        ensure!(server.paddock.caller(&next).get("/me").send().await?.status().is_success());
        let listed = server.ask(&["key", "list", "--user", "ada@example.com"])?;
        ensure!(listed[0]["label"] == "ci" && listed.as_array().is_some_and(|keys| keys.len() == 1), "{listed}");
        ensure!(!listed.to_string().contains(&next[14..]), "a secret is listed");
        said(server.run(&["key", "revoke", &id])?)?;
        ensure!(!server.paddock.caller(&next).get("/me").send().await?.status().is_success());
        let events = server.ask(&["audit", "list", "--user", "ada@example.com", "--limit", "3"])?;
        let of_it = server.ask(&["audit", "list", "--type", "api_key_rotated", "--credential", &id])?;
        ensure!(of_it[0] == events[1] && of_it.as_array().is_some_and(|events| events.len() == 1), "{of_it}");
        ensure!(server.ask(&["audit", "list", "--event-type", "api_key_rotated", "--credential-id", &id])? == of_it);
        let types: Vec<_> = events.as_array().context("events")?.iter().map(|event| &event["event_type"]).collect();
        ensure!(types == ["api_key_revoked", "api_key_rotated", "api_key_issued"], "{types:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_one_clear_line() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let folder = reaper::scratch_dir("token")?;
        let token = folder.path().join("token");
        std::fs::write(&token, format!("{}\n", server.admin.key()))?;
        let mut command = bare_command(&["user", "list"])?;
        command.env("PADDOCK_SERVER", server.paddock.url()).env("PADDOCK_TOKEN_FILE", &token);
        said(command.output()?)?;
        assert_refused(&command.env("PADDOCK_TOKEN", "x").output()?, 2, &["PADDOCK_TOKEN and PADDOCK_TOKEN_FILE"])?;

        assert_refused(&server.run(&["user", "create", "nowhere"])?, 1, &["/email", "name@domain"])?;
        assert_refused(&server.run(&["user", "update", "1", "--limit", "cheese=1"])?, 1, &["cheese"])?;
        assert_refused(&server.run(&["user", "update", "1"])?, 2, &["nothing to change"])?;
        assert_refused(&server.run(&["user", "show", "999"])?, 1, &["user 999 does not exist"])?;
        assert_refused(
            &server.run(&["user", "show", "nobody@example.com"])?,
            1,
            &["no user nobody@example.com", "user list"],
        )?;
        let stranger = server.paddock.caller("pdk_nonsense");
        let output = server.command(&stranger, &["user", "list"])?.output()?;
        assert_refused(&output, 1, &["refused PADDOCK_TOKEN", "live API key"])?;
        let workload = server.admin.create_workload().await?;
        let output = server.command(&workload, &["key", "issue", "1"])?.output()?;
        assert_refused(&output, 1, &["not allowed", "role `admin`"])?;

        let nobody = format!("http://127.0.0.1:{}", free_port()?);
        let output = server.command(&server.admin, &["user", "list", "--server", &nobody])?.output()?;
        assert_refused(&output, 1, &[&nobody, "does not answer", "PADDOCK_SERVER"])?;
        // Another kind of server.
        let output =
            server.command(&server.admin, &["user", "list", "--server", server.paddock.metrics_url()])?.output()?;
        assert_refused(&output, 1, &["not as Paddock does", "--server"])?;
        let tls = server.paddock.url().replace("http://", "https://");
        let output = server.command(&server.admin, &["user", "list", "--server", &tls])?.output()?;
        assert_refused(&output, 1, &[&tls, "speaks no TLS", server.paddock.url()])?;
        assert_refused(&server.run(&["user", "list", "--server", "ftp://x"])?, 2, &["PADDOCK_SERVER", "https://"])?;
        for limit in ["0", "100001", "many"] {
            let output = server.run(&["audit", "list", "--limit", limit])?;
            let told = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(2) && told.contains("from 1 to 100000"), "{output:?}");
        }
        // The token is named nowhere, not even in the help of whoever has set it.
        let help = said(server.run(&["user", "list", "--help"])?)?;
        ensure!(!help.contains(server.admin.key()), "{help}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_database_gets_back_in(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let ServerFixture { paddock, database: _database, launch, .. } = &server;
        let local = |arguments: &[&str]| launch.command(&[arguments, &["--local", "-o", "json"]].concat());
        if engine == Engine::Sqlite {
            for arguments in [["user", "create", "root@example.com"], ["user", "set-password", "admin@example.com"]] {
                let output = local(&arguments)?.output()?;
                assert_refused(&output, 1, &["another paddock serves", "paddock.db", "leave out --local", "--server"])?;
            }
            paddock.process().signal(paddock_tests::process::Signal::Term)?;
            paddock.process().wait_for_exit(std::time::Duration::from_secs(10)).await?;
        }
        let made = told(local(&["user", "create", "root@example.com", "--admin"])?.output()?)?;
        let password = made["password"].as_str().context("a new password, told once")?.to_owned();
        ensure!(made["roles"] == json!(["admin"]), "{made}");
        let output =
            with_input(local(&["user", "set-password", "admin@example.com", "--password-file", "-"])?, PASSWORD)?;
        let set = told(output)?;
        ensure!(set["password_set"] == true && !set.to_string().contains(PASSWORD), "{set}");
        assert_refused(
            &local(&["user", "set-password", "nobody@example.com"])?.output()?,
            1,
            &["no user nobody@example.com"],
        )?;

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
async fn usage_is_shown_as_it_is_asked_for(#[case] engine: Engine) {
    story(async {
        let server = ServerFixture::start(engine).await?;
        let chat = json!({"model": "smollm2:135m", "messages": []});
        server.ollama.script("/api/chat", Script::ndjson(chat_lines("smollm2:135m", 3)));
        server.admin.post("/api/chat", &chat).send().await?.error_for_status()?.text().await?;
        eventually("the request", std::time::Duration::from_secs(10), async || {
            let total = server.ask(&["usage"])?;
            ensure!(total[0]["requests"] == 1 && total[0]["completion_tokens"] == 3, "{total}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let arguments =
            ["usage", "--group-by", "user,model,day", "--user", "admin@example.com", "--model", "smollm2:135m"];
        let table = said(server.run(&arguments)?)?;
        let heading: Vec<_> = table.lines().next().context("a heading")?.split_whitespace().collect();
        let columns =
            ["day", "user_id", "model", "requests", "failed", "prompt_tokens", "completion_tokens", "estimated"];
        ensure!(heading == columns && table.lines().count() == 3, "{table}");
        ensure!(server.ask(&["usage", "--group-by", "key", "--to", "2020-01-01"])? == json!([]));
        assert_refused(&server.run(&["usage", "--from", "yesterday"])?, 1, &["?from", "2026-01-31"])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_when_to_try_again() {
    story(async {
        let server = ServerFixture::start(Engine::Sqlite).await?;
        let admin = fetch_json(server.admin.get("/me")).await?["id"].as_i64().context("an id")?;
        let limited = json!({"scopes": ["users:read"], "limits": {"requests_per_minute": 1}});
        let (_, limited) = server.admin.create_key(admin, limited).await?;
        said(server.command(&limited, &["user", "show", "1"])?.output()?)?;
        let output = server.command(&limited, &["user", "show", "1"])?.output()?;
        assert_refused(&output, 1, &["1 request", "; try again in ", " s"])
    })
    .await;
}

/// It went well, and said this of roles beside its answer; `None`: nothing.
fn hinted(output: &Output, user: Option<i64>) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{output:?}");
    match user {
        None => ensure!(told.is_empty(), "{told}"),
        Some(id) => {
            let remedy = format!("`paddock user update {id} --role user`");
            ensure!(told.lines().count() == 1 && told.contains("has no role") && told.contains(&remedy), "{told}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_a_user_without_a_role_is_told_what_its_keys_are_worth() {
    story(async {
        let server = ServerFixture::start(Engine::Postgres).await?;
        let create = server.run(&["user", "create", "ada@example.com", "-o", "json"])?;
        let id = told(create.clone())?["id"].as_i64().context("an id")?;
        hinted(&create, Some(id))?;
        hinted(&server.run(&["key", "issue", "ada@example.com"])?, Some(id))?;
        // The remedy is one.
        hinted(&server.run(&["user", "update", &id.to_string(), "--role", "user"])?, None)?;
        hinted(&server.run(&["key", "issue", "ada@example.com"])?, None)?;
        hinted(&server.run(&["user", "create", "bob@example.com", "--role", "user"])?, None)?;

        let local = |email: &str| -> Result<Output> {
            Ok(server.launch.command(&["user", "create", email, "--local", "-o", "json"])?.output()?)
        };
        let create = local("eve@example.com")?;
        hinted(&create, told(create.clone())?["id"].as_i64())?;
        Ok(())
    })
    .await;
}
