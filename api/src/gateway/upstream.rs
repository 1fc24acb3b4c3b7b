//! The HTTP client of Ollama, with pooled connections.

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

use crate::http::spans;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an idle connection stays in the pool. Ollama itself never closes one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The interval of TCP keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The URL is not that of an Ollama, and why.
pub(super) struct InvalidUrl(pub(super) String);

/// Sends requests to Ollama.
pub(super) struct UpstreamClient {
    client: Client<HttpConnector, Full<Bytes>>,
    authority: http::uri::Authority,
    host: HeaderValue,
}

impl UpstreamClient {
    /// Builds the client for `http://host:port`. Fails for any other form of URL.
    pub(super) fn new(url: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = url.parse().map_err(|error| InvalidUrl(format!("{url:?}: {error}")))?;
        let has_no_path = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if has_no_path && !authority.as_str().contains('@') => authority.clone(),
            // The URL is not repeated: it may hold a password.
            _ => return Err(InvalidUrl("scheme http, a host, a port and nothing else".to_owned())),
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| InvalidUrl(error.to_string()))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(KEEPALIVE_INTERVAL));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(connector);
        Ok(Self { client, authority, host })
    }

    pub(super) async fn get(&self, path: &'static str, headers: HeaderMap) -> Result<Response<Incoming>, Error> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// Sends a body. Dropping the future before the response closes the connection, and Ollama
    /// stops.
    pub(super) async fn post(
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
        let span = spans::upstream(request.method(), path);
        spans::inject(&span, request.headers_mut());
        let response = self.client.request(request).instrument(span.clone()).await;
        match &response {
            Ok(response) => spans::record_status(&span, response.status()),
            Err(_) => spans::record_failure(&span),
        }
        response
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
        assert_eq!(UpstreamClient::new(url).is_ok(), usable);
    }
}
