//! The gateway and a real Ollama read each body in the same way, or the gateway refuses it.
//!
//! A proxy between the two records what Ollama gets and what it answers. Each body is also sent to
//! Ollama directly.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_ollama::ModelName;
use paddock_tests::{
    database::{Database, Engine},
    ollama::{CHAT_MODEL, EMBEDDING_MODEL, Ollama},
    paddock::{Caller, Paddock},
    recording_proxy::RecordingProxy,
    story::story,
};
use reqwest::{Client, header};
use serde_json::{Value, json};

use super::{
    assert_dialect,
    bodies::{Endpoints, OTHER_CHAT_MODEL, OTHER_EMBEDDING_MODEL, TARGETS, Target, Templates},
    large_bodies,
    refused_bodies::{OTHER_MODEL, REFUSED},
    served_bodies::SERVED,
};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// This model ran; its name is in canonical form.
    Ran(String),
    /// No model ran.
    Refused(StatusCode),
}

impl Outcome {
    /// Reads an answer. Each endpoint here answers with the name of the model that it ran.
    fn of(status: StatusCode, body: &[u8]) -> Result<Self> {
        if !status.is_success() {
            return Ok(Self::Refused(status));
        }
        let body: Value = serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(body).into_owned())?;
        let model = body["model"].as_str().with_context(|| body.to_string())?;
        Ok(Self::Ran(canonical(model)?))
    }
}

fn canonical(model: &str) -> Result<String> {
    Ok(ModelName::parse(model).with_context(|| model.to_owned())?.as_str().to_owned())
}

/// How the gateway must treat a body.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Served,
    /// With this status, for this reason.
    Refused(StatusCode, &'static str),
}

/// A body that is sent.
struct Variant {
    what: &'static str,
    template: Vec<u8>,
    endpoints: Endpoints,
    expected: Expected,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expected {
            Expected::Served => write!(f, "{}, which must be served", self.what),
            Expected::Refused(_, reason) => write!(f, "{}, which must be refused: {reason}", self.what),
        }
    }
}

fn variants() -> Vec<Variant> {
    let bad = StatusCode::BAD_REQUEST;
    let limits = Expected::Refused(bad, "the limits of nesting and members");
    let other = Expected::Refused(StatusCode::NOT_FOUND, "the other model");
    let mut variants = Vec::new();
    for &(endpoints, templates) in SERVED {
        variants.extend(written(templates, endpoints, Expected::Served));
    }
    for &(reason, endpoints, templates) in REFUSED {
        variants.extend(written(templates, endpoints, Expected::Refused(bad, reason)));
    }
    variants.extend(written(OTHER_MODEL, Endpoints::All, other));
    variants.extend(for_all(large_bodies::served(), Expected::Served));
    variants.extend(for_all(large_bodies::refused(), limits));
    let utf_16 = vec![("UTF-16", large_bodies::utf_16(CHAT_MODEL))];
    variants.extend(for_all(utf_16, Expected::Refused(bad, "not JSON")));
    variants
}

fn written(templates: Templates, endpoints: Endpoints, expected: Expected) -> impl Iterator<Item = Variant> {
    templates.iter().map(move |&(what, template)| Variant { what, template: template.to_vec(), endpoints, expected })
}

fn for_all(templates: Vec<(&'static str, Vec<u8>)>, expected: Expected) -> impl Iterator<Item = Variant> {
    let endpoints = Endpoints::All;
    templates.into_iter().map(move |(what, template)| Variant { what, template, endpoints, expected })
}

/// The gateway with a recording proxy in front of an Ollama that has two names of each model. The
/// caller may use one of them.
struct Fixture {
    ollama: Ollama,
    proxy: RecordingProxy,
    client: Client,
    caller: Caller,
    _paddock: Paddock,
    _database: Database,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let ollama = Ollama::with_models().await?;
        ollama.copy(CHAT_MODEL, OTHER_CHAT_MODEL).await?;
        ollama.copy(EMBEDDING_MODEL, OTHER_EMBEDDING_MODEL).await?;
        let proxy = RecordingProxy::start(ollama.url()).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let (paddock, admin) = Paddock::api(database.url(), &proxy.url()).await?;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, caller) = admin.create_key(user, json!({"models": [CHAT_MODEL, EMBEDDING_MODEL]})).await?;
        Ok(Self { ollama, proxy, client: Client::new(), caller, _paddock: paddock, _database: database })
    }

    /// What Ollama does with a body that comes directly.
    async fn ollama_alone(&self, target: &Target, body: Vec<u8>) -> Result<Outcome> {
        let request = self.client.post(format!("{}{}", self.ollama.url(), target.path));
        let answer = request.header(header::CONTENT_TYPE, "application/json").body(body).send().await?;
        Outcome::of(answer.status(), &answer.bytes().await?)
    }

    /// Sends a body through the gateway, and checks what came of it.
    async fn check(&self, target: &Target, variant: &Variant, body: Vec<u8>) -> Result<()> {
        self.proxy.clear();
        let allowed = Outcome::Ran(canonical(target.allowed)?);
        let answer = self.caller.post(target.path, &Value::Null).body(body).send().await?;
        let (status, answer) = (answer.status(), answer.bytes().await?);
        let forwarded = self.proxy.posts();
        for exchange in &forwarded {
            let ran = Outcome::of(exchange.status, &exchange.answer)?;
            ensure!(matches!(ran, Outcome::Refused(_)) || ran == allowed, "Ollama ran another model: {ran:?}");
        }
        let outcome = Outcome::of(status, &answer)?;
        match variant.expected {
            Expected::Served => ensure!(outcome == allowed, "the gateway: {outcome:?}"),
            Expected::Refused(expected, _) => {
                ensure!(outcome == Outcome::Refused(expected), "the gateway: {outcome:?}");
                ensure!(forwarded.is_empty(), "the gateway forwarded it: {forwarded:?}");
                assert_dialect(target.path, &answer)?;
            }
        }
        Ok(())
    }
}

/// Every variant at every endpoint: nothing runs but the allowed model, and a body that has one
/// reading is served. [`REFUSED`] lists the bodies that Ollama accepts and the gateway does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_as_ollama_reads_it_or_refused() {
    story(async {
        let fixture = Fixture::start().await?;
        let mut wrong = Vec::new();
        for target in &TARGETS {
            for variant in variants().iter().filter(|variant| target.is_in(variant.endpoints)) {
                let body = target.body(&variant.template);
                let checked = fixture.check(target, variant, body.clone()).await;
                let alone = fixture.ollama_alone(target, body).await?;
                if let Err(error) = checked {
                    wrong.push(format!("{}: {variant}: {error:#}; Ollama alone: {alone:?}", target.path));
                }
                // Otherwise the variant would not show what its list says.
                if matches!(variant.expected, Expected::Served) && !matches!(alone, Outcome::Ran(_)) {
                    wrong.push(format!("{}: {variant}: Ollama alone does not serve it: {alone:?}", target.path));
                }
            }
        }
        ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    })
    .await;
}

/// `POST /api/show` also reads `name`.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_show_is_read_as_ollama_reads_it_or_refused() {
    story(async {
        let fixture = Fixture::start().await?;
        // The two members, and whether the allowed model is described. Otherwise the request is refused.
        let cases = [
            (r#""model":"<allowed>""#, true),
            (r#""name":"<allowed>""#, true),
            (r#""model":"<allowed>","name":"<allowed>""#, true),
            (r#""model":"","name":"<allowed>""#, true),
            (r#""model":null,"name":"<allowed>""#, true),
            (r#""model":"<allowed>","name":null"#, true),
            (r#""model":"<allowed>","name":"""#, true),
            (r#""model":"<allowed>","name":"<other>""#, false),
            (r#""model":"<other>","name":"<allowed>""#, false),
            (r#""name":"<allowed>","model":"<other>""#, false),
            (r#""model":"","name":"<other>""#, false),
            (r#""name":"<other>""#, false),
            (r#""model":"<other>","name":"""#, false),
            (r#""model":"<allowed>","NAME":"<other>""#, false),
            (r#""name":"<allowed>","name":"<other>""#, false),
            (r#""model":"<allowed>","n\u0061me":"<other>""#, false),
            (r#""model":["<allowed>"],"name":"<allowed>""#, false),
            (r#""model":"","name":"""#, false),
        ];
        let chat = &TARGETS[0];
        for (members, is_described) in cases {
            fixture.proxy.clear();
            let body = chat.body(format!("{{{members}}}").as_bytes());
            let answer = fixture.caller.post("/api/show", &Value::Null).body(body).send().await?;
            assert_eq!(answer.status().is_success(), is_described, "{members}: {}", answer.status());
            let forwarded = fixture.proxy.posts();
            assert_eq!(forwarded.len(), usize::from(is_described), "{members}: {forwarded:?}");
            for exchange in forwarded {
                let shown: Value = serde_json::from_slice(&exchange.answer)?;
                // The model file of a copy names the copy.
                let file = shown["modelfile"].as_str().context("a model file")?;
                ensure!(!file.contains(OTHER_CHAT_MODEL), "{members}: {file}");
            }
        }
        Ok(())
    })
    .await;
}
