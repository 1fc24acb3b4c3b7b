//! Registries: a hostile name never makes Ollama connect to another machine.
//!
//! The test runs in a network in which every address is local, with a resolver that knows every
//! name. It sees each look-up and each connection that Ollama tries.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use paddock_tests::{database::Engine, network, paddock::fetch_json, registry::Registry, story::story};
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};

use super::Fixture;

/// A registry that `MODEL_REGISTRIES` lists, besides the one of the test.
const LISTED: &str = "models.example";
/// Its address.
const LISTED_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The address of every other name.
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
/// The ports that hostile names aim at.
const PORTS: [u16; 15] = [22, 25, 53, 80, 443, 2375, 5000, 5432, 6379, 6443, 8080, 8443, 9200, 10250, 11434];

/// Names of models in other registries, and texts that are no names. `PORT` is the port of the listed
/// registry at 127.0.0.1.
#[rustfmt::skip]
const HOSTILE: &[&str] = &[
    // Other hosts.
    "evil.example/a/b", "evil.example/a/b:1", "http://evil.example/a/b", "https://evil.example/a/b", "HTTPS://EVIL.Example/A/B",
    "evil.example:80/a/b", "evil.example:8443/a/b", "hf.co/a/b", "ghcr.io/a/b", "xn--e1afmkfd.example/a/b",
    // The default registry, which is not listed here.
    "smollm2", "team/m:1", "registry.ollama.ai/library/m", "https://registry.ollama.ai/library/m",
    // Hosts that look like a listed one.
    "models.example.evil.example/a/b", "evil-models.example/a/b", "models.example./a/b", "models.example:443/a/b",
    "models.example:8443/a/b", "models.example:0443/a/b", "www.models.example/a/b", "models-example/a/b", "models.exampl/a/b",
    "localhost:PORT/a/b", "127.0.0.1:0PORT/a/b", "127.0.0.1./a/b", "127.1:PORT/a/b", "0.0.0.0:PORT/a/b", "2130706433:PORT/a/b",
    // This machine, the cluster, and services of clouds.
    "127.0.0.1/a/b", "127.0.0.1:22/a/b", "127.0.0.1:6379/a/b", "127.0.0.1:11434/a/b", "localhost/a/b", "LOCALHOST:80/a/b",
    "0.0.0.0/a/b", "0/a/b", "127.1/a/b", "2130706433/a/b", "0x7f000001/a/b", "017700000001/a/b", "10.0.0.1/a/b",
    "192.168.0.1:8080/a/b", "169.254.169.254/latest/meta-data", "http://169.254.169.254/latest/meta-data",
    "100.100.100.200/latest/meta-data", "metadata.google.internal/computeMetadata/v1", "kubernetes.default.svc/a/b",
    "kubernetes.default.svc.cluster.local:443/a/b", "postgres:5432/a/b", "redis:6379/a/b", "docker:2375/a/b",
    // Forms of IPv6.
    "[::1]/a/b", "[::1]:443/a/b", "::1/a/b", "::ffff:127.0.0.1/a/b", "[::ffff:7f00:1]:80/a/b",
    // A user before the host, and other parts of a URL.
    "user@evil.example/a/b", "user:secret@evil.example/a/b", "models.example@evil.example/a/b",
    "https://models.example@evil.example/a/b", "models.example:443@evil.example/a/b", "models.example#@evil.example/a/b",
    "models.example?@evil.example/a/b", "models.example\\@evil.example/a/b", "models.example%2f@evil.example/a/b",
    "evil.example?x=/models.example/a/b", "evil.example#/models.example/a/b", "evil.example/a/b?registry=models.example",
    // Schemes and slashes.
    "ftp://evil.example/a/b", "file:///etc/passwd", "gopher://127.0.0.1:6379/_a/b", "javascript://evil.example/a/b",
    "https:evil.example/a/b", "https:/evil.example/a/b", "//evil.example/a/b", "///evil.example/a/b", "/evil.example/a/b",
    "evil.example//a/b", "evil.example/a//b", "evil.example/a/b/c", "../../evil.example/a/b", "models.example/../evil.example/b",
    "models.example/a/../../evil.example", "https://https://evil.example/a/b", "models.example/https://evil.example/a/b",
    // Blanks, control characters and other scripts.
    "", " ", " evil.example/a/b", "evil.example/a/b ", "\tevil.example/a/b", "evil.example/a/b\n", "evil.example/a/b\0",
    "models.example/a/b\nevil.example/a/b", "models.example/a/b\r\nHost: evil.example", "models.example\0.evil.example/a/b",
    "\u{ff45}vil.example/a/b", "evil\u{3002}example/a/b", "models.example\u{ff0f}a/b", "evil.example\u{200b}/a/b",
    "m\u{f6}dels.example/a/b", "models.exampl\u{435}/a/b", "\u{202e}elpmaxe.live/a/b",
    // Other sources of a model.
    "models.example/a/b:cloud", "models.example/a/b:8b-cloud", "models.example/a/b@sha256:0000", "models.example/a/b:local",
];

/// Bodies that two parsers may read differently.
const TWO_NAMES: &[&str] = &[
    r#"{"model": "models.example/a/b", "model": "evil.example/a/b"}"#,
    r#"{"model": "models.example/a/b", "MODEL": "evil.example/a/b"}"#,
    r#"{"model": "models.example/a/b", "\u006dodel": "evil.example/a/b"}"#,
    r#"{"model": "models.example/a/b", "name": "evil.example/a/b"}"#,
    r#"{"name": "models.example/a/b", "Name": "evil.example/a/b"}"#,
    r#"{"model": "models.example/a/b"} {"model": "evil.example/a/b"}"#,
    r#"{"model": "models.example/a/b", "insecure": "true"}"#,
];

/// The routes that pull, the field that names the model, and the status of a refusal.
const ROUTES: [(&str, &str, u16); 3] =
    [("/models/pull", "model", 422), ("/api/pull", "model", 400), ("/api/pull", "name", 400)];

/// What left, or would have left, this machine.
#[derive(Clone, Default)]
struct Traffic(Arc<Mutex<BTreeSet<String>>>);

impl Traffic {
    fn record(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    }

    fn seen(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts connections to any address at [`PORTS`], and answers every look-up.
    async fn watch() -> Result<Self> {
        let traffic = Self::default();
        for port in PORTS {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            let traffic = traffic.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    if let Ok(target) = stream.local_addr() {
                        traffic.record(format!("connection to {target}"));
                    }
                }
            });
        }
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).await?;
        let resolver = traffic.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((count, client)) = socket.recv_from(&mut buffer).await {
                if let Some((name, answer)) = resolve(&buffer[..count]) {
                    resolver.record(format!("look-up of {name}"));
                    let _ = socket.send_to(&answer, client).await;
                }
            }
        });
        Ok(traffic)
    }
}

/// The name that a DNS query asks for, and the answer: one address for a question of type A, and none
/// for any other.
fn resolve(query: &[u8]) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    const TYPE_A: [u8; 2] = [0, 1];
    let (mut at, mut labels) = (HEADER, Vec::new());
    while *query.get(at)? > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..end)?).into_owned());
        at = end;
    }
    let question = query.get(HEADER..at + 5)?;
    let name = labels.join(".").to_lowercase();
    let is_address = question.get(question.len() - 4..question.len() - 2)? == TYPE_A;
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        let address = if name == LISTED { LISTED_ADDRESS } else { OTHER_ADDRESS };
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some((name, answer))
}

async fn fixture() -> Result<Fixture> {
    let registry = Registry::start().await?;
    let registries = format!("{},{LISTED}", registry.url());
    Fixture::with_registry(Engine::Sqlite, registry, |launch| launch.env("MODEL_REGISTRIES", &registries)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_cause_no_connection() {
    story(async {
        if !network::is_isolated().await? {
            return Ok(());
        }
        let traffic = Traffic::watch().await?;
        let fixture = fixture().await?;
        assert_refused(&fixture).await?;
        assert_eq!(traffic.seen(), BTreeSet::new(), "hostile names caused traffic");

        // The watch does see traffic: that of a listed registry, and without Paddock that of any.
        let job = fixture.start_pull(&format!("{LISTED}/library/m:1")).await?;
        fixture.wait_for(job, "failed").await?;
        let of_listed = BTreeSet::from([
            format!("look-up of {LISTED}"),
            format!("connection to {}", SocketAddr::from((LISTED_ADDRESS, 443))),
        ]);
        assert_eq!(traffic.seen(), of_listed);
        ensure!(fixture.ollama.pull("evil.example/a/b", false).await.is_err());
        ensure!(traffic.seen().contains("look-up of evil.example"), "{:?}", traffic.seen());
        Ok(())
    })
    .await;
}

/// Asserts that every hostile name is refused by every route.
async fn assert_refused(fixture: &Fixture) -> Result<()> {
    let port = fixture.registry.host().rsplit_once(':').context("a port")?.1.to_owned();
    ensure!(HOSTILE.len() >= 60);
    for hostile in HOSTILE {
        let name = hostile.replace("PORT", &port);
        for (path, field, expected) in ROUTES {
            let answer = fixture.admin.post(path, &json!({field: name})).send().await?;
            let (status, body) = (answer.status().as_u16(), answer.text().await?);
            ensure!(status == expected, "{path} {name:?}: {status} {body}");
        }
    }
    for body in TWO_NAMES {
        for path in ["/models/pull", "/api/pull"] {
            let request = fixture.admin.request(Method::POST, path).header("content-type", "application/json");
            let status = request.body(*body).send().await?.status().as_u16();
            ensure!([400, 422].contains(&status), "{path} {body}: {status}");
        }
    }
    ensure!(fetch_json(fixture.admin.get("/models/pull")).await? == json!([]));
    // A row that was written by other means is checked again before it runs.
    let row = "INSERT INTO pull_jobs (model, written, state, user_id, created_at, updated_at) \
               SELECT 'evil.example/a/b:1', 'evil.example/a/b:1', 'queued', id, created_at, created_at FROM users WHERE id = 1";
    fixture.database.execute(row).await?;
    fixture.wait_for(1, "failed").await?;
    Ok(())
}
