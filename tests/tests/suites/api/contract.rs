//! A client that checks every answer against the server's own OpenAPI document: its status, content
//! type, headers and schema.

use std::{fmt, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, Method};
use reqwest::{Client, RequestBuilder};
use serde::Serialize;
use serde_json::Value;

use super::{MODEL, authorization::model_name};

/// The headers of every answer.
const HEADERS: [(&str, &str); 3] =
    [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")];

/// The headers of every answer to an authenticated caller.
const RATE_LIMIT: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// Headers that a client acts upon. An answer has one of them only if the document declares it.
const DECLARED_HEADERS: [&str; 10] = [
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
    /// Fetches the document of the server at `url`.
    pub(super) async fn fetch(url: &str) -> Result<Self> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let document = client.get(format!("{url}/openapi.json")).send().await?.error_for_status()?.json().await?;
        Ok(Self { url: url.to_owned(), document, client })
    }

    /// The same contract, with requests from this local address.
    pub(super) fn with_local_address(&self, address: IpAddr) -> Result<Self> {
        let client = Client::builder().local_address(address).build()?;
        Ok(Self { url: self.url.clone(), document: self.document.clone(), client })
    }

    /// A client with this bearer credential, or none.
    pub(super) fn client(&self, credential: Option<&str>) -> ApiClient<'_> {
        ApiClient { contract: self, credential: credential.map(str::to_owned) }
    }

    /// The path template of the document that a path belongs to; the path itself when it belongs to
    /// none.
    fn template(&self, path: &str) -> String {
        let paths = &self.document["paths"];
        let is_match = |template: &&String| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        let matching = paths.as_object().into_iter().flat_map(|paths| paths.keys()).find(is_match);
        if paths.get(path).is_some() { path.to_owned() } else { matching.map_or(path, String::as_str).to_owned() }
    }

    /// The document's description of an answer.
    fn response(&self, method: &Method, path: &str, status: u16) -> Result<&Value> {
        let method = method.as_str().to_lowercase();
        let pointer = format!("/paths/{}/{method}/responses/{status}", path.replace('~', "~0").replace('/', "~1"));
        self.document.pointer(&pointer).with_context(|| format!("{method} {path} does not list {status}"))
    }

    /// Whether an operation requires a credential.
    fn needs_credential(&self, method: &Method, path: &str) -> bool {
        let operation = &self.document["paths"][path][method.as_str().to_lowercase()];
        let (none, bearer) = (serde_json::json!({}), serde_json::json!({"bearer": []}));
        operation["security"].as_array().is_some_and(|schemes| schemes.contains(&bearer) && !schemes.contains(&none))
    }

    fn check(&self, request: &str, method: &Method, path: &str, answer: &Answer) -> Result<()> {
        for (name, value) in HEADERS {
            ensure!(answer.headers.get(name).is_some_and(|found| found == value), "{request}: no {name}: {answer}");
        }
        for name in ["x-request-id", "content-security-policy"] {
            ensure!(answer.headers.contains_key(name), "{request}: no {name}: {answer}");
        }
        let is_counted = path != "/v1/messages/count_tokens";
        if is_counted && answer.is_to_authenticated_caller() && self.needs_credential(method, path) {
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
        for name in DECLARED_HEADERS.into_iter().filter(|name| answer.headers.contains_key(*name)) {
            ensure!(described(name), "{request}: {name} is not described with {}: {answer}", answer.status);
        }
        let Some(content) = response["content"].as_object() else {
            ensure!(answer.body.is_empty(), "{request}: a body where there should be none: {answer}");
            return Ok(());
        };
        let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default();
        ensure!(content.contains_key(essence), "{request}: {essence:?} is not listed: {answer}");
        // The document does not describe Ollama's streams and plain text.
        if !["application/json", "application/problem+json"].contains(&essence) {
            return Ok(());
        }
        // The schema refers to the document's components.
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

/// A client that sends every request with the same credential, or with none.
pub(super) struct ApiClient<'a> {
    contract: &'a Contract,
    credential: Option<String>,
}

impl<'a> ApiClient<'a> {
    pub(super) fn get(self, path: impl AsRef<str>) -> Request<'a> {
        self.request(Method::GET, path.as_ref())
    }

    pub(super) fn post(self, path: impl AsRef<str>) -> Request<'a> {
        self.request(Method::POST, path.as_ref())
    }

    pub(super) fn patch(self, path: impl AsRef<str>) -> Request<'a> {
        self.request(Method::PATCH, path.as_ref())
    }

    pub(super) fn delete(self, path: impl AsRef<str>) -> Request<'a> {
        self.request(Method::DELETE, path.as_ref())
    }

    /// A request for an operation of a table, such as `GET /users/{id}`. Operations without `{id}`
    /// ignore `id`. `{name}` is the name of the model with this number.
    pub(super) fn operation(self, operation: &str, id: i64) -> Request<'a> {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        self.request(
            method.parse().expect("a method"),
            &path.replace("{id}", &id.to_string()).replace("{model}", MODEL).replace("{name}", &model_name(id)),
        )
    }

    fn request(self, method: Method, path: &str) -> Request<'a> {
        let mut builder = self.contract.client.request(method.clone(), format!("{}{path}", self.contract.url));
        if let Some(credential) = self.credential {
            builder = builder.header("authorization", format!("Bearer {credential}"));
        }
        Request { contract: self.contract, method, path: self.contract.template(path), builder }
    }
}

/// A request about to be sent.
pub(super) struct Request<'a> {
    contract: &'a Contract,
    method: Method,
    /// The path template of the document.
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

    /// Sends the request. The answer must fulfil the contract and have this status.
    pub(super) async fn expect(self, status: u16) -> Result<Answer> {
        let request = format!("{} {}", self.method, self.path);
        let answer = self.any().await?;
        ensure!(answer.status == status, "{request}: {} instead of {status}: {answer}", answer.status);
        Ok(answer)
    }

    /// Sends the request. The answer must fulfil the contract.
    pub(super) async fn any(self) -> Result<Answer> {
        // Boxed, because the future is large and part of every story.
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

/// An answer that fulfils the contract.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// The body as JSON; null if it is not JSON.
    pub(super) json: Value,
}

impl Answer {
    /// Whether the server authenticated the caller. It does not when credentials are missing, wrong
    /// or in conflict, when it cannot check them, or when the Host header is wrong.
    fn is_to_authenticated_caller(&self) -> bool {
        // The gateway's dialects have no problem type, so that its refusals are known by their
        // text.
        let is_unchecked = ["two different credentials", "Host header"].iter().any(|cause| self.body.contains(cause));
        ![401, 503].contains(&self.status) && !is_unchecked
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

    /// The slug of the problem's type.
    pub(super) fn problem(&self) -> &str {
        let kind = self.json["type"].as_str().unwrap_or_default();
        kind.strip_prefix("/problems/").unwrap_or_default()
    }

    /// The pointers of the problem's errors, sorted.
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
