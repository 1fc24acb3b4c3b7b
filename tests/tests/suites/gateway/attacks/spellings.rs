//! Spellings of model names, in front of a real Ollama: a caller gets its own model in each of them,
//! and no caller gets another one in any.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use http::StatusCode;
use paddock_ollama::ModelName;
use paddock_tests::{
    database::{Database, Engine},
    ollama::{CHAT_MODEL, EMBEDDING_MODEL, Ollama},
    paddock::{Caller, Paddock},
    recording_proxy::RecordingProxy,
    story::story,
};
use serde_json::{Value, json};

use super::assert_dialect;

/// Spellings of [`CHAT_MODEL`] that both Ollama and the gateway take for it.
const SPELLINGS: [&str; 34] = [
    "smollm2:135m",
    "SMOLLM2:135M",
    "SmolLM2:135m",
    "Smollm2:135M",
    "smollm2:135M",
    "sMOLLM2:135m",
    "library/smollm2:135m",
    "Library/smollm2:135m",
    "LIBRARY/SMOLLM2:135M",
    "library/SmolLM2:135M",
    "liBRary/smoLLm2:135m",
    "registry.ollama.ai/library/smollm2:135m",
    "REGISTRY.OLLAMA.AI/library/smollm2:135m",
    "Registry.Ollama.ai/Library/SmolLM2:135M",
    "registry.ollama.ai/LIBRARY/smollm2:135m",
    "registry.ollama.ai/library/SMOLLM2:135m",
    "registry.ollama.AI/library/smollm2:135M",
    "REGISTRY.OLLAMA.AI/LIBRARY/SMOLLM2:135M",
    "https://registry.ollama.ai/library/smollm2:135m",
    "https://REGISTRY.OLLAMA.AI/library/smollm2:135m",
    "https://registry.ollama.ai/Library/smollm2:135m",
    "https://registry.ollama.ai/library/SmolLM2:135m",
    "https://registry.ollama.ai/library/smollm2:135M",
    "https://Registry.Ollama.ai/LIBRARY/SMOLLM2:135M",
    "http://registry.ollama.ai/library/smollm2:135m",
    "http://REGISTRY.OLLAMA.AI/library/smollm2:135m",
    "http://registry.ollama.ai/LIBRARY/smollm2:135m",
    "http://registry.ollama.ai/library/SMOLLM2:135M",
    "HTTPS://registry.ollama.ai/library/smollm2:135m",
    "HTTP://registry.ollama.ai/library/smollm2:135m",
    "Https://registry.ollama.ai/library/smollm2:135m",
    "Http://Registry.Ollama.Ai/Library/Smollm2:135m",
    "hTTPS://REGISTRY.ollama.ai/library/smollm2:135M",
    "HTTPS://REGISTRY.OLLAMA.AI/LIBRARY/SMOLLM2:135M",
];

/// Names of other models, which Ollama lacks.
const OTHERS: [&str; 10] = [
    "smollm2",
    "smollm2:135m-x",
    "smollm2/135m",
    "library/library/smollm2:135m",
    "registry.ollama.ai:443/library/smollm2:135m",
    "registry.ollama.ai./library/smollm2:135m",
    "ollama.com/library/smollm2:135m",
    "https://ollama.com/library/smollm2:135m",
    "localhost/library/smollm2:135m",
    "smollm2_135m",
];

/// Texts that Ollama takes for [`CHAT_MODEL`] and the gateway refuses, with the reason.
const REFUSED_BY_US: [(&str, &str); 11] = [
    (" smollm2:135m", "white space is no part of a name"),
    ("smollm2:135m ", "white space is no part of a name"),
    ("\tsmollm2:135m\n", "white space is no part of a name"),
    ("smollm2:135m\r\n", "white space is no part of a name"),
    ("\u{a0}smollm2:135m", "white space is no part of a name"),
    ("smollm2:135m:local", "older versions take :local for a tag"),
    ("SMOLLM2:135m:LOCAL", "older versions take :local for a tag"),
    ("registry.ollama.ai/library/smollm2:135m:local", "older versions take :local for a tag"),
    ("ftp://registry.ollama.ai/library/smollm2:135m", "no scheme of a registry"),
    ("file://registry.ollama.ai/library/smollm2:135m", "no scheme of a registry"),
    ("://registry.ollama.ai/library/smollm2:135m", "no scheme of a registry"),
];

/// Texts that are no names, or names of models in Ollama's cloud, with the status of the refusal.
const REFUSED: [(&str, u16); 41] = [
    ("", 400),
    (" ", 400),
    ("*", 400),
    ("smol*:135m", 400),
    ("smollm2:*", 400),
    ("smollm2 :135m", 400),
    ("smollm2: 135m", 400),
    (":135m", 400),
    ("smollm2:", 400),
    ("smollm2::135m", 400),
    ("smollm2:135m:", 400),
    ("/smollm2:135m", 400),
    ("//smollm2:135m", 400),
    ("library//smollm2:135m", 400),
    ("library/smollm2:135m/", 400),
    ("./smollm2:135m", 400),
    ("../smollm2:135m", 400),
    ("library/../smollm2:135m", 400),
    ("a/registry.ollama.ai/library/smollm2:135m", 400),
    ("registry.ollama.ai/smollm2:135m", 400),
    ("https://smollm2:135m", 400),
    ("https://library/smollm2:135m", 400),
    ("https://https://registry.ollama.ai/library/smollm2:135m", 400),
    ("smollm2:135m@sha256:0123", 400),
    ("smollm2@sha256:0123", 400),
    ("smollm2%3A135m", 400),
    ("library%2Fsmollm2:135m", 400),
    ("library\\smollm2:135m", 400),
    ("smollm2:135m\0", 400),
    ("smollm2\0:135m", 400),
    ("smollm2:135m#", 400),
    ("smollm2:135m?x", 400),
    ("smollm2;135m", 400),
    // Go's comparison without case takes the long s for an s, and the Kelvin sign for a k.
    ("\u{17f}mollm2:135m", 400),
    ("smollm2:135m\u{212a}", 400),
    // A full-width letter, an Arabic digit, a zero-width space, a mark that turns the direction.
    ("\u{ff53}mollm2:135m", 400),
    ("smollm2:\u{661}35m", 400),
    ("smollm2\u{200b}:135m", 400),
    ("\u{202e}smollm2:135m", 400),
    ("smollm2:135m:cloud", 403),
    ("smollm2:135m-cloud", 403),
];

/// The endpoints that a spelling is sent to.
const PATHS: [&str; 3] = ["/api/chat", "/v1/chat/completions", "/v1/messages"];

/// A gateway in front of the shared Ollama, and two callers: one may use [`CHAT_MODEL`] only, the
/// other may use [`EMBEDDING_MODEL`] only.
struct Fixture {
    proxy: RecordingProxy,
    owner: Caller,
    stranger: Caller,
    _paddock: Paddock,
    _database: Database,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let ollama = Ollama::shared().await?;
        let proxy = RecordingProxy::start(ollama.url()).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let (paddock, admin) = Paddock::api(database.url(), &proxy.url()).await?;
        let user = admin.create_user(json!({"roles": ["user"]})).await?;
        let (_, owner) = admin.create_key(user, json!({"models": [CHAT_MODEL]})).await?;
        let (_, stranger) = admin.create_key(user, json!({"models": [EMBEDDING_MODEL]})).await?;
        Ok(Self { proxy, owner, stranger, _paddock: paddock, _database: database })
    }
}

/// Asks for one token of a model. Returns the status and the body.
async fn ask(caller: &Caller, path: &str, model: &str) -> Result<(StatusCode, String)> {
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": false,
        "max_tokens": 1,
        "options": {"num_predict": 1},
    });
    let answer = caller.post(path, &body).send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// Asks for a model with its name in the path, with an escape for each byte.
async fn retrieve(caller: &Caller, model: &str) -> Result<(StatusCode, String)> {
    let mut path = "/v1/models/".to_owned();
    for byte in model.bytes() {
        write!(path, "%{byte:02X}")?;
    }
    let answer = caller.get(&path).send().await?;
    Ok((answer.status(), answer.text().await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_allowed_model_runs_in_each_spelling() {
    story(async {
        let fixture = Fixture::start().await?;
        let canonical = ModelName::parse(CHAT_MODEL)?;
        for spelling in SPELLINGS {
            for path in PATHS {
                let (status, body) = ask(&fixture.owner, path, spelling).await?;
                ensure!(status == StatusCode::OK, "{spelling:?} at {path}: {status} {body}");
                let body: Value = serde_json::from_str(&body)?;
                let ran = ModelName::parse(body["model"].as_str().unwrap_or_default())?;
                ensure!(ran == canonical, "{spelling:?} at {path} ran {ran}");
            }
            let (status, body) = retrieve(&fixture.owner, spelling).await?;
            ensure!(status == StatusCode::OK, "{spelling:?} in a path: {status} {body}");
            assert_eq!(serde_json::from_str::<Value>(&body)?["id"], spelling);
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_allowed_looks_missing_in_each_spelling() {
    story(async {
        let fixture = Fixture::start().await?;
        for spelling in SPELLINGS {
            // A model that Ollama lacks, in the same spelling.
            let missing = spelling.to_ascii_lowercase().replace("smollm2", "no-such");
            for path in PATHS {
                let (status, refusal) = ask(&fixture.stranger, path, spelling).await?;
                let (unknown_status, unknown) = ask(&fixture.stranger, path, &missing).await?;
                ensure!(status == StatusCode::NOT_FOUND, "{spelling:?} at {path}: {status} {refusal}");
                assert_eq!(status, unknown_status);
                assert_eq!(refusal.replace(spelling, "?"), unknown.replace(&missing, "?"), "{path}");
            }
            let (status, refusal) = retrieve(&fixture.stranger, spelling).await?;
            let (_, unknown) = retrieve(&fixture.stranger, &missing).await?;
            assert_eq!(status, StatusCode::NOT_FOUND, "{spelling:?} in a path");
            assert_eq!(refusal.replace(spelling, "?"), unknown.replace(&missing, "?"));
        }
        ensure!(fixture.proxy.posts().is_empty(), "{:?}", fixture.proxy.posts());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_other_models_are_not_found() {
    story(async {
        let fixture = Fixture::start().await?;
        for name in OTHERS {
            for caller in [&fixture.owner, &fixture.stranger] {
                for path in PATHS {
                    let (status, body) = ask(caller, path, name).await?;
                    ensure!(status == StatusCode::NOT_FOUND, "{name:?} at {path}: {status} {body}");
                    assert_dialect(path, body.as_bytes())?;
                }
            }
        }
        ensure!(fixture.proxy.posts().is_empty(), "{:?}", fixture.proxy.posts());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_no_names_are_refused_for_every_caller() {
    story(async {
        let fixture = Fixture::start().await?;
        let ambiguous = REFUSED_BY_US.iter().map(|&(text, _)| (text, 400));
        for (text, expected) in ambiguous.chain(REFUSED) {
            for caller in [&fixture.owner, &fixture.stranger] {
                for path in PATHS {
                    let (status, body) = ask(caller, path, text).await?;
                    ensure!(status.as_u16() == expected, "{text:?} at {path}: {status} {body}");
                    assert_dialect(path, body.as_bytes())?;
                }
            }
        }
        ensure!(fixture.proxy.posts().is_empty(), "{:?}", fixture.proxy.posts());
        Ok(())
    })
    .await;
}

/// What Ollama does with each text that comes directly: the lists above say what it does.
#[tokio::test(flavor = "multi_thread")]
async fn ollama_alone_takes_the_spellings_as_listed() {
    story(async {
        let ollama = Ollama::shared().await?;
        let client = reqwest::Client::new();
        let taken = SPELLINGS.into_iter().chain(REFUSED_BY_US.map(|(text, _)| text)).map(|text| (text, true));
        let not_taken = OTHERS.into_iter().chain(REFUSED.map(|(text, _)| text)).map(|text| (text, false));
        for (text, is_taken) in taken.chain(not_taken) {
            let body = json!({"model": text, "messages": [], "stream": false});
            // Without messages it only loads the model.
            let answer = client.post(format!("{}/api/chat", ollama.url())).json(&body).send().await?;
            assert_eq!(answer.status() == StatusCode::OK, is_taken, "{text:?}: {}", answer.status());
        }
        Ok(())
    })
    .await;
}
