//! A small OCI registry of models that Ollama pulls from: `127.0.0.1:PORT/library/smollm2:135m`,
//! with `insecure`.
//!
//! It has what Ollama 0.32 needs: manifests by tag, and blobs by HEAD and GET with `Range`. Ollama
//! refuses answers for blobs without a `Location` header, even with status 200.

use std::{
    collections::HashMap,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom},
    net::TcpListener,
    task::AbortHandle,
};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const MODEL: &str = "application/vnd.ollama.image.model";
const PARAMETERS: &str = "application/vnd.ollama.image.params";

const CHUNK_SIZE: usize = 64 << 10;

/// A fault that the registry injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each connection gets this many bytes per second of a blob.
    Throttle(u32),
    /// The first half of each blob response is sent, then nothing.
    Stall,
    /// Every response for a blob has this status.
    Blobs(StatusCode),
    /// Every response for a manifest has this status.
    Manifests(StatusCode),
    /// The first byte of each blob response is changed, so that the digest does not match.
    Corrupt,
}

#[derive(Clone)]
enum Blob {
    Memory(Bytes),
    File(PathBuf, u64),
}

impl Blob {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

#[derive(Default)]
struct Contents {
    blobs: HashMap<String, Blob>,
    manifests: HashMap<String, Bytes>,
    fault: Option<Fault>,
    requests: Vec<String>,
    transfers: Arc<()>,
    bytes_sent: Arc<AtomicU64>,
}

/// A running registry on a free port of 127.0.0.1.
pub struct Registry {
    address: SocketAddr,
    contents: Arc<Mutex<Contents>>,
    server: AbortHandle,
}

impl Registry {
    /// Starts an empty registry.
    pub async fn start() -> Result<Self> {
        let contents = Arc::new(Mutex::new(Contents::default()));
        let router = Router::new()
            .route("/v2/{namespace}/{name}/manifests/{tag}", get(manifest))
            .route("/v2/{namespace}/{name}/blobs/{digest}", get(blob))
            .with_state(Arc::clone(&contents));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, contents, server })
    }

    /// `127.0.0.1:PORT`, the first part of its models' names.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its base URL, as `MODEL_REGISTRIES` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a model that can chat, from a .gguf file, and returns its full name and its manifest's
    /// digest.
    ///
    /// `model` is its name without the registry, such as `library/smollm2:135m`.
    pub fn add_gguf(&self, model: &str, file: &Path) -> Result<(String, String)> {
        let size = std::fs::metadata(file)?.len();
        let digest = digest_of_file(file)?;
        let weights = Blob::File(file.to_owned(), size);
        self.add(model, &digest, weights)
    }

    /// Adds a model of `size` meaningless bytes, which Ollama can pull but not run. Each seed gives
    /// other bytes.
    pub fn add_noise(&self, model: &str, size: usize, seed: u64) -> Result<(String, String)> {
        let mut state = seed | 1;
        let bytes: Bytes = (0..size)
            .map(|_| {
                // A linear congruential generator: the bytes need not be random, only different.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        let digest = digest_of(&bytes);
        self.add(model, &digest, Blob::Memory(bytes))
    }

    fn add(&self, model: &str, weights_digest: &str, weights: Blob) -> Result<(String, String)> {
        let (path, tag) = model.split_once(':').context("a model's name has a tag")?;
        let config = json!({
            "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "134.52M", "file_type": "Q4_1",
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [weights_digest]},
        });
        let size = weights.len();
        let mut contents = self.contents();
        contents.blobs.insert(weights_digest.to_owned(), weights);
        let mut put = |kind: &str, document: Value| {
            let bytes = Bytes::from(document.to_string());
            let digest = digest_of(&bytes);
            let entry = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
            contents.blobs.insert(digest, Blob::Memory(bytes));
            entry
        };
        let config = put(CONFIG, config);
        let parameters = put(PARAMETERS, json!({"temperature": 0.2, "stop": ["<|im_start|>", "<|im_end|>"]}));
        let manifest = Bytes::from(
            json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                "layers": [{"mediaType": MODEL, "digest": weights_digest, "size": size}, parameters],
            })
            .to_string(),
        );
        let manifest_digest = digest_of(&manifest);
        contents.manifests.insert(format!("{path}:{tag}"), manifest);
        Ok((format!("{}/{model}", self.address), manifest_digest))
    }

    /// Injects a fault from now on; `None` removes it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.contents().fault = fault;
    }

    /// The requests so far, as `METHOD PATH`, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.contents().requests.clone()
    }

    /// The number of blobs that are being sent now.
    #[must_use]
    pub fn transfers(&self) -> usize {
        Arc::strong_count(&self.contents().transfers) - 1
    }

    /// The number of bytes of blobs that were sent.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.contents().bytes_sent.load(Ordering::Relaxed)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn digest_of_file(file: &Path) -> Result<String> {
    let mut file = std::fs::File::open(file)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK_SIZE]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hash.finalize()))),
            count => hash.update(&buffer[..count]),
        }
    }
}

async fn manifest(
    State(contents): State<Arc<Mutex<Contents>>>,
    UrlPath((namespace, name, tag)): UrlPath<(String, String, String)>,
    method: Method,
) -> Response {
    let mut contents = lock(&contents);
    let key = format!("{namespace}/{name}:{tag}");
    contents.requests.push(format!("{method} manifest {key}"));
    if let Some(Fault::Manifests(status)) = contents.fault {
        return status.into_response();
    }
    match contents.manifests.get(&key) {
        Some(manifest) => (
            [
                (header::CONTENT_TYPE, MANIFEST.to_owned()),
                (header::HeaderName::from_static("docker-content-digest"), digest_of(manifest)),
            ],
            manifest.clone(),
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn blob(
    State(contents): State<Arc<Mutex<Contents>>>,
    UrlPath((namespace, name, digest)): UrlPath<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let (blob, fault, transfer) = {
        let mut contents = lock(&contents);
        contents.requests.push(format!("{method} blob {digest}"));
        let transfer = (Arc::clone(&contents.transfers), Arc::clone(&contents.bytes_sent));
        (contents.blobs.get(&digest).cloned(), contents.fault, transfer)
    };
    if let Some(Fault::Blobs(status)) = fault {
        return status.into_response();
    }
    let Some(blob) = blob else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let size = blob.len();
    let range = headers.get(header::RANGE).and_then(|range| parse_range(range, size));
    let (first, last) = range.unwrap_or((0, size.saturating_sub(1)));
    let location = format!("/v2/{namespace}/{name}/blobs/{digest}");
    let answer = http::Response::builder()
        .status(if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
        .header(header::LOCATION, location)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, if size == 0 { 0 } else { last + 1 - first });
    let answer = match range {
        Some(_) => answer.header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
        None => answer,
    };
    let body = if method == Method::HEAD { Body::empty() } else { send(blob, first, last, fault, transfer) };
    answer.body(body).expect("valid headers")
}

/// The first and last byte of `bytes=FIRST-LAST`, the only form that Ollama uses.
fn parse_range(range: &HeaderValue, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let last = if last.is_empty() { size.checked_sub(1)? } else { last.parse().ok()? };
    (first <= last && last < size).then_some((first, last))
}

/// Sends a part of a blob. `transfer` counts the transfers, as its references, and the sent bytes.
fn send(blob: Blob, first: u64, last: u64, fault: Option<Fault>, transfer: (Arc<()>, Arc<AtomicU64>)) -> Body {
    let start = (blob, first, None::<File>, transfer);
    Body::from_stream(futures_util::stream::unfold(start, move |(blob, at, file, transfer)| async move {
        if at > last {
            return None;
        }
        let left = usize::try_from(last + 1 - at).unwrap_or(CHUNK_SIZE);
        let count = match fault {
            // Ten chunks a second.
            Some(Fault::Throttle(rate)) => (rate as usize / 10).max(1),
            _ => CHUNK_SIZE,
        }
        .min(left);
        match fault {
            Some(Fault::Throttle(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Some(Fault::Stall) if at > first + (last - first) / 2 => std::future::pending().await,
            _ => {}
        }
        match read_chunk(&blob, at, count, file).await {
            Ok((mut bytes, file)) => {
                if fault == Some(Fault::Corrupt) && at == first {
                    bytes[0] ^= 1;
                }
                let at = at + bytes.len() as u64;
                transfer.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Some((Ok(Bytes::from(bytes)), (blob, at, file, transfer)))
            }
            Err(error) => Some((Err(error), (blob, last + 1, None, transfer))),
        }
    }))
}

async fn read_chunk(
    blob: &Blob,
    at: u64,
    count: usize,
    file: Option<File>,
) -> std::io::Result<(Vec<u8>, Option<File>)> {
    match blob {
        Blob::Memory(bytes) => {
            let at = usize::try_from(at).map_err(std::io::Error::other)?;
            Ok((bytes[at..at + count].to_vec(), None))
        }
        Blob::File(path, _) => {
            let mut file = if let Some(file) = file {
                file
            } else {
                let mut file = File::open(path).await?;
                file.seek(SeekFrom::Start(at)).await?;
                file
            };
            let mut bytes = vec![0; count];
            file.read_exact(&mut bytes).await?;
            Ok((bytes, Some(file)))
        }
    }
}
