//! `paddock connect`: a local address that adds the key, for clients that send none.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use http::StatusCode;
use paddock_tests::{
    eventually::eventually,
    fake_ollama::{End, FakeOllama, Outcome, Script, chat_lines},
    process::{Process, Signal, free_port},
    reaper,
    story::story,
};
use reqwest::{Client, RequestBuilder};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{assert_refused, bare_command, contexts::SignInFixture};

const MODEL: &str = "smollm2:135m";
const KEY: &str = "pdk_canary0000_key0of0paddock0connect";
/// 50 frames a second.
const PACE: Duration = Duration::from_millis(20);

/// A running `paddock connect`.
pub(super) struct Connection {
    pub(super) process: Process,
    pub(super) url: String,
}

impl Connection {
    /// Starts a command that ends with `connect`, and waits until it listens.
    pub(super) async fn start(command: Command) -> Result<Self> {
        let process = Process::start("paddock connect", command, Signal::Term)?;
        let url = process
            .wait_until_ready(Duration::from_secs(20), async || {
                let text = process.log().text();
                let rest = text.split_once("listening on ").with_context(|| text.clone())?.1;
                Ok(rest.split(',').next().context("a URL")?.to_owned())
            })
            .await?;
        Ok(Self { process, url })
    }
}

/// `paddock connect` in front of a server that records what it receives.
struct ConnectFixture {
    server: FakeOllama,
    connection: Connection,
    client: Client,
    _folder: TempDir,
}

impl ConnectFixture {
    async fn start(arguments: &[&str]) -> Result<Self> {
        let server = FakeOllama::start(&[MODEL]).await?;
        let me = json!({"email": "ada@example.com", "key": {"credential_id": 7, "label": "laptop"}});
        server.script("/me", Script::json(StatusCode::OK, &me));
        let folder = reaper::scratch_dir("connect")?;
        let key_file = folder.path().join("key");
        fs::write(&key_file, format!("{KEY}\n"))?;
        let mut command = bare_command(&["connect", "--listen", "127.0.0.1:0", "--server", &server.url()])?;
        command.arg("--key-file").arg(key_file).args(arguments);
        let connection = Connection::start(command).await?;
        Ok(Self { server, connection, client: Client::new(), _folder: folder })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.connection.url))
    }

    fn chat(&self) -> RequestBuilder {
        self.client.post(format!("{}/api/chat", self.connection.url)).json(&json!({"model": MODEL}))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_server_with_the_key_and_nothing_else_changed() {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        connect.server.script("/api/chat", Script::json(StatusCode::IM_A_TEAPOT, &json!({"answer": 1})));
        let request = connect.client.post(format!("{}/api/chat?a=%2F&b", connect.connection.url)).body("{\"x\": 1 }");
        let request = request.header("authorization", "Bearer theirs").header("x-api-key", "theirs");
        let request = request.header("cookie", "a=b").header("connection", "x-hop").header("x-hop", "1");
        let answer = request.header("x-request-id", "mine").header("content-type", "text/x").send().await?;
        ensure!(answer.status() == StatusCode::IM_A_TEAPOT, "{}", answer.status());
        ensure!(answer.text().await? == "{\"answer\":1}");
        let received = connect.server.requests("/api/chat?a=%2F&b");
        let received = received.first().context("no request")?;
        ensure!(received.body == "{\"x\": 1 }", "{:?}", received.body);
        let headers = &received.headers;
        let expected = [("authorization", Some(format!("Bearer {KEY}"))), ("x-request-id", Some("mine".to_owned()))];
        let lengths = [("content-type", Some("text/x".to_owned())), ("content-length", Some("9".to_owned()))];
        let removed = ["x-api-key", "cookie", "x-hop", "transfer-encoding"].map(|name| (name, None));
        for (name, value) in expected.into_iter().chain(lengths).chain(removed) {
            let found = headers.get(name).map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned());
            ensure!(found == value, "{name}: {headers:?}");
        }
        ensure!(headers["host"] == connect.server.url().trim_start_matches("http://"), "{headers:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_body_and_with_an_unknown_length_are_forwarded() {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        let version: Value = connect.get("/api/version").send().await?.json().await?;
        ensure!(version["version"].is_string(), "{version}");
        let received = connect.server.requests("/api/version");
        ensure!(!received[0].headers.contains_key("transfer-encoding"), "{:?}", received[0].headers);
        let head = connect.client.head(&connect.connection.url).send().await?;
        ensure!(head.status().is_success(), "{}", head.status());
        connect.server.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        let parts = futures_util::stream::iter(["{", "}"].map(Ok::<_, std::io::Error>));
        let streamed = connect.client.post(format!("{}/api/chat", connect.connection.url));
        streamed.body(reqwest::Body::wrap_stream(parts)).send().await?.error_for_status()?;
        ensure!(connect.server.requests("/api/chat")[0].body == "{}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_frame_by_frame_while_it_is_sent() {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        let script = Script::ndjson(chat_lines(MODEL, 50)).every(PACE);
        let sent = script.frames.clone();
        connect.server.script("/api/chat", script);
        let received: Vec<_> = connect.chat().send().await?.bytes_stream().map(Result::unwrap).collect().await;
        ensure!(received == sent, "sent {} frames, received {}", sent.len(), received.len());
        // This stream never ends. Its first frame arrives.
        connect.server.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)).ending(End::Hang));
        let mut endless = connect.chat().send().await?.bytes_stream();
        endless.next().await.context("a frame")??;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_not_a_complete_one() {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        connect.server.script("/api/chat", Script::ndjson(chat_lines(MODEL, 2)).every(PACE).ending(End::Abort));
        ensure!(connect.chat().send().await?.text().await.is_err(), "the answer is complete");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::before_the_headers(Duration::from_hours(1))]
#[case::during_the_stream(Duration::ZERO)]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_closes_the_request_to_the_server(#[case] headers_after: Duration) {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        let script = Script::ndjson(chat_lines(MODEL, 3)).headers_after(headers_after).ending(End::Hang);
        connect.server.script("/api/chat", script);
        let request = tokio::spawn(connect.chat().send());
        let received = eventually("the request", Duration::from_secs(10), async || {
            connect.server.requests("/api/chat").first().cloned().context("none yet")
        })
        .await?;
        if headers_after.is_zero() {
            request.await??.bytes_stream().next().await.context("a frame")??;
        } else {
            request.abort();
        }
        let outcome = received.outcome(Duration::from_secs(10)).await?;
        ensure!(matches!(outcome, Outcome::Abandoned(_)), "{outcome:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_passed_on_and_not_followed() {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        connect.server.script("/api/chat", Script::json(StatusCode::FOUND, &json!({})));
        let other = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let answer = other.get(format!("{}/api/chat", connect.connection.url)).send().await?;
        ensure!(answer.status() == StatusCode::FOUND, "{}", answer.status());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_hosts_of_other_machines_are_refused() {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        for (name, value, expected) in [
            ("host", "evil.example", 403),
            ("host", "localhost:1", 200),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("origin", "http://localhost:3000", 200),
        ] {
            let answer = connect.get("/api/tags").header(name, value).send().await?;
            let (status, body) = (answer.status(), answer.text().await?);
            ensure!(status == expected, "{name}: {value}: {status} {body}");
            let error: Value = serde_json::from_str(&body)?;
            ensure!(expected == 200 || error["error"].is_string(), "{body}");
        }
        ensure!(connect.server.requests("/api/tags").len() == 2);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_are_served_only_with_consent() {
    story(async {
        let connect = ConnectFixture::start(&["--allow-remote-clients"]).await?;
        let named = connect.get("/api/tags").header("host", "host.docker.internal:11434").send().await?;
        ensure!(named.status() == 200, "{}", named.status());
        let rebound = connect.get("/api/tags").header("host", "evil.example").send().await?;
        ensure!(rebound.status() == 403, "{}", rebound.status());
        let listen = ["connect", "--listen", "0.0.0.0:0", "--server", &connect.server.url()];
        let mut refused = bare_command(&listen)?;
        assert_refused(
            &refused.env("PADDOCK_TOKEN", KEY).output()?,
            2,
            &["0.0.0.0", "--allow-remote-clients", "127.0.0.1"],
        )
    })
    .await;
}

#[rstest]
#[case::interrupt(Signal::Int)]
#[case::terminate(Signal::Term)]
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_after_open_requests(#[case] signal: Signal) {
    story(async {
        let connect = ConnectFixture::start(&[]).await?;
        let script = Script::ndjson(chat_lines(MODEL, 20)).every(PACE);
        let sent = script.frames.concat();
        connect.server.script("/api/chat", script);
        let answer = connect.chat().send().await?;
        connect.connection.process.signal(signal)?;
        ensure!(answer.bytes().await? == sent, "the answer is not complete");
        let status = connect.connection.process.wait_for_exit(Duration::from_secs(10)).await?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_only_with_a_server_a_key_and_a_free_port() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "prod"])?;
        let connect = |arguments: &[&str]| -> Result<_> {
            Ok(server.command(&[&["connect"][..], arguments].concat())?.output()?)
        };
        let taken = server.paddock.url().trim_start_matches("http://").to_owned();
        assert_refused(&connect(&["--listen", &taken])?, 1, &[&taken, "Ollama", "--listen", "OLLAMA_HOST="])?;
        let nobody = format!("http://127.0.0.1:{}", free_port()?);
        let elsewhere = server
            .command(&["connect", "--listen", "127.0.0.1:0", "--server", &nobody])?
            .env("PADDOCK_TOKEN", "x")
            .output()?;
        assert_refused(&elsewhere, 1, &[&nobody, "does not answer"])?;
        let free = ["connect", "--listen", "127.0.0.1:0"];
        let refused = server.command(&free)?.env("PADDOCK_TOKEN", "pdk_wrong").output()?;
        assert_refused(&refused, 1, &["refused PADDOCK_TOKEN"])?;
        server.admin.post("/credentials/revoke", &json!({"user_id": 1})).send().await?.error_for_status()?;
        assert_refused(&server.command(&free)?.output()?, 1, &["paddock login --context prod"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_and_a_lost_server_are_explained_in_the_dialect_of_the_client() {
    story(async {
        let server = SignInFixture::start().await?;
        let workload = server.admin.create_workload().await?;
        server.login_with_key(workload.key(), &[])?;
        let connection = Connection::start(server.command(&["connect", "--listen", "localhost:0"])?).await?;
        let get = async |path: &str| -> Result<(u16, Value)> {
            let answer = reqwest::get(format!("{}{path}", connection.url)).await?;
            Ok((answer.status().as_u16(), answer.json().await?))
        };
        let (status, tags) = get("/api/tags").await?;
        ensure!(status == 200 && tags["models"].is_array(), "{status} {tags}");
        let revoke = server.command(&["logout"])?.output()?;
        ensure!(revoke.status.success(), "{revoke:?}");
        // The client sent no credential, so the status is not 401.
        let (status, refused) = get("/api/tags").await?;
        let reason = refused["error"].as_str().context("a reason")?;
        ensure!(status == 403 && reason.contains("paddock login"), "{status} {refused}");
        let (status, refused) = get("/v1/models").await?;
        ensure!(status == 403 && refused["error"]["message"].is_string(), "{status} {refused}");

        server.paddock.process().signal(Signal::Term)?;
        server.paddock.process().wait_for_exit(Duration::from_secs(30)).await?;
        let (status, lost) = get("/api/tags").await?;
        let reason = lost["error"].as_str().context("a reason")?;
        ensure!(status == 502 && reason.contains(server.paddock.url()), "{status} {lost}");
        ensure!(!reason.contains('\n'), "{reason}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_in_no_output_and_no_process_list() {
    story(async {
        let server = SignInFixture::start().await?;
        server.login(&["--context", "prod"])?;
        let mut command = server.command(&["connect", "--listen", "127.0.0.1:0"])?;
        command.env("LOG_LEVEL", "trace").env("RUST_LOG", "trace");
        let connection = Connection::start(command).await?;
        for path in ["/api/tags", "/me", "/missing"] {
            reqwest::get(format!("{}{path}", connection.url)).await?;
        }
        let key = server.key_of("prod")?;
        let process = format!("/proc/{}", connection.process.id());
        let listed = [fs::read(format!("{process}/cmdline"))?, fs::read(format!("{process}/environ"))?];
        connection.process.signal(Signal::Term)?;
        connection.process.wait_for_exit(Duration::from_secs(10)).await?;
        let logs = [connection.process.log().text(), server.paddock.process().log().text()];
        ensure!(logs[0].contains(&server.bootstrap.email), "{}", logs[0]);
        let places = listed.into_iter().chain(logs.map(String::into_bytes));
        for place in places {
            let place = String::from_utf8_lossy(&place).into_owned();
            ensure!(!place.contains(&key[14..]), "the key is shown: {place}");
        }
        Ok(())
    })
    .await;
}
