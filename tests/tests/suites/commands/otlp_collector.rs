//! A collector of traces: it accepts OTLP over HTTP, and decodes the fields that tests check.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bytes::Bytes;
use tokio::{net::TcpListener, task::AbortHandle};

/// A received span.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) name: String,
    /// 2 for a server's span, 3 for a client's.
    pub(super) kind: u64,
    pub(super) attributes: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
    authorization: Arc<Mutex<Option<String>>>,
}

pub(super) struct Collector {
    url: String,
    received: Received,
    serving: AbortHandle,
}

impl Collector {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let received = Received::default();
        let app = Router::new().route("/v1/traces", post(receive)).with_state(received.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
        Ok(Self { url, received, serving })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All received bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.received.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the received bytes contain this text.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The `Authorization` header of the last request.
    pub(super) fn authorization(&self) -> Option<String> {
        self.received.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    State(received): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    let spans = match kind {
        Some("application/x-protobuf") => decode_request(&body),
        other => Err(anyhow::anyhow!("{other:?}")),
    };
    let spans = spans.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))?;
    let shown = headers.get("authorization").and_then(|shown| shown.to_str().ok()).map(str::to_owned);
    *received.authorization.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    received.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&body);
    received.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
    Ok(StatusCode::OK)
}

/// A field of a message: its number, and a number or bytes.
enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().context("cut short")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}

fn fields(mut bytes: &[u8]) -> Result<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let take = |bytes: &mut &'_ [u8], length: usize| -> Result<()> {
        *bytes = bytes.get(length..).context("cut short")?;
        Ok(())
    };
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => fields.push(Field::Number(key >> 3, varint(&mut bytes)?)),
            1 => take(&mut bytes, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?)?;
                fields.push(Field::Bytes(key >> 3, bytes.get(..length).context("cut short")?));
                take(&mut bytes, length)?;
            }
            5 => take(&mut bytes, 4)?,
            other => bail!("wire type {other}"),
        }
    }
    Ok(fields)
}

/// The length-delimited fields of a message with this number.
fn nested(bytes: &[u8], number: u64) -> Result<Vec<&[u8]>> {
    let found = fields(bytes)?.into_iter().filter_map(|field| match field {
        Field::Bytes(n, inner) if n == number => Some(inner),
        _ => None,
    });
    Ok(found.collect())
}

/// Decodes an `ExportTraceServiceRequest`.
fn decode_request(bytes: &[u8]) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for of_resource in nested(bytes, 1)? {
        let mut service = String::new();
        for resource in nested(of_resource, 1)? {
            service = attributes(resource, 1)?.remove("service.name").unwrap_or_default();
        }
        for of_scope in nested(of_resource, 2)? {
            for bytes in nested(of_scope, 2)? {
                spans.push(Span { service: service.clone(), ..decode_span(bytes)? });
            }
        }
    }
    Ok(spans)
}

fn decode_span(bytes: &[u8]) -> Result<Span> {
    let mut span = Span { attributes: attributes(bytes, 9)?, ..Span::default() };
    for field in fields(bytes)? {
        match field {
            Field::Bytes(1, id) => span.trace = hex::encode(id),
            Field::Bytes(2, id) => span.id = hex::encode(id),
            Field::Bytes(4, id) => span.parent = hex::encode(id),
            Field::Bytes(5, name) => span.name = String::from_utf8(name.to_vec())?,
            Field::Number(6, kind) => span.kind = kind,
            _ => {}
        }
    }
    Ok(span)
}

/// The `KeyValue` fields with this number, for texts and numbers.
fn attributes(bytes: &[u8], number: u64) -> Result<BTreeMap<String, String>> {
    let mut attributes = BTreeMap::new();
    for pair in nested(bytes, number)? {
        let (mut name, mut text) = (String::new(), String::new());
        for field in fields(pair)? {
            match field {
                Field::Bytes(1, key) => name = String::from_utf8(key.to_vec())?,
                Field::Bytes(2, value) => {
                    for field in fields(value)? {
                        match field {
                            Field::Bytes(_, value) => text = String::from_utf8_lossy(value).into_owned(),
                            Field::Number(_, value) => text = value.to_string(),
                        }
                    }
                }
                _ => {}
            }
        }
        attributes.insert(name, text);
    }
    Ok(attributes)
}
