//! The log, traces, metrics and readiness of a server.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    fake_ollama::{FakeOllama, Script, chat_lines},
    paddock::{Caller, Launch, Paddock},
    process::Signal,
    story::story,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::otlp_collector::{Collector, Span};

const MODEL: &str = "smollm2:135m";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// The text of a prompt and a password, which no output may contain.
const CANARY: &str = "canary-4f1d";

struct Served {
    paddock: Paddock,
    admin: Caller,
    ollama: FakeOllama,
    _database: Database,
}

/// `paddock api` on SQLite with these variables, in front of an Ollama that answers a chat.
async fn served(variables: &[(&str, &str)]) -> Result<Served> {
    let (database, ollama) = (Database::new(Engine::Sqlite).await?, FakeOllama::start(&[MODEL]).await?);
    ollama.script("/api/chat", Script::ndjson(chat_lines(MODEL, 3)));
    let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
    let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let (paddock, admin) = Paddock::seeded(launch).await?;
    Ok(Served { paddock, admin, ollama, _database: database })
}

fn chat() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": CANARY}]})
}

/// The lines of the log. Each must be JSON.
fn lines(paddock: &Paddock) -> Result<Vec<Value>> {
    let text = paddock.process().log().text();
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
}

/// The log line with this message about this request.
async fn line(paddock: &Paddock, message: &str, request_id: &str) -> Result<Value> {
    eventually(&format!("`{message}` about {request_id}"), Duration::from_secs(10), async || {
        let of_it = |line: &Value| line["message"] == message && line["request_id"] == request_id;
        lines(paddock)?.into_iter().find(of_it).context("not yet")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_names_the_request_the_user_and_the_key() {
    story(async {
        let served = served(&[("LOG_FORMAT", "json")]).await?;
        let user = served.admin.create_user(json!({"roles": ["user"]})).await?;
        let (credential, caller) = served.admin.create_key(user, json!({})).await?;
        caller.get("/me").header("X-Request-Id", "profile").send().await?.error_for_status()?;
        let profile = line(&served.paddock, "management request", "profile").await?;
        for (name, value) in [
            ("user_id", json!(user)),
            ("credential_id", json!(credential)),
            ("key_id", json!(key_id(&caller))),
            ("route", json!("/me")),
            ("method", json!("GET")),
            ("status", json!(200)),
            ("level", json!("INFO")),
        ] {
            ensure!(profile[name] == value, "{name}: {profile}");
        }
        ensure!(profile["duration_us"].is_u64() && profile["timestamp"].is_string(), "{profile}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_logged_at_its_end_without_its_content() {
    story(async {
        let served = served(&[("LOG_FORMAT", "json")]).await?;
        let user = served.admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, caller) = served.admin.create_key(user, json!({})).await?;
        let request = caller.post("/api/chat", &chat()).header("X-Request-Id", "chat");
        request.send().await?.error_for_status()?.text().await?;
        let streamed = line(&served.paddock, "gateway request", "chat").await?;
        ensure!(streamed["user_id"] == user && streamed["key_id"] == key_id(&caller), "{streamed}");
        ensure!(streamed["outcome"] == "ok", "{streamed}");
        let log = served.paddock.process().log().text();
        ensure!(!log.contains(CANARY) && !log.contains(caller.key()), "a secret in the log");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_logged_with_its_user() {
    story(async {
        let served = served(&[("LOG_FORMAT", "json")]).await?;
        let user = served.admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, caller) = served.admin.create_key(user, json!({})).await?;
        caller.get("/users").header("X-Request-Id", "refused").send().await?;
        let refused = line(&served.paddock, "management request", "refused").await?;
        ensure!(refused["user_id"] == user && refused["status"] == 403, "{refused}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_request_is_recorded_once_however_it_ends() {
    story(async {
        let served = served(&[("LOG_FORMAT", "json")]).await?;
        let send = async |id: &'static str, body: Value| {
            let request = served.admin.post("/api/chat", &body).header("X-Request-Id", id);
            request.timeout(Duration::from_secs(2)).send().await
        };
        send("missing", json!({"model": "missing", "messages": []})).await?;
        let not_found = json!({"error": "model not found"});
        served.ollama.script("/api/chat", Script::json(StatusCode::NOT_FOUND, &not_found));
        send("failed", chat()).await?;
        let slow = Script::ndjson(chat_lines(MODEL, 3)).headers_after(Duration::from_mins(1));
        served.ollama.script("/api/chat", slow);
        ensure!(send("left", chat()).await.is_err(), "the client waited");
        for (id, status, outcome, reason) in [
            ("missing", 404, "refused", json!("model_not_found")),
            ("failed", 404, "upstream_error", Value::Null),
            ("left", 499, "client_gone", Value::Null),
        ] {
            let recorded = line(&served.paddock, "gateway request", id).await?;
            ensure!(recorded["status"] == status && recorded["outcome"] == outcome, "{recorded}");
            ensure!(recorded["reason"] == reason && recorded["duration_us"].is_u64(), "{recorded}");
            ensure!(recorded["method"] == "POST" && recorded["route"] == "/api/chat", "{recorded}");
            let lines = lines(&served.paddock)?;
            let of_it = lines.iter().filter(|line| line["message"] == "gateway request" && line["request_id"] == id);
            ensure!(of_it.count() == 1, "{id} is logged more than once");
        }
        let (_, text) = series(&served.paddock).await?;
        let counted = text.lines().filter(|line| line.starts_with("paddock_gateway_requests_total{"));
        let counted: Vec<_> = counted.filter(|line| line.contains("route=\"/api/chat\"")).collect();
        ensure!(counted.len() == 3 && counted.iter().all(|line| line.ends_with(" 1")), "{counted:?}");
        let durations = text.lines().find(|line| line.starts_with("paddock_gateway_request_duration_seconds_count{"));
        ensure!(durations.is_some_and(|line| line.ends_with(" 3")), "{durations:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_wrong_key_is_logged_without_a_user() {
    story(async {
        let served = served(&[("LOG_FORMAT", "json")]).await?;
        served.paddock.caller("pdk_nonsense").get("/me").header("X-Request-Id", "unknown").send().await?;
        let unknown = line(&served.paddock, "management request", "unknown").await?;
        ensure!(unknown["user_id"].is_null() && unknown["status"] == 401, "{unknown}");
        Ok(())
    })
    .await;
}

/// The public id in a key.
fn key_id(caller: &Caller) -> &str {
    &caller.key()["pdk_".len()..][..10]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_logged_once_with_its_causes_and_the_request() {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        let ollama = FakeOllama::start(&[MODEL]).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url()).env("LOG_FORMAT", "json");
        let (paddock, admin) = Paddock::seeded(launch.env("LOG_LEVEL", "error")).await?;
        database.execute("ALTER TABLE audit_logs RENAME TO elsewhere").await?;
        let created =
            admin.post("/users", &json!({"email": "ada@example.com"})).header("X-Request-Id", "lost").send().await?;
        ensure!(created.status().is_server_error(), "{}", created.status());
        let failed = line(&paddock, "request failed", "lost").await?;
        ensure!(failed["user_id"].is_i64(), "{failed}");
        ensure!(failed["error"].as_str().is_some_and(|error| error.contains("audit_logs")), "{failed}");
        let of_it = lines(&paddock)?.into_iter().filter(|line| line["request_id"] == "lost").count();
        ensure!(of_it == 1, "{of_it} lines about one failure");
        Ok(())
    })
    .await;
}

/// Waits for the span of this name.
async fn span(collector: &Collector, name: &str) -> Result<Span> {
    eventually(&format!("the span {name}"), Duration::from_secs(20), async || {
        let spans = collector.spans();
        let found = spans.iter().find(|span| span.name == name).cloned();
        found.with_context(|| format!("{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_continues_from_the_client_to_ollama() {
    story(async {
        let collector = Collector::start().await?;
        let variables =
            [("LOG_FORMAT", "json"), ("LOG_LEVEL", "info"), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())];
        let served = served(&variables).await?;
        let user = served.admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, caller) = served.admin.create_key(user, json!({})).await?;
        let traced = |request: reqwest::RequestBuilder| {
            request.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).header("X-Request-Id", "traced")
        };
        traced(caller.post("/api/chat", &chat())).send().await?.error_for_status()?.text().await?;
        let logged = line(&served.paddock, "gateway request", "traced").await?;
        ensure!(logged["trace_id"] == TRACE, "{logged}");
        let login = json!({"username": "nobody@example.com", "password": CANARY});
        traced(caller.post("/auth/login?x=1", &login)).send().await?;
        // The process sends its last spans at its end, without waiting for a full batch.
        let stopped = Instant::now();
        served.paddock.process().signal(Signal::Term)?;
        ensure!(served.paddock.process().wait_for_exit(Duration::from_secs(10)).await?.success());
        ensure!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());

        let request = span(&collector, "POST /api/chat").await?;
        let of_trace: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace == TRACE).collect();
        let request_span = of_trace
            .iter()
            .find(|span| span.kind == 2 && span.name == request.name)
            .with_context(|| format!("no server's span: {of_trace:?}"))?;
        let client_span = of_trace.iter().find(|span| span.kind == 3).context("a client's span")?;
        ensure!(request_span.service == "paddock" && request_span.parent == PARENT, "{request_span:?}");
        ensure!(client_span.parent == request_span.id, "{client_span:?}");
        for (name, value) in [
            ("http.request.method", "POST"),
            ("http.route", "/api/chat"),
            ("http.response.status_code", "200"),
            ("request_id", "traced"),
            ("user_id", &user.to_string()),
        ] {
            ensure!(request_span.attributes.get(name).is_some_and(|is| is == value), "{name}: {request_span:?}");
        }
        let seen = served.ollama.requests("/api/chat");
        let passed = seen[0].headers.get("traceparent").context("Ollama got no traceparent")?.to_str()?;
        ensure!(passed == format!("00-{TRACE}-{}-01", client_span.id), "{passed}");
        ensure!(of_trace.iter().any(|span| span.name == "POST /auth/login"), "{of_trace:?}");
        for secret in [CANARY, caller.key(), "x=1"] {
            ensure!(!collector.contains(secret), "{secret} in a trace");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_collector_is_logged_once() {
    story(async {
        let variables = [
            ("LOG_FORMAT", "json"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            // Batches fail in quick succession.
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        let served = served(&variables).await?;
        let is_warning =
            |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let warnings =
            || -> Result<usize> { Ok(lines(&served.paddock)?.iter().filter(|line| is_warning(line)).count()) };
        for _ in 0..5 {
            let began = Instant::now();
            served.admin.get("/me").send().await?.error_for_status()?;
            ensure!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            eventually("the warning", Duration::from_secs(10), async || {
                ensure!(warnings()? == 1);
                Ok(())
            })
            .await?;
        }
        served.paddock.process().signal(Signal::Term)?;
        ensure!(served.paddock.process().wait_for_exit(Duration::from_secs(10)).await?.success());
        ensure!(warnings()? == 1, "{} warnings", warnings()?);
        Ok(())
    })
    .await;
}

/// The series of the server's metrics, without their values, and the text.
async fn series(paddock: &Paddock) -> Result<(BTreeSet<String>, String)> {
    let text = reqwest::get(format!("{}/metrics", paddock.metrics_url())).await?.error_for_status()?.text().await?;
    let named = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let named = named.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect();
    Ok((named, text))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_cannot_add_metric_series() {
    story(async {
        let served = served(&[]).await?;
        let client = Client::new();
        let odd = async |round: usize| -> Result<()> {
            let methods = ["GET", "POST", "BREW", &format!("X{round}")].map(str::to_owned);
            for method in methods {
                let method = Method::from_bytes(method.as_bytes())?;
                for path in ["/users/", "/nowhere/", "/api/", "/v1/", "/docs/", "/api/blobs/", "/"] {
                    let url = format!("{}{path}{round}?q={round}", served.paddock.url());
                    let key = format!("pdk_{round:010}");
                    client
                        .request(method.clone(), url)
                        .bearer_auth(key)
                        .header("X-Request-Id", round)
                        .send()
                        .await?
                        .bytes()
                        .await?;
                }
            }
            let body = json!({"model": format!("model-{round}"), "messages": []});
            served.admin.post("/api/chat", &body).header("User-Agent", round).send().await?;
            Ok(())
        };
        served.admin.post("/api/chat", &chat()).send().await?.error_for_status()?.text().await?;
        odd(0).await?;
        let (before, _) = series(&served.paddock).await?;
        for round in 1..30 {
            odd(round).await?;
        }
        let (after, _) = series(&served.paddock).await?;
        ensure!(before == after, "new: {:?}", after.difference(&before).collect::<Vec<_>>());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_described() {
    story(async {
        let served = served(&[]).await?;
        served.admin.post("/api/chat", &chat()).send().await?.error_for_status()?.text().await?;
        let (_, text) = series(&served.paddock).await?;
        for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            ensure!(text.contains(&format!("# HELP {family} ")), "{family} is not described");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_have_the_build_the_start_time_and_the_database_connections() {
    story(async {
        let served = served(&[]).await?;
        served.admin.post("/api/chat", &chat()).send().await?.error_for_status()?.text().await?;
        let (_, text) = series(&served.paddock).await?;
        let value = |name: &str| -> Result<f64> {
            let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
            Ok(line.rsplit(' ').next().context("a value")?.parse()?)
        };
        ensure!(value("paddock_build_info{version=")? >= 1.0);
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs_f64();
        ensure!((now - 600.0..=now).contains(&value("process_start_time_seconds")?));
        ensure!(value("paddock_database_connections{state=\"idle\"}")? >= 1.0);
        ensure!(value("paddock_database_connections_max")? >= 2.0);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_the_missing_database() {
    story(async {
        let database = Database::new(Engine::Postgres).await?;
        let ollama = FakeOllama::start(&[MODEL]).await?;
        let launch = Launch::new(&["api"], database.url())?.ollama(&ollama.url());
        launch.seed()?;
        let unready = launch.clone().env("DATABASE_URL", super::UNREACHABLE_DATABASE).spawn()?;
        for listener in [unready.url(), unready.metrics_url()] {
            let missing = eventually("an answer", Duration::from_secs(20), async || {
                let answer = reqwest::get(format!("{listener}/readyz")).await?;
                ensure!(answer.status() == StatusCode::SERVICE_UNAVAILABLE, "{}", answer.status());
                Ok(answer.text().await?)
            })
            .await?;
            ensure!(missing.contains("database"), "{missing}");
        }
        Ok(())
    })
    .await;
}
