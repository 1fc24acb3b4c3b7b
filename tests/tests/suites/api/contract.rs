//! A client that trusts no answer: each one must be listed in the server's own OpenAPI document, with its status, its
//! content type and its shape.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, Method};
use reqwest::{Client, RequestBuilder};
use serde::Serialize;
use serde_json::Value;

/// What every answer carries.
const HEADERS: [(&str, &str); 3] =
    [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")];

/// What every answer to someone known carries, beside.
const RATE_LIMIT: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// Headers that a client acts upon. An answer has one only if the document says so.
const ACTED_UPON: [&str; 10] = [
    "allow",
    "content-disposition",
    "retry-after",
    "set-cookie",
    "www-authenticate",
    "x-next-cursor",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-total-count",
];

/// A server and its document.
pub(super) struct Contract {
    pub(super) url: String,
    pub(super) document: Value,
    client: Client,
}

impl Contract {
    pub(super) async fn of(url: &str) -> Result<Self> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let document = client.get(format!("{url}/openapi.json")).send().await?.error_for_status()?.json().await?;
        Ok(Self { url: url.to_owned(), document, client })
    }

    /// The same for requests from this address of the machine's own.
    pub(super) fn from(&self, address: IpAddr) -> Result<Self> {
        let client = Client::builder().local_address(address).build()?;
        Ok(Self { url: self.url.clone(), document: self.document.clone(), client })
    }

    /// A request for an operation, as `GET /users/{id}`.
    pub(super) fn request(&self, operation: &str, id: i64) -> Request<'_> {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let method: Method = method.parse().expect("a method");
        let url = format!("{}{}", self.url, path.replace("{id}", &id.to_string()));
        let request = self.client.request(method.clone(), url);
        Request { contract: self, method, path: path.to_owned(), builder: request }
    }

    /// The document's part on an answer.
    fn response(&self, method: &Method, path: &str, status: u16) -> Result<&Value> {
        let method = method.as_str().to_lowercase();
        let pointer = format!("/paths/{}/{method}/responses/{status}", path.replace('~', "~0").replace('/', "~1"));
        self.document.pointer(&pointer).with_context(|| format!("{method} {path} does not list {status}"))
    }

    /// Whether an operation is for nobody without a credential.
    fn needs_credential(&self, method: &Method, path: &str) -> bool {
        let operation = &self.document["paths"][path][method.as_str().to_lowercase()];
        let (nobody, bearer) = (serde_json::json!({}), serde_json::json!({"bearer": []}));
        operation["security"].as_array().is_some_and(|ways| ways.contains(&bearer) && !ways.contains(&nobody))
    }

    fn check(&self, request: &str, method: &Method, path: &str, answer: &Answer) -> Result<()> {
        for (name, value) in HEADERS {
            ensure!(answer.headers.get(name).is_some_and(|found| found == value), "{request}: no {name}: {answer}");
        }
        for name in ["x-request-id", "content-security-policy"] {
            ensure!(answer.headers.contains_key(name), "{request}: no {name}: {answer}");
        }
        if answer.is_of_someone_known() && self.needs_credential(method, path) {
            for name in RATE_LIMIT {
                let number = answer.header(name).parse::<u64>();
                ensure!(number.is_ok(), "{request}: no {name}: {answer}");
            }
        }
        let response = self.response(method, path, answer.status).with_context(|| answer.to_string())?;
        let described = |name: &str| {
            let headers = response["headers"].as_object();
            headers.is_some_and(|headers| headers.keys().any(|described| described.eq_ignore_ascii_case(name)))
        };
        for name in ACTED_UPON.into_iter().filter(|name| answer.headers.contains_key(*name)) {
            ensure!(described(name), "{request}: {name} is not described with {}: {answer}", answer.status);
        }
        let Some(content) = response["content"].as_object() else {
            ensure!(answer.body.is_empty(), "{request}: a body where there should be none: {answer}");
            return Ok(());
        };
        let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default();
        ensure!(content.contains_key(essence), "{request}: {essence:?} is not listed: {answer}");
        // Streams and plain text are Ollama's business.
        if !["application/json", "application/problem+json"].contains(&essence) {
            return Ok(());
        }
        // Its references lead into the document's components.
        let mut schema = content[essence]["schema"].clone();
        schema["components"] = self.document["components"].clone();
        let instance = if essence.ends_with("json") && essence != "application/x-ndjson" {
            answer.json.clone()
        } else {
            answer.body.clone().into()
        };
        let validator = jsonschema::draft202012::new(&schema)?;
        let errors: Vec<_> =
            validator.iter_errors(&instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
        ensure!(errors.is_empty(), "{request}: {errors:#?}: {answer}");
        if essence == "application/problem+json" {
            assert_eq!(answer.json["status"], answer.status, "{answer}");
            assert_eq!(answer.json["request_id"], answer.headers["x-request-id"].to_str()?, "{answer}");
        }
        Ok(())
    }
}

/// A request about to be sent.
pub(super) struct Request<'a> {
    contract: &'a Contract,
    method: Method,
    path: String,
    builder: RequestBuilder,
}

impl Request<'_> {
    pub(super) fn json(self, body: &Value) -> Self {
        Self { builder: self.builder.json(body), ..self }
    }

    pub(super) fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self { builder: self.builder.header("content-type", content_type).body(body), ..self }
    }

    pub(super) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    pub(super) fn query(self, query: &(impl Serialize + ?Sized)) -> Self {
        Self { builder: self.builder.query(query), ..self }
    }

    /// Sends it. The answer must be in the contract and have this status.
    pub(super) async fn expect(self, status: u16) -> Result<Answer> {
        let request = format!("{} {}", self.method, self.path);
        let answer = self.any().await?;
        ensure!(answer.status == status, "{request}: {} instead of {status}: {answer}", answer.status);
        Ok(answer)
    }

    /// Sends it. The answer must be in the contract.
    pub(super) async fn any(self) -> Result<Answer> {
        // Large, and many in every story.
        Box::pin(self.send_and_check()).await
    }

    async fn send_and_check(self) -> Result<Answer> {
        let request = format!("{} {}", self.method, self.path);
        let answer = self.builder.send().await?;
        let (got, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await?;
        let json = serde_json::from_str(&body).unwrap_or_default();
        let answer = Answer { status: got, headers, body, json };
        self.contract.check(&request, &self.method, &self.path, &answer)?;
        Ok(answer)
    }
}

/// An answer that is in the contract.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// Null if the body is no JSON.
    pub(super) json: Value,
}

impl Answer {
    /// Whether a credential was accepted: not so if there is none, or two, or none can be judged, or none was looked for.
    fn is_of_someone_known(&self) -> bool {
        let unjudged = ["two different credentials", "Host header"].iter().any(|why| self.body.contains(why));
        ![401, 503].contains(&self.status) && !unjudged
    }

    pub(super) fn id(&self, field: &str) -> Result<i64> {
        self.json[field].as_i64().with_context(|| format!("no {field}: {self}"))
    }

    pub(super) fn text(&self, field: &str) -> Result<String> {
        Ok(self.json[field].as_str().with_context(|| format!("no {field}: {self}"))?.to_owned())
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The last word of the problem's type.
    pub(super) fn problem(&self) -> &str {
        let kind = self.json["type"].as_str().unwrap_or_default();
        kind.strip_prefix("/problems/").unwrap_or_default()
    }

    /// The places that the problem names, sorted.
    pub(super) fn pointers(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut pointers: Vec<_> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
        pointers.sort_unstable();
        pointers
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.body)
    }
}
