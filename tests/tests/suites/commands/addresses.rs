//! Addresses: the forms of `LISTEN_ADDR`, IPv6 and IPv4 at once, and IPv6 addresses wherever a
//! setting takes a host.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::FakeOllama,
    ipv6_forwarder::forward_to,
    paddock::{Launch, Paddock, fetch_json},
    process::{Process, Signal, free_port},
    redis::Redis,
    story::story,
};
use reqwest::Client;
use rstest::rstest;
use serde_json::json;

use super::{STRONG_SECRET, paddock, successful, successful_json};

/// Waits until this address answers.
async fn wait_for_health(process: &Process, addr: &str) -> Result<()> {
    process
        .wait_until_ready(Duration::from_mins(1), async || {
            Client::new().get(format!("http://{addr}/healthz")).send().await?.error_for_status()?;
            Ok(())
        })
        .await
}

#[rstest]
#[case::ipv6_and_ipv4("[::]:PORT", &["127.0.0.1", "[::1]"])]
#[case::ipv6("[::1]:PORT", &["[::1]"])]
#[case::a_port(":PORT", &["127.0.0.1"])]
#[case::localhost("localhost:PORT", &["127.0.0.1"])]
#[tokio::test(flavor = "multi_thread")]
async fn forms_of_an_address_are_served_and_checked(#[case] form: &str, #[case] hosts: &[&str]) {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let port = free_port()?;
        let launch =
            Launch::new(&["api"], database.url())?.env("LISTEN_ADDR", &form.replace("PORT", &port.to_string()));
        launch.seed()?;
        let server = launch.clone().spawn()?;
        for host in hosts {
            wait_for_health(server.process(), &format!("{host}:{port}")).await?;
        }
        successful(launch.command(&["healthcheck"])?.output()?)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn prod_listens_on_ipv6_and_ipv4() {
    story(async {
        let prod = [
            ("ENVIRONMENT", "prod"),
            ("DATABASE_URL", "sqlite:paddock.db"),
            ("JWT_SECRET", STRONG_SECRET),
            ("AUDIT_SIGNING_KEY", STRONG_SECRET),
        ];
        let config = successful_json(paddock(&["config", "-o", "json"], &prod)?)?;
        ensure!(config["LISTEN_ADDR"]["value"] == "[::]:8080", "{}", config["LISTEN_ADDR"]);
        ensure!(config["METRICS_ADDR"]["value"] == "[::]:9090", "{}", config["METRICS_ADDR"]);
        Ok(())
    })
    .await;
}

/// An IPv4 client of a socket for both is known by its IPv4 address.
#[tokio::test(flavor = "multi_thread")]
async fn an_ipv4_client_keeps_its_address() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let port = free_port()?;
        let launch = Launch::new(&["api"], database.url())?.env("LISTEN_ADDR", &format!("[::]:{port}"));
        launch.seed()?;
        let server = launch.spawn()?;
        wait_for_health(server.process(), &format!("127.0.0.1:{port}")).await?;
        let answer = Client::new().get(format!("http://127.0.0.1:{port}/me")).send().await?;
        ensure!(answer.status() == 401, "{}", answer.status());
        eventually("the request in the log", Duration::from_secs(10), async || {
            let log = server.process().log().text();
            ensure!(log.contains("ip=127.0.0.1") && !log.contains("ffff"), "{log}");
            Ok(())
        })
        .await
    })
    .await;
}

/// The port of a URL such as `http://127.0.0.1:1234/`.
fn port_of(url: &str) -> Result<u16> {
    let authority = url.split_once("://").context("a scheme")?.1.split('/').next().context("a host")?;
    let host = authority.rsplit('@').next().context("a host")?;
    Ok(host.parse::<SocketAddr>()?.port())
}

#[rstest]
#[case::url(false)]
#[case::parts(true)]
#[tokio::test(flavor = "multi_thread")]
async fn ipv6_addresses_are_taken_wherever_a_host_is(#[case] has_parts: bool) {
    story(async {
        let (database, redis) = (Database::new(Engine::Postgres).await?, Redis::start().await?);
        let ollama = FakeOllama::start(&["smollm2:135m"]).await?;
        let database_port = forward_to(port_of(database.url())?).await?;
        let (_, name) = database.url().rsplit_once('/').context("a name")?;
        let url =
            if has_parts { String::new() } else { format!("postgres://postgres:any@[::1]:{database_port}/{name}") };
        let launch = Launch::new(&["api"], &url)?
            .ollama(&format!("http://[::1]:{}", forward_to(port_of(&ollama.url())?).await?))
            .env("REDIS_URL", &format!("redis://[::1]:{}/0", forward_to(port_of(&redis.url())?).await?))
            .env("LISTEN_ADDR", &format!("[::1]:{}", free_port()?))
            .env("METRICS_ADDR", &format!("[::1]:{}", free_port()?))
            .env("TRUSTED_PROXIES", "[2001:db8::7],::1");
        let launch = if has_parts {
            let parts = [("DB_HOST", "::1"), ("DB_USER", "postgres"), ("DB_NAME", name)];
            let launch = parts.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
            launch.env("DB_PORT", &database_port.to_string())
        } else {
            launch
        };
        let (_paddock, admin) = Paddock::seeded(launch).await?;
        eventually("every part to answer", Duration::from_secs(20), async || {
            let ready = fetch_json(admin.get("/readyz")).await?;
            ensure!(ready["degraded"] == json!([]), "{ready}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_address_once_it_is_served() {
    story(async {
        for verb in ["api", "run"] {
            let database = Database::new(Engine::Sqlite).await?;
            let address = format!("127.0.0.1:{}", free_port()?);
            let launch = Launch::new(&[verb], database.url())?.env("LISTEN_ADDR", &address);
            launch.seed()?;
            let server = launch.clone().start().await?;
            eventually("the line about the address", Duration::from_secs(10), async || {
                let log = server.process().log().text();
                let line = log.lines().find(|line| line.contains("serving the API")).with_context(|| log.clone())?;
                ensure!(line.contains(&address), "{verb}: {line}");
                Ok(())
            })
            .await?;
            server.process().signal(Signal::Term)?;
            server.process().wait_for_exit(Duration::from_secs(30)).await?;

            // A file stands where the folder of usage records should be.
            let broken = launch.env("USAGE_SPOOL_DIR", "/dev/null").spawn()?;
            let status = broken.process().wait_for_exit(Duration::from_mins(1)).await?;
            let log = broken.process().log().text();
            ensure!(status.code() == Some(1) && log.contains("USAGE_SPOOL_DIR"), "{verb}: {status} {log}");
            ensure!(!log.contains("serving the API"), "{verb}: {log}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_trusted_is_logged_once() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = Launch::new(&["api"], database.url())?;
        launch.seed()?;
        for (trusted, lines) in [("", 1), ("127.0.0.1", 0), ("10.0.0.0/8", 1)] {
            let server = launch.clone().env("TRUSTED_PROXIES", trusted).start().await?;
            for forwarded in ["203.0.113.1", "203.0.113.2"] {
                let request = Client::new().get(format!("{}/healthz", server.url()));
                request.header("x-forwarded-for", forwarded).send().await?.error_for_status()?;
            }
            server.process().signal(Signal::Term)?;
            server.process().wait_for_exit(Duration::from_secs(30)).await?;
            let log = server.process().log().text();
            let named = log.lines().filter(|line| line.contains("TRUSTED_PROXIES") && line.contains("127.0.0.1"));
            ensure!(named.count() == lines, "{trusted:?}: {log}");
        }
        Ok(())
    })
    .await;
}
