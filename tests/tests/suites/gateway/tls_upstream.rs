//! An Ollama behind somebody's proxy: with TLS, below a path, and with a credential of its own.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_tests::{
    certificates::Certificates,
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    nginx::Nginx,
    paddock::{Launch, fetch_json},
    reaper,
    story::story,
    testbed::Part,
};
use rstest::rstest;
use serde_json::Value;

use super::{GatewayFixture, MODEL, OTHER_MODEL, chat, error_body::refused};

/// What the proxy wants as `Authorization`.
const CREDENTIAL: &str = "Bearer canary-upstream-7d1f";

/// The proxy in front of a fake Ollama.
struct Proxy {
    certificates: Certificates,
    nginx: Nginx,
}

impl Proxy {
    async fn start() -> Result<(Self, FakeOllama)> {
        // Skips the story if it is not installed.
        Part::Nginx.locate()?;
        let fake = FakeOllama::start(&[MODEL, OTHER_MODEL]).await?;
        fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 2)));
        let certificates = Certificates::generate()?;
        let nginx = Nginx::start_tls(fake.url().trim_start_matches("http://"), CREDENTIAL, &certificates).await?;
        Ok((Self { certificates, nginx }, fake))
    }

    /// The launch of a Paddock that trusts the proxy's authority.
    fn trusted(&self, launch: Launch) -> Launch {
        launch.env("OLLAMA_CA_FILE", &self.certificates.authority().display().to_string())
    }
}

async fn assert_chat_and_list(gateway: &GatewayFixture) -> Result<()> {
    let text = gateway.workload.post("/api/chat", &chat()).send().await?.error_for_status()?.text().await?;
    let sent: Vec<String> = chat_lines(MODEL, 2).map(|line| line + "\n").collect();
    assert_eq!(text, sent.concat());
    let tags = fetch_json(gateway.workload.get("/api/tags")).await?;
    assert_eq!(tags["models"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_behind_tls_a_path_and_a_credential_is_served() {
    story(async {
        let (proxy, fake) = Proxy::start().await?;
        let settings = |launch| proxy.trusted(launch).env("OLLAMA_AUTHORIZATION", CREDENTIAL);
        let gateway = GatewayFixture::in_front_of(fake, proxy.nginx.url(), settings).await?;
        assert_chat_and_list(&gateway).await?;
        for request in gateway.fake.client_requests() {
            assert_eq!(request.headers["authorization"], CREDENTIAL);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credential_of_an_ollama_may_be_in_a_file() {
    story(async {
        let (proxy, fake) = Proxy::start().await?;
        let file = proxy.certificates.authority().with_file_name("credential");
        fs::write(&file, format!("{CREDENTIAL}\n"))?;
        let file = file.display().to_string();
        let settings = |launch| proxy.trusted(launch).env("OLLAMA_AUTHORIZATION_FILE", &file);
        let gateway = GatewayFixture::in_front_of(fake, proxy.nginx.url(), settings).await?;
        assert_chat_and_list(&gateway).await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_whose_certificate_is_not_trusted_is_a_503_and_the_log_says_why() {
    story(async {
        let (proxy, fake) = Proxy::start().await?;
        let settings = |launch: Launch| launch.env("OLLAMA_AUTHORIZATION", CREDENTIAL);
        let gateway = GatewayFixture::in_front_of(fake, proxy.nginx.url(), settings).await?;
        refused(gateway.workload.post("/api/chat", &chat()), 503).await?;
        refused(gateway.workload.get("/v1/models"), 503).await?;
        eventually("the reason in the log", Duration::from_secs(10), async || {
            let log = gateway.paddock.process().log().text();
            let reason = log.lines().find(|line| line.contains("Ollama") && line.contains("certificate"));
            reason.map(|_| ()).context("not yet")
        })
        .await?;
        ensure!(gateway.fake.requests("/api/tags").is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_refuses_the_credential_is_a_503_and_the_log_says_why() {
    story(async {
        let (proxy, fake) = Proxy::start().await?;
        let settings = |launch| proxy.trusted(launch).env("OLLAMA_AUTHORIZATION", "Bearer another");
        let gateway = GatewayFixture::in_front_of(fake, proxy.nginx.url(), settings).await?;
        refused(gateway.workload.post("/api/chat", &chat()), 503).await?;
        eventually("the reason in the log", Duration::from_secs(10), async || {
            let log = gateway.paddock.process().log().text();
            log.lines().find(|line| line.contains("Ollama answered 401")).map(|_| ()).context("not yet")
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credential_of_an_ollama_is_shown_nowhere() {
    story(async {
        let (proxy, fake) = Proxy::start().await?;
        let settings =
            |launch: Launch| proxy.trusted(launch).env("OLLAMA_AUTHORIZATION", CREDENTIAL).env("LOG_LEVEL", "debug");
        let gateway = GatewayFixture::in_front_of(fake, proxy.nginx.url(), settings).await?;
        assert_chat_and_list(&gateway).await?;
        ensure!(!gateway.paddock.process().log().text().contains(CREDENTIAL));
        let launch = settings(Launch::new(&["config"], gateway.database.url())?.ollama(proxy.nginx.url()));
        let output = launch.command(&["config", "-o", "json"])?.output()?;
        ensure!(output.status.success(), "{output:?}");
        let shown: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(shown["OLLAMA_AUTHORIZATION"]["value"], "(set)");
        ensure!(!String::from_utf8_lossy(&output.stdout).contains(CREDENTIAL));
        Ok(())
    })
    .await;
}

/// Asserts that no command starts with this setting, and that none has made anything.
async fn assert_refused_before_anything_is_made(name: &str, value: &str) -> Result<()> {
    let database = Database::new(Engine::Sqlite).await?;
    let file = Path::new(database.url().trim_start_matches("sqlite:"));
    let folder = file.parent().context("its folder")?;
    let launch = Launch::new(&["api"], database.url())?.env(name, value);
    for verb in ["config", "api", "run"] {
        let output = launch.command(&[verb])?.output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{verb}: {}: {text}", output.status);
        ensure!(text.contains(name), "{verb}: {text}");
        ensure!(!text.contains("hunter22"), "{verb}: a secret in {text}");
        let made = fs::read_dir(folder)?.count();
        ensure!(made == 0, "{verb} has made {made} files");
    }
    Ok(())
}

#[rstest]
#[case::a_password("http://ada:hunter22@127.0.0.1:11434")]
#[case::a_user("https://hunter22@ollama.example")]
#[case::twice("http://127.0.0.1:11434,http://127.0.0.1:11434/")]
#[case::an_empty_one("http://127.0.0.1:11434,")]
#[case::several_with_a_password("http://127.0.0.1:11434,http://ada:hunter22@127.0.0.1:11435")]
#[case::no_scheme("127.0.0.1:11434")]
#[case::another_scheme("ftp://127.0.0.1:11434")]
#[case::a_query("http://127.0.0.1:11434/?key=hunter22")]
#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_ollama_that_cannot_be_used_is_refused_before_anything_is_made(#[case] url: &str) {
    story(async { assert_refused_before_anything_is_made("OLLAMA_BASE_URL", url).await }).await;
}

#[rstest]
#[case::no_scheme("hunter22")]
#[case::a_line_feed("Bearer hunter22\nX-Other: 1")]
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_cannot_be_sent_is_refused_before_anything_is_made(#[case] value: &str) {
    story(async { assert_refused_before_anything_is_made("OLLAMA_AUTHORIZATION", value).await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_certificates_is_refused_before_anything_is_made() {
    story(async {
        let folder = reaper::scratch_dir("certificates")?;
        let (empty, missing) = (folder.path().join("empty.pem"), folder.path().join("missing.pem"));
        fs::write(&empty, "no certificate")?;
        for file in [empty, missing] {
            assert_refused_before_anything_is_made("OLLAMA_CA_FILE", &file.display().to_string()).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_prefix_is_the_same_with_and_without_a_slash_at_its_end() {
    story(async {
        let (proxy, fake) = Proxy::start().await?;
        let settings = |launch| proxy.trusted(launch).env("OLLAMA_AUTHORIZATION", CREDENTIAL);
        let url = format!("{}/", proxy.nginx.url());
        let gateway = GatewayFixture::in_front_of(fake, &url, settings).await?;
        assert_eq!(gateway.workload.get("/api/version").send().await?.status(), StatusCode::OK);
        assert_chat_and_list(&gateway).await?;
        Ok(())
    })
    .await;
}
