//! To Ollama, over pooled connections.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tracing::Instrument as _;

use crate::trace;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a connection is kept for the next request. Ollama itself never closes one.
const IDLE: Duration = Duration::from_secs(90);

/// Why a URL cannot be forwarded to.
pub(crate) struct SetupError(pub(crate) String);

/// Sends requests on.
pub(crate) struct Forwarder {
    client: Client<HttpConnector, Full<Bytes>>,
    authority: http::uri::Authority,
    host: HeaderValue,
}

impl Forwarder {
    /// To the server at `http://host:port`.
    pub(crate) fn new(url: &str) -> Result<Self, SetupError> {
        let uri: Uri = url.parse().map_err(|error| SetupError(format!("{url:?}: {error}")))?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if bare && !authority.as_str().contains('@') => authority.clone(),
            // The URL is not repeated: it may hold a password.
            _ => return Err(SetupError("scheme http, a host, a port and nothing else".to_owned())),
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| SetupError(error.to_string()))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_keepalive(Some(Duration::from_secs(30)));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(connector);
        Ok(Self { client, authority, host })
    }

    pub(crate) async fn get(&self, path: &'static str, headers: HeaderMap) -> Result<Response<Incoming>, Error> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// Sends a body. Dropped before it answers, it closes the connection, and Ollama stops.
    pub(crate) async fn post(
        &self,
        path: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        self.send(Method::POST, path, headers, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        let uri = Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, self.host.clone());
        let span = trace::upstream(request.method(), path);
        trace::pass_on(&span, request.headers_mut());
        let answered = self.client.request(request).instrument(span.clone()).await;
        match &answered {
            Ok(answer) => trace::note_status(&span, answer.status()),
            Err(_) => trace::failed(&span),
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://localhost:11434", true)]
    #[case("http://localhost:11434/", true)]
    #[case("http://[::1]:11434", true)]
    #[case("https://ollama.example", false)]
    #[case("localhost:11434", false)]
    #[case("http://localhost/ollama", false)]
    #[case("http://user:secret@localhost", false)]
    #[tokio::test]
    async fn a_url_is_a_scheme_and_a_host(#[case] url: &str, #[case] usable: bool) {
        assert_eq!(Forwarder::new(url).is_ok(), usable);
    }
}
