//! `paddock login` and `paddock logout`: the life of a key on a user's machine.

use std::{
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{eventually::eventually, paddock::fetch_json, process::Signal, story::story};
use serde_json::{Value, json};

use super::{assert_refused, contexts::SignInFixture, successful, with_input};

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_keeps_a_key_until_the_sign_out() {
    story(async {
        let server = SignInFixture::start().await?;
        let printed = server.login(&["--context", "prod"])?;
        for word in [server.paddock.url(), &server.bootstrap.email, "prod", "expires"] {
            ensure!(printed.contains(word), "no {word}: {printed}");
        }
        let key = server.key_of("prod")?;
        ensure!(!printed.contains(&key), "the key is printed: {printed}");
        // No variable and no flag is needed now.
        ensure!(server.run(&["user", "list"])?.contains(&server.bootstrap.email));
        let config = server.config();
        for (path, mode) in [(config.as_path(), 0o600), (config.parent().context("a folder")?, 0o700)] {
            ensure!(path.metadata()?.permissions().mode() & 0o777 == mode, "{}", path.display());
        }
        server.run(&["logout"])?;
        ensure!(!server.accepts(&key).await?, "the key is still valid");
        ensure!(!std::fs::read_to_string(server.config())?.contains(&key));
        assert_refused(&server.command(&["user", "list"])?.output()?, 2, &["paddock login", "PADDOCK_TOKEN"])?;
        assert_refused(&server.command(&["logout"])?.output()?, 2, &["paddock context list"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_its_session_and_is_audited() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&[])?;
        let open = server.database.texts("SELECT CAST(count(*) AS TEXT) FROM sessions WHERE ended_at IS NULL").await?;
        ensure!(open == ["0"], "{open:?} sessions are open");
        let host = server.paddock.url().trim_start_matches("http://").to_owned();
        server.run(&["logout", "--context", &host])?;
        let events = fetch_json(server.admin.get("/audit?limit=4")).await?;
        let types: Vec<_> = events.as_array().context("events")?.iter().map(|event| &event["event_type"]).collect();
        ensure!(types == ["api_key_revoked", "logout", "api_key_issued", "login_success"], "{types:?}");
        let id = &events[0]["credential_id"];
        ensure!(events[0]["actor"] == format!("key:{id}"), "{events}");
        Ok(())
    })
    .await;
}

/// The keys of the first admin that `paddock login` issued, newest first.
async fn issued_keys(server: &SignInFixture) -> Result<Vec<Value>> {
    let keys = fetch_json(server.admin.get("/credentials")).await?;
    let keys = keys.as_array().context("a list")?.iter().filter(|key| key["label"] != "bootstrap").cloned();
    Ok(keys.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_every_scope_of_the_user_for_thirty_days_by_default() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&[])?;
        let key = &issued_keys(&server).await?[0];
        ensure!(
            key["scopes"].as_array().is_some_and(|scopes| scopes.len() == paddock_tests::paddock::SCOPES.len()),
            "{key}"
        );
        let label = key["label"].as_str().context("a label")?;
        ensure!(label.starts_with("paddock login on "), "{key}");
        let time = |name: &str| -> Result<paddock_store::clock::Timestamp> {
            Ok(key[name].as_str().context("a time")?.parse()?)
        };
        let lifetime = time("expires_at")?.since(time("created_at")?);
        ensure!(lifetime.abs_diff(Duration::from_hours(720)) < Duration::from_mins(5), "{lifetime:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_label_and_lifetime_are_chosen() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--scope", "chat", "--scope", "models:read", "--label", "laptop", "--expires-in", "1h"])?;
        let key = &issued_keys(&server).await?[0];
        ensure!(key["scopes"] == json!(["chat", "models:read"]) && key["label"] == "laptop", "{key}");
        // The key revokes itself without a scope for keys.
        server.run(&["logout"])?;
        ensure!(issued_keys(&server).await?[0]["revoked"] == true);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sign_in_revokes_the_key_that_it_replaces() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "prod"])?;
        let first = server.key_of("prod")?;
        // The server and the context are those of the first sign-in.
        let input = format!("{}\n", server.bootstrap.password);
        let again = server.command(&["login", "--email", &server.bootstrap.email, "--password-stdin"])?;
        successful(with_input(again, &input)?)?;
        let second = server.key_of("prod")?;
        ensure!(server.accepts(&second).await? && !server.accepts(&first).await?);
        // A key from another source stays valid when it is replaced, and when it is kept again.
        let workload = server.admin.create_workload().await?;
        server.login_with_key(workload.key(), &["--context", "prod"])?;
        ensure!(!server.accepts(&second).await?, "the second key is still valid");
        server.login_with_key(workload.key(), &["--context", "prod"])?;
        server.login(&["--context", "prod"])?;
        ensure!(server.accepts(workload.key()).await?, "the workload's key is revoked");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_as_another_user_replaces_only_a_context_that_is_named() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&[])?;
        let workload = server.admin.create_workload().await?;
        let output = with_input(server.login_command(&["--with-key"])?, &format!("{}\n", workload.key()))?;
        assert_refused(&output, 2, &[&server.bootstrap.email, "--context"])?;
        server.run(&["user", "list"])?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_issue_keys_is_told_to_bring_one() {
    story(async {
        let server = SignInFixture::start().await?;
        let user = server.admin.create_user(json!({"email": "ada@example.com", "roles": ["user"]})).await?;
        // Ada has the admin's password.
        let copied = format!(
            "INSERT INTO passwords (user_id, hash, set_at) SELECT {user}, hash, set_at FROM passwords WHERE user_id = 1"
        );
        ensure!(server.database.execute(&copied).await? == 1);
        let input = format!("ada@example.com\n{}\n", server.bootstrap.password);
        let output = with_input(server.login_command(&[])?, &input)?;
        assert_refused(&output, 1, &["ada@example.com", "`admin`", "paddock login --with-key"])?;
        ensure!(!server.config().exists(), "a context is kept");
        let open = server.database.texts("SELECT CAST(count(*) AS TEXT) FROM sessions WHERE ended_at IS NULL").await?;
        ensure!(open == ["0"], "{open:?} sessions are open");

        let (_, key) = server.admin.create_key(user, json!({"scopes": ["chat"]})).await?;
        let printed = server.login_with_key(key.key(), &[])?;
        ensure!(printed.contains("ada@example.com") && !printed.contains(key.key()), "{printed}");
        server.run(&["logout"])?;
        ensure!(!server.accepts(key.key()).await?, "the key is still valid");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_without_the_server_keeps_the_context() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "prod"])?;
        server.paddock.process().signal(Signal::Term)?;
        server.paddock.process().wait_for_exit(Duration::from_secs(30)).await?;
        let output = server.command(&["logout"])?.output()?;
        assert_refused(&output, 1, &[server.paddock.url(), "`prod` stays", "--keep-key"])?;
        server.run(&["context", "show", "prod"])?;
        server.run(&["logout", "--keep-key"])?;
        assert_refused(&server.command(&["context", "show", "prod"])?.output()?, 2, &["`prod`"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_of_all_contexts_revokes_every_key() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "one"])?;
        server.login(&["--context", "two"])?;
        let keys = [server.key_of("one")?, server.key_of("two")?];
        // A key that is revoked already is no obstacle.
        server
            .paddock
            .caller(&keys[0])
            .post(&format!("/credentials/{}/revoke", issued_keys(&server).await?[1]["id"]), &json!({}))
            .send()
            .await?;
        let printed = server.run(&["logout", "--all"])?;
        ensure!(printed.lines().count() == 2, "{printed}");
        for key in keys {
            ensure!(!server.accepts(&key).await?);
        }
        assert_refused(&server.command(&["logout", "--all"])?.output()?, 2, &["context"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_typed_at_a_terminal_without_an_echo() {
    story(async {
        let server = SignInFixture::start().await?;
        let login = server.login_command(&["--context", "prod"])?;
        let words: Vec<_> = [login.get_program()]
            .into_iter()
            .chain(login.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        // `script` gives the command a terminal, and copies what the terminal shows.
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
        script.env("XDG_CONFIG_HOME", server.config().ancestors().nth(2).context("a folder")?);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut terminal = Terminal::new(&mut child)?;
        terminal.answer("E-mail: ", &server.bootstrap.email).await?;
        terminal.answer("Password: ", &server.bootstrap.password).await?;
        let shown = terminal.wait_for("signed in to").await?;
        ensure!(shown.contains(&server.bootstrap.email), "the address is not shown: {shown}");
        ensure!(!shown.contains(&server.bootstrap.password), "the password is shown");
        drop(terminal);
        ensure!(child.wait()?.success());
        ensure!(server.accepts(&server.key_of("prod")?).await?);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_kept_is_revoked() {
    story(async {
        let server = SignInFixture::start().await?;
        let folder = server.config().parent().context("a folder")?.to_owned();
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        // A folder in the place of the lock file, because root may write anywhere.
        std::fs::create_dir(folder.join("config.lock"))?;
        let input = format!("{}\n{}\n", server.bootstrap.email, server.bootstrap.password);
        let output = with_input(server.login_command(&[])?, &input)?;
        assert_refused(&output, 1, &["config.toml", "revoked"])?;
        ensure!(issued_keys(&server).await?[0]["revoked"] == true);
        Ok(())
    })
    .await;
}

/// The terminal of a command that runs below `script`.
struct Terminal {
    input: std::process::ChildStdin,
    shown: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Terminal {
    fn new(child: &mut std::process::Child) -> Result<Self> {
        let (input, mut output) = (child.stdin.take().context("input")?, child.stdout.take().context("output")?);
        let shown = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let copy = std::sync::Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = std::io::Read::read(&mut output, &mut bytes) {
                copy.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(&bytes[..count]);
            }
        });
        Ok(Self { input, shown })
    }

    /// Waits until the terminal shows this text. All that it has shown.
    async fn wait_for(&self, text: &str) -> Result<String> {
        eventually(&format!("`{text}` at the terminal"), Duration::from_secs(20), async || {
            let bytes = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            if shown.contains(text) { Ok(shown) } else { Err(anyhow::anyhow!("{shown}")) }
        })
        .await
    }

    /// Types a line after a question.
    async fn answer(&mut self, question: &str, line: &str) -> Result<()> {
        self.wait_for(question).await?;
        Ok(std::io::Write::write_all(&mut self.input, format!("{line}\n").as_bytes())?)
    }
}
