//! Parts that the gateway and the management API share: the request context, client address, CORS,
//! headers, spans and metrics, request bodies, exports, and the error of a request.

pub(crate) mod body;
pub(crate) mod client_ip;
pub(crate) mod cors;
pub(crate) mod deadline;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod extract;
mod gateway_metrics;
pub(crate) mod hop_by_hop;
pub(crate) mod host;
pub(crate) mod key_expiry;
pub(crate) mod metrics;
pub(crate) mod openapi_headers;
pub(crate) mod openapi_problems;
pub(crate) mod redact;
pub(crate) mod request_context;
pub(crate) mod request_metrics;
pub(crate) mod request_outcome;
pub(crate) mod security_headers;
pub(crate) mod slot;
pub(crate) mod spans;
#[cfg(test)]
pub(crate) mod test_headers;
mod unlisted_proxies;
