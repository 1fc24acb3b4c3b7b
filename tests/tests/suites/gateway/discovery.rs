//! The backends behind a DNS name: they join, leave, and survive a failure of the DNS.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_tests::{
    database::{Database, Engine},
    dns_server::DnsServer,
    eventually::eventually,
    fake_ollama::{FakeOllama, Outcome, Script, chat_lines},
    paddock::{Caller, Launch, Paddock},
    story::story,
};
use serde_json::{Value, json};

use super::{MODEL, new_chat};

const NAME: &str = "ollama.models.svc";
/// The time in which a change in the DNS arrives, on a slow machine.
const NOTICED: Duration = Duration::from_secs(30);

/// A gateway in front of a DNS name.
struct Gateway {
    dns: DnsServer,
    url: String,
    paddock: Paddock,
    workload: Caller,
    _database: Database,
}

impl Gateway {
    async fn start(port: u16, addresses: &[IpAddr]) -> Result<Self> {
        let dns = DnsServer::start(NAME, addresses).await?;
        let (database, url) = (Database::new(Engine::Sqlite).await?, format!("http://{NAME}:{port}"));
        let launch = Launch::new(&["api"], database.url())?.ollama(&url).env("RATE_LIMIT_PER_MINUTE", "100000");
        let launch = launch.env("OLLAMA_DISCOVERY", "dns").env("OLLAMA_DNS_SERVER", &dns.address().to_string());
        let (paddock, admin) = Paddock::seeded(launch).await?;
        let workload = admin.create_workload().await?;
        Ok(Self { dns, url, paddock, workload, _database: database })
    }

    async fn chat(&self) -> Result<StatusCode> {
        let answer = self.workload.post("/api/chat", &new_chat(MODEL)).send().await?;
        let status = answer.status();
        answer.bytes().await?;
        Ok(status)
    }

    /// Sends requests until this backend has served one more. Each of them succeeds.
    async fn wait_until_used(&self, fake: &FakeOllama) -> Result<()> {
        let before = served(fake);
        eventually("a request at the backend", NOTICED, async || {
            assert_eq!(self.chat().await?, 200);
            ensure!(served(fake) > before, "none yet");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    async fn ready(&self) -> Result<Value> {
        Ok(reqwest::get(format!("{}/readyz", self.paddock.url())).await?.error_for_status()?.json().await?)
    }

    async fn wait_for_degraded(&self, expected: &Value) -> Result<()> {
        eventually("the degraded parts", NOTICED, async || {
            let ready = self.ready().await?;
            ensure!(ready["degraded"] == *expected, "{ready}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// Waits until the metrics show this value of the health of a backend.
    async fn wait_for_health(&self, address: IpAddr, value: &str) -> Result<()> {
        let series = format!("{address}:");
        eventually("the health of the backend", NOTICED, async || {
            let text = reqwest::get(format!("{}/metrics", self.paddock.metrics_url())).await?.text().await?;
            let line = text.lines().find(|line| line.starts_with("paddock_backend_up") && line.contains(&series));
            let line = line.context("no series")?;
            ensure!(line.ends_with(value), "{line}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }
}

/// Fake Ollamas on one port, each at an address of its own.
async fn backends<const N: usize>() -> Result<([FakeOllama; N], [IpAddr; N])> {
    let addresses: [IpAddr; N] = std::array::from_fn(|index| {
        let last = u8::try_from(index).unwrap_or(0) + 1;
        IpAddr::from([127, 0, 0, last])
    });
    let mut fakes: Vec<FakeOllama> = Vec::new();
    for address in addresses {
        let fake = FakeOllama::start_at((address, fakes.first().map_or(0, FakeOllama::port)).into(), &[MODEL]).await?;
        fake.script("/api/chat", Script::ndjson(chat_lines(MODEL, 1)));
        fakes.push(fake);
    }
    Ok((fakes.try_into().ok().context("as many as addresses")?, addresses))
}

fn served(fake: &FakeOllama) -> usize {
    fake.requests("/api/chat").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_appears_joins_and_one_that_vanishes_leaves() {
    story(async {
        let (fakes, addresses) = backends::<3>().await?;
        let gateway = Gateway::start(fakes[0].port(), &addresses[..2]).await?;
        gateway.wait_until_used(&fakes[0]).await?;
        gateway.wait_until_used(&fakes[1]).await?;
        assert_eq!(served(&fakes[2]), 0);
        gateway.wait_for_health(addresses[0], " 1").await?;
        // A stream that is open when its backend vanishes ends naturally.
        fakes[0].script("/api/chat", Script::ndjson(chat_lines(MODEL, 100)).every(Duration::from_millis(100)));
        let before = served(&fakes[0]);
        let open = loop {
            let answer = gateway.workload.post("/api/chat", &new_chat(MODEL)).send().await?;
            if served(&fakes[0]) > before {
                break answer;
            }
            answer.bytes().await?;
        };
        gateway.dns.set(&addresses[1..]);
        gateway.wait_until_used(&fakes[2]).await?;
        assert_eq!(open.status(), 200);
        let text = open.text().await?;
        ensure!(text.lines().last().is_some_and(|line| line.contains("\"done\":true")), "{text}");
        let stream = fakes[0].requests("/api/chat").pop().context("the stream")?;
        assert_eq!(stream.outcome(NOTICED).await?, Outcome::Sent);
        let before = served(&fakes[0]);
        for _ in 0..6 {
            assert_eq!(gateway.chat().await?, 200);
        }
        assert_eq!(served(&fakes[0]), before, "a request went to a backend that has vanished");
        gateway.wait_for_health(addresses[0], "NaN").await?;
        let log = gateway.paddock.process().log().text();
        ensure!(log.contains(&addresses[2].to_string()) && log.contains("the backends have changed"), "{log}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_dns_keeps_the_known_backends_and_is_reported() {
    story(async {
        let (fakes, addresses) = backends::<2>().await?;
        let gateway = Gateway::start(fakes[0].port(), &addresses).await?;
        gateway.wait_until_used(&fakes[1]).await?;
        assert_eq!(gateway.ready().await?["backends"], json!([]));
        gateway.dns.fail();
        let failed = || {
            eventually("the problem in /readyz", NOTICED, async || {
                let ready = gateway.ready().await?;
                let problem = &ready["backends"][0];
                ensure!(problem["backend"] == gateway.url.as_str(), "{ready}");
                ensure!(problem["problem"].as_str().is_some_and(|text| text.contains(NAME)), "{ready}");
                ensure!(ready["degraded"] == json!([]), "{ready}");
                Ok::<_, anyhow::Error>(())
            })
        };
        failed().await?;
        for _ in 0..4 {
            assert_eq!(gateway.chat().await?, 200);
        }
        let log = gateway.paddock.process().log().text();
        ensure!(log.contains("cannot resolve the backends"), "{log}");
        // A name without any address is a failure too.
        gateway.dns.set(&[]);
        failed().await?;
        assert_eq!(gateway.chat().await?, 200);
        gateway.dns.set(&addresses);
        eventually("no problem in /readyz", NOTICED, async || {
            let ready = gateway.ready().await?;
            ensure!(ready["backends"] == json!([]), "{ready}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_backend_serves_once_one_appears() {
    story(async {
        let (fakes, addresses) = backends::<1>().await?;
        let gateway = Gateway::start(fakes[0].port(), &[]).await?;
        gateway.wait_for_degraded(&json!(["ollama"])).await?;
        assert_eq!(gateway.chat().await?, 503);
        gateway.dns.set(&addresses);
        eventually("the first backend", NOTICED, async || {
            let status = gateway.chat().await?;
            ensure!(status == 200, "{status}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        gateway.wait_for_degraded(&json!([])).await
    })
    .await;
}
