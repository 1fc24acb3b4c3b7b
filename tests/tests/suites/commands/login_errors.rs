//! Each way in which a sign-in or the use of a context fails: one line, with the next command to
//! type.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    eventually::eventually, kubernetes::Kubernetes, paddock::fetch_json, process::free_port, story::story,
};
use rstest::rstest;
use serde_json::json;

use super::{assert_refused, contexts::SignInFixture, with_input};

/// What is wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    WrongPassword,
    Locked,
    NoPassword,
    NotPaddock,
    NoTls,
    UntrustedCertificate,
    Refused,
    WrongKey,
    SessionAsKey,
    ReadableFile,
    ReadableFolder,
    BrokenToml,
    UnknownField,
    UnknownContext,
    UnknownContextAtSignIn,
    ExpiredKey,
    RevokedKey,
    DisabledUser,
    DisabledUserSignsIn,
}

const PASSWORD: &str = "violet harbour tangle 93";

impl Fault {
    /// Makes it happen. The command's output, its exit code, and words of its line.
    async fn happen(self, server: &SignInFixture) -> Result<(Output, i32, Vec<String>)> {
        let url = server.paddock.url();
        let login = format!("paddock login --server {url}");
        let (output, code, words) = match self {
            Self::WrongPassword => (sign_in(server, url)?, 1, vec![login, "password".to_owned()]),
            Self::Locked => {
                sign_in(server, url)?;
                (sign_in(server, url)?, 1, vec![login, "try again in".to_owned()])
            }
            Self::NoPassword => {
                (with_input(server.login_command(&[])?, "ada@example.com\n")?, 2, vec!["one line each".to_owned()])
            }
            Self::NotPaddock => {
                let other = server.paddock.metrics_url();
                (sign_in(server, other)?, 1, vec![other.to_owned(), "404".to_owned(), "--server https://".to_owned()])
            }
            Self::NoTls => {
                let tls = url.replace("http://", "https://");
                (sign_in(server, &tls)?, 1, vec![tls, "TLS".to_owned(), url.to_owned(), "--server".to_owned()])
            }
            Self::UntrustedCertificate => {
                let tls = kubernetes_url(Kubernetes::shared().await?)?;
                (sign_in(server, &tls)?, 1, vec![tls, "certificate".to_owned(), "SSL_CERT_FILE=".to_owned()])
            }
            Self::Refused => {
                let nobody = format!("http://127.0.0.1:{}", free_port()?);
                (sign_in(server, &nobody)?, 1, vec![nobody, "--server".to_owned()])
            }
            Self::WrongKey => {
                let output = with_input(server.login_command(&["--with-key"])?, "pdk_wrong\n")?;
                (output, 1, vec![format!("paddock login --with-key --server {url}")])
            }
            Self::SessionAsKey => {
                let body = json!({"username": server.bootstrap.email, "password": server.bootstrap.password});
                let session = fetch_json(server.admin.post("/auth/login", &body)).await?;
                let token = session["access_token"].as_str().context("a token")?;
                (with_input(server.login_command(&["--with-key"])?, token)?, 2, vec![login, "session".to_owned()])
            }
            file_or_key => return file_or_key.of_context(server).await,
        };
        Ok((output, code, words))
    }

    /// Makes a fault of a context happen, and uses the context.
    async fn of_context(self, server: &SignInFixture) -> Result<(Output, i32, Vec<String>)> {
        let arguments: &[&str] = if matches!(self, Self::ExpiredKey) { &["--expires-in", "1s"] } else { &[] };
        server.login(&[&["--context", "prod"][..], arguments].concat())?;
        let (config, again) = (server.config(), "paddock login --context prod".to_owned());
        let folder = config.parent().context("a folder")?;
        let (code, words) = match self {
            Self::ReadableFile => {
                fs::set_permissions(&config, fs::Permissions::from_mode(0o640))?;
                (2, vec![format!("chmod 600 {}", config.display())])
            }
            Self::ReadableFolder => {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
                (2, vec![format!("chmod 700 {}", folder.display())])
            }
            Self::BrokenToml => {
                let text = fs::read_to_string(&config)?;
                fs::write(&config, text.replace("key = \"", "key = "))?;
                let line = text.lines().position(|line| line.starts_with("key =")).context("a key")? + 1;
                (2, vec![format!("line {line}"), format!("mv {}", config.display()), "paddock login".to_owned()])
            }
            Self::UnknownField => {
                fs::write(&config, format!("password = \"x\"\n{}", fs::read_to_string(&config)?))?;
                (2, vec!["line 1".to_owned()])
            }
            Self::UnknownContext => {
                let output = server.command(&["user", "list", "--context", "nowhere"])?.output()?;
                return Ok((output, 2, vec!["`nowhere`".to_owned(), "paddock context list".to_owned()]));
            }
            Self::UnknownContextAtSignIn => {
                let output = server.command(&["login", "--context", "nowhere"])?.output()?;
                return Ok((output, 2, vec!["paddock login --context nowhere --server".to_owned()]));
            }
            Self::ExpiredKey => {
                let key = server.key_of("prod")?;
                eventually("the key to expire", Duration::from_secs(10), async || {
                    ensure!(!server.accepts(&key).await?, "still valid");
                    Ok(())
                })
                .await?;
                (1, vec![again, "expired at".to_owned()])
            }
            Self::RevokedKey => {
                server.admin.post("/credentials/revoke", &json!({"user_id": 1})).send().await?.error_for_status()?;
                (1, vec![again, "revoked".to_owned()])
            }
            Self::DisabledUser => {
                disable_ada(server).await?;
                (1, vec![again, "disabled".to_owned()])
            }
            Self::DisabledUserSignsIn => {
                disable_ada(server).await?;
                let output = with_input(server.login_command(&["--email", "ada@example.com"])?, PASSWORD)?;
                return Ok((output, 1, vec!["disabled".to_owned(), "paddock user enable".to_owned()]));
            }
            other => anyhow::bail!("{other:?} is no fault of a context"),
        };
        Ok((server.command(&["user", "list"])?.output()?, code, words))
    }
}

/// Signs in at this URL with a wrong password.
fn sign_in(server: &SignInFixture, url: &str) -> Result<Output> {
    let input = format!("{}\n{PASSWORD}\n", server.bootstrap.email);
    with_input(server.command(&["login", "--server", url])?, &input)
}

/// Keeps a key of a new user, and disables the user.
async fn disable_ada(server: &SignInFixture) -> Result<()> {
    let user = server.admin.create_user(json!({"email": "ada@example.com", "roles": ["admin"]})).await?;
    let (_, key) = server.admin.create_key(user, json!({})).await?;
    server.login_with_key(key.key(), &["--context", "prod"])?;
    server.admin.patch(&format!("/users/{user}"), &json!({"is_active": false})).send().await?.error_for_status()?;
    Ok(())
}

/// The URL of an API server, whose certificate is its own authority's.
fn kubernetes_url(kubernetes: &Kubernetes) -> Result<String> {
    let text = fs::read_to_string(kubernetes.kubeconfig())?;
    let url = text.lines().find_map(|line| line.trim().strip_prefix("server: "));
    Ok(url.context("a server")?.trim_matches('"').to_owned())
}

#[rstest]
#[case::wrong_password(Fault::WrongPassword)]
#[case::locked_account(Fault::Locked)]
#[case::no_password(Fault::NoPassword)]
#[case::no_paddock(Fault::NotPaddock)]
#[case::no_tls(Fault::NoTls)]
#[case::untrusted_certificate(Fault::UntrustedCertificate)]
#[case::connection_refused(Fault::Refused)]
#[case::wrong_key(Fault::WrongKey)]
#[case::session_as_key(Fault::SessionAsKey)]
#[case::readable_file(Fault::ReadableFile)]
#[case::readable_folder(Fault::ReadableFolder)]
#[case::broken_toml(Fault::BrokenToml)]
#[case::unknown_field(Fault::UnknownField)]
#[case::unknown_context(Fault::UnknownContext)]
#[case::unknown_context_at_sign_in(Fault::UnknownContextAtSignIn)]
#[case::expired_key(Fault::ExpiredKey)]
#[case::revoked_key(Fault::RevokedKey)]
#[case::disabled_user(Fault::DisabledUser)]
#[case::disabled_user_signs_in(Fault::DisabledUserSignsIn)]
#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_one_line_with_the_next_command(#[case] fault: Fault) {
    story(async {
        let server = SignInFixture::start().await?;
        let (output, code, words) = Box::pin(fault.happen(&server)).await?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_refused(&output, code, &words)?;
        let secrets = [server.bootstrap.password.as_str(), PASSWORD, "pdk_"];
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(secrets.iter().all(|secret| !error.contains(*secret)), "a secret is printed: {error}");
        Ok(())
    })
    .await;
}
