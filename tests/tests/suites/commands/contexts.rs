//! A user's contexts and the commands that use them: which server and key a command takes.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    fake_ollama::FakeOllama,
    paddock::{Bootstrap, Caller, Launch, Paddock},
    process::free_port,
    reaper,
    story::story,
};
use serde_json::json;
use tempfile::TempDir;

use super::{assert_refused, bare_command, successful, successful_json, with_input};

/// A `paddock run` on SQLite, its first admin, and a home folder.
pub(super) struct SignInFixture {
    pub(super) paddock: Paddock,
    pub(super) bootstrap: Bootstrap,
    pub(super) admin: Caller,
    pub(super) database: Database,
    home: TempDir,
    _ollama: FakeOllama,
}

impl SignInFixture {
    pub(super) async fn start() -> Result<Self> {
        let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&["smollm2:135m"]).await?);
        let launch = Launch::new(&["run"], database.url())?.ollama(&ollama.url());
        let bootstrap = launch.seed()?;
        let paddock = launch.start().await?;
        let admin = paddock.caller(&bootstrap.key);
        Ok(Self { paddock, bootstrap, admin, database, home: reaper::scratch_dir("home")?, _ollama: ollama })
    }

    /// A command of the user with this home folder, without other settings.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = bare_command(arguments)?;
        command.env("XDG_CONFIG_HOME", self.home.path());
        Ok(command)
    }

    /// Runs a command successfully. Its standard output.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        successful(self.command(arguments)?.output()?).with_context(|| arguments.join(" "))
    }

    /// `paddock login` at the server with more arguments.
    pub(super) fn login_command(&self, arguments: &[&str]) -> Result<Command> {
        self.command(&[&["login", "--server", self.paddock.url()][..], arguments].concat())
    }

    /// Signs in as the first admin with more arguments. What the command printed.
    pub(super) fn login(&self, arguments: &[&str]) -> Result<String> {
        let input = format!("{}\n{}\n", self.bootstrap.email, self.bootstrap.password);
        successful(with_input(self.login_command(arguments)?, &input)?)
    }

    /// Keeps an existing key, with more arguments.
    pub(super) fn login_with_key(&self, key: &str, arguments: &[&str]) -> Result<String> {
        let arguments = [&["--with-key"][..], arguments].concat();
        successful(with_input(self.login_command(&arguments)?, &format!("{key}\n"))?)
    }

    /// The file of the contexts.
    pub(super) fn config(&self) -> PathBuf {
        self.home.path().join("paddock/config.toml")
    }

    /// The key of a context.
    pub(super) fn key_of(&self, context: &str) -> Result<String> {
        let text = std::fs::read_to_string(self.config())?;
        let (_, section) =
            text.split_once(&format!("[contexts.{context}]")).with_context(|| format!("no {context}"))?;
        let key = section.split("key = \"").nth(1).and_then(|rest| rest.split('"').next());
        Ok(key.context("a key")?.to_owned())
    }

    /// Whether the server accepts a key.
    pub(super) async fn accepts(&self, key: &str) -> Result<bool> {
        Ok(self.paddock.caller(key).get("/me").send().await?.status().is_success())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_are_listed_shown_chosen_and_removed() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "one"])?;
        server.login(&["--context", "two"])?;
        let listed = successful_json(server.command(&["context", "list", "-o", "json"])?.output()?)?;
        let names: Vec<_> = listed.as_array().context("a list")?.iter().map(|c| (&c["name"], &c["current"])).collect();
        ensure!(names == [(&json!("one"), &json!(false)), (&json!("two"), &json!(true))], "{listed}");
        server.run(&["context", "use", "one"])?;
        let shown = successful_json(server.command(&["context", "show", "-o", "json"])?.output()?)?;
        ensure!(
            shown["name"] == "one" && shown["server"] == server.paddock.url() && shown.get("key").is_none(),
            "{shown}"
        );
        let key = server.key_of("one")?;
        server.run(&["context", "remove", "one"])?;
        ensure!(server.accepts(&key).await?, "a removed context revokes no key");
        // No context is current now, and none is guessed.
        assert_refused(&server.command(&["user", "list"])?.output()?, 2, &["context use two"])?;
        assert_refused(&server.command(&["context", "show"])?.output()?, 2, &["context use"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_take_precedence_over_the_context() {
    story(async {
        let server = SignInFixture::start().await?;
        let narrow = server.admin.create_workload().await?;
        server.login(&["--context", "admin"])?;
        server.login_with_key(narrow.key(), &["--context", "narrow"])?;
        let list = |variables: &[(&str, &str)], arguments: &[&str]| -> Result<_> {
            let mut command = server.command(&[&["user", "list"][..], arguments].concat())?;
            Ok(command.envs(variables.iter().copied()).output()?)
        };
        // The workload's key may not list users.
        assert_refused(&list(&[], &[])?, 1, &["not allowed"])?;
        successful(list(&[], &["--context", "admin"])?)?;
        successful(list(&[("PADDOCK_CONTEXT", "admin")], &[])?)?;
        assert_refused(&list(&[("PADDOCK_CONTEXT", "admin")], &["--context", "narrow"])?, 1, &["not allowed"])?;
        successful(list(&[("PADDOCK_TOKEN", server.admin.key())], &[])?)?;
        assert_refused(&list(&[("PADDOCK_TOKEN", narrow.key())], &["--context", "admin"])?, 1, &["not allowed"])?;
        let nobody = format!("http://127.0.0.1:{}", free_port()?);
        let elsewhere = [("PADDOCK_SERVER", nobody.as_str()), ("PADDOCK_TOKEN", "pdk_x")];
        assert_refused(&list(&elsewhere, &[])?, 1, &[&nobody])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_context_is_sent_to_its_server_only() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "prod"])?;
        let other = FakeOllama::start(&[]).await?;
        let list = |arguments: &[&str]| -> Result<_> {
            Ok(server.command(&[&["user", "list"][..], arguments].concat())?.output()?)
        };
        assert_refused(
            &list(&["--server", &other.url()])?,
            2,
            &[&other.url(), "paddock login --server", "PADDOCK_TOKEN"],
        )?;
        assert_refused(&list(&["--server", &other.url(), "--context", "prod"])?, 2, &["`prod`", &other.url()])?;
        ensure!(other.requests("/users").is_empty(), "the other server got a request");
        // The context of the server is found by its URL.
        successful(list(&["--server", server.paddock.url()])?)?;
        server.login(&["--context", "again"])?;
        successful(list(&["--server", server.paddock.url()])?)?;
        server.login_with_key(server.admin.key(), &["--context", "elsewhere"])?;
        server.run(&["context", "use", "elsewhere"])?;
        server.run(&["context", "remove", "elsewhere"])?;
        assert_refused(&list(&["--server", server.paddock.url()])?, 2, &["`again`", "`prod`", "--context"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sign_ins_keep_every_context() {
    story(async {
        let server = SignInFixture::start().await?;
        let names: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
        let sign_ins = names.iter().map(|name| {
            let mut command = server.login_command(&["--with-key", "--context", name])?;
            let key = reaper::scratch_dir("key")?;
            std::fs::write(key.path().join("key"), server.admin.key())?;
            let child = command
                .stdin(std::fs::File::open(key.path().join("key"))?)
                .stdout(std::process::Stdio::null())
                .spawn()?;
            Ok(child)
        });
        for child in sign_ins.collect::<Result<Vec<_>>>()? {
            ensure!(child.wait_with_output()?.status.success());
        }
        let listed = successful_json(server.command(&["context", "list", "-o", "json"])?.output()?)?;
        ensure!(listed.as_array().is_some_and(|all| all.len() == names.len()), "{listed}");
        Ok(())
    })
    .await;
}
