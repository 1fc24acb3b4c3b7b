//! Every route of Ollama in every disguise: Ollama sees the routes of the gateway's table only, and
//! every refusal is an error that the client can read.

use std::{collections::HashMap, fmt::Write as _};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use paddock_ollama::{ENDPOINTS, Endpoint, Operation};
use paddock_tests::story::story;
use serde_json::json;

use super::{assert_dialect, is_below, raw_connection::send_raw};
use crate::gateway::{GatewayFixture, MODEL};

/// Ollama's own route list.
const ROUTES: &str = include_str!("ollama_routes.tsv");
/// The number of routes in it.
const ROUTE_COUNT: usize = 36;
/// Methods that each path is tried with. The last two are none of HTTP's.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post"];
/// The requests that are sent at once.
const CONCURRENCY: usize = 16;

/// A request line, as it is sent.
#[derive(Clone, Debug)]
struct Case {
    method: String,
    /// The request target.
    target: String,
    /// The path in the target, as sent.
    path: String,
    /// The target names the path of the route: as it is, with a query, or with a host before it.
    is_plain: bool,
    /// The target is refused before its path is read, so that the answer may have no body.
    is_malformed: bool,
}

impl Case {
    /// A target that Ollama, or a proxy in front, could take for another path.
    fn disguised(method: &str, target: String) -> Self {
        Self { method: method.to_owned(), path: target.clone(), target, is_plain: false, is_malformed: false }
    }

    /// A target that is none of an HTTP server, or names no path.
    fn malformed(method: &str, target: String) -> Self {
        Self { is_malformed: true, ..Self::disguised(method, target) }
    }

    /// A target that names this path in another way.
    fn plain(method: &str, path: &str, target: String) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), target, is_plain: true, is_malformed: false }
    }

    /// The endpoint that serves the case, if one may.
    fn endpoint(&self) -> Option<&'static Endpoint> {
        let method = if self.method == "HEAD" { "GET" } else { self.method.as_str() };
        let serves = |endpoint: &&Endpoint| {
            endpoint.method == method && (endpoint.path == self.path || endpoint.model_in(&self.path).is_some())
        };
        ENDPOINTS.iter().filter(|_| self.is_plain).find(serves)
    }

    /// The method and path that Ollama may see for this case.
    fn forwarded(&self) -> Option<(&'static str, &'static str)> {
        let endpoint = self.endpoint()?;
        // Ollama cannot look up every name by a path, so the gateway reads the list.
        Some((endpoint.method.as_str(), endpoint.path.strip_suffix("/{model}").unwrap_or(endpoint.path)))
    }
}

/// Ollama's routes, with a value for each parameter.
fn routes() -> Vec<(&'static str, String)> {
    let lines = ROUTES.lines().filter(|line| !line.starts_with('#'));
    let route = |line: &'static str| {
        let (method, path) = line.split_once('\t').expect("a method and a path");
        let path = path
            .replace(":digest", &format!("sha256:{}", "0".repeat(64)))
            .replace(":encodedKey", "a2V5")
            .replace(":model", MODEL)
            .replace("*path", "_health");
        (if method == "ANY" { "POST" } else { method }, path)
    };
    lines.map(route).collect()
}

/// Each byte of a text that `is_escaped` accepts as an escape, with this text after the percent sign.
fn escape(text: &str, percent: &str, is_escaped: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if is_escaped(byte) {
            write!(escaped, "{percent}{byte:02x}").expect("writing to a string");
        } else {
            escaped.push(char::from(byte));
        }
    }
    escaped
}

/// Other ways to write a path, none of which is the path.
fn disguises(path: &str) -> Vec<String> {
    let after_first = &path[1..];
    let last = path.rsplit('/').next().unwrap_or_default();
    let mut disguises = vec![
        format!("{path}/"),
        format!("/{path}"),
        path.replace('/', "//"),
        format!("/.{path}"),
        format!("/..{path}"),
        format!("/x/..{path}"),
        format!("{path}/.."),
        format!("{path}/../{last}"),
        format!("/%2e{path}"),
        format!("/%2E%2E{path}"),
        format!("/x/%2e%2e{path}"),
        format!("{path}/%2e%2e/{last}"),
        format!("/%252e%252e{path}"),
        format!("/{}", after_first.replace('/', "%2f")),
        format!("/{}", after_first.replace('/', "%2F")),
        format!("/{}", after_first.replace('/', "%5c")),
        format!("/{}", after_first.replace('/', "\\")),
        format!("/{}", escape(after_first, "%", |byte| byte.is_ascii_alphabetic())),
        format!("/{}", escape(after_first, "%25", |byte| byte.is_ascii_alphabetic())),
        path.to_ascii_uppercase(),
        format!("{path};x"),
        format!("{path};x=y/z"),
        format!("/;x{path}"),
        format!("{path}."),
        format!("{path}%20"),
        format!("{path}%09"),
        format!("{path}%00"),
        format!("{path}%23"),
        format!("{path}%3fx"),
        format!("{path}%0d%0aX:%20y"),
        format!("{path}*"),
        format!("{path}\u{e4}"),
    ];
    disguises.retain(|disguise| disguise != path);
    disguises
}

/// Targets that contain what no target may contain.
fn malformed(path: &str) -> Vec<String> {
    vec![
        format!("{path}\t"),
        format!("\t{path}"),
        format!("{path}\0"),
        format!("{path} x"),
        format!("{path}\u{7f}"),
        path[1..].to_owned(),
        format!("%2f{}", &path[1..]),
        path.replace('/', "\\"),
        format!("http://{path}"),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (method, path) in routes() {
        let plain = [
            format!("{path}?x=/api/push"),
            format!("{path}#x"),
            format!("http://paddock{path}"),
            format!("http://evil.example:11434{path}"),
            format!("HTTP://PADDOCK{path}?x"),
        ];
        cases.extend(plain.map(|target| Case::plain(method, &path, target)));
        cases.extend(disguises(&path).into_iter().map(|target| Case::disguised(method, target)));
        cases.extend(malformed(&path).into_iter().map(|target| Case::malformed(method, target)));
        cases.extend(METHODS.map(|method| Case::plain(method, &path, path.clone())));
        cases.push(Case::disguised("CONNECT", path.clone()));
    }
    let without_path = [
        ("OPTIONS", "*"),
        ("GET", "*"),
        ("POST", "*"),
        ("CONNECT", "127.0.0.1:11434"),
        ("CONNECT", "http://127.0.0.1:11434/api/chat"),
        ("POST", "127.0.0.1:11434"),
        ("POST", "http://127.0.0.1:11434?/api/chat"),
        ("POST", "/?/api/chat"),
        ("POST", "?/api/chat"),
    ];
    cases.extend(without_path.map(|(method, target)| Case::malformed(method, target.to_owned())));
    cases
}

/// Sends a case with the admin's key, who may use every route that is served at all, and checks the
/// answer.
async fn check(gateway: &GatewayFixture, number: usize, case: &Case) -> Result<()> {
    let body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "Say hello."}],
        "prompt": "Say hello.",
        "input": "Say hello.",
        "max_tokens": 1,
        "stream": false,
    });
    let body = body.to_string();
    let request = format!(
        "{} {} HTTP/1.1\r\nHost: paddock\r\nConnection: close\r\nX-Request-Id: path-{number}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        case.method,
        case.target,
        gateway.admin.key(),
        body.len(),
    );
    let answers = send_raw(gateway.paddock.url(), request.as_bytes(), usize::MAX).await?;
    let (statuses, (head, body)) = (answers.statuses(), answers.head_and_body());
    let &status = statuses.first().with_context(|| format!("no answer: {:?}", answers.text()))?;
    ensure!(statuses.len() == 1, "more than one answer: {statuses:?}");
    ensure!(!(300..400).contains(&status) && !head.contains("\r\nlocation:"), "a redirect: {head}");
    if (200..300).contains(&status) {
        ensure!(case.endpoint().is_some(), "served: {head}");
    } else if case.method == "HEAD" {
        ensure!(body.is_empty(), "HEAD with a body: {body:?}");
    } else if !(case.is_malformed && body.is_empty()) {
        ensure!([400, 403, 404, 405].contains(&status), "{head}");
        let is_ollamas = is_below(&case.path, "/api") || is_below(&case.path, "/v1");
        assert_dialect(if is_ollamas && !case.is_malformed { &case.path } else { "" }, body)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_sees_only_routes_of_the_table() {
    story(async {
        assert_eq!(routes().len(), ROUTE_COUNT);
        let gateway = GatewayFixture::start().await?;
        // Pulls and deletions do not pass through, but become jobs; the suite `models` tests them.
        let becomes_job =
            |case: &Case| case.endpoint().is_some_and(|of| matches!(of.operation, Operation::Pull | Operation::Delete));
        let cases: Vec<Case> = cases().into_iter().filter(|case| !becomes_job(case)).collect();
        let checks = cases.iter().enumerate().map(|(number, case)| {
            let gateway = &gateway;
            async move { check(gateway, number, case).await.with_context(|| format!("{case:?}")) }
        });
        stream::iter(checks).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;

        let mut forwarded = HashMap::<usize, usize>::new();
        for request in gateway.fake.all_requests() {
            let id = request.headers.get("x-request-id").and_then(|id| id.to_str().ok()?.strip_prefix("path-"));
            // The gateway's own polls have no id of a case.
            let Some(number) = id else { continue };
            let number: usize = number.parse()?;
            let case = &cases[number];
            let seen = (request.method.as_str(), request.path.as_str());
            ensure!(case.forwarded() == Some(seen), "{case:?} reached Ollama as {seen:?}");
            *forwarded.entry(number).or_default() += 1;
        }
        // The table is open where it should be, or this test would show nothing.
        for (number, case) in cases.iter().enumerate() {
            let wanted = usize::from(case.forwarded().is_some());
            assert_eq!(forwarded.get(&number).copied().unwrap_or_default(), wanted, "{case:?}");
        }
        Ok(())
    })
    .await;
}
