//! Kills a process before or after one of its external writes: requests to the API server that change
//! something, commits in PostgreSQL, and pulls and deletions in Ollama. The writes pass through
//! proxies, which count them.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use http::{Method, StatusCode, header};
use kube::Client;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

use crate::{kubernetes, paddock::Paddock, process::Signal};

/// The largest request that the proxy of the API server forwards, in bytes.
const BODY_LIMIT: usize = 4 << 20;

/// What PostgreSQL's clients send to commit.
pub const COMMIT: &[&str] = &["COMMIT"];
/// The requests that change an Ollama.
pub const OLLAMA_WRITES: &[&str] = &["POST /api/pull ", "DELETE /api/delete "];

/// On which side of a write the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server never sees the write.
    Before,
    /// The server has answered the write, and the process does not see the answer.
    After,
}

/// Counts the writes of a process, and kills it at one of them.
#[derive(Default)]
pub struct WriteGate(Mutex<Count>);

#[derive(Default)]
struct Count {
    armed: Option<Armed>,
    seen: usize,
    last: Option<Instant>,
    crashed_at: Option<String>,
}

struct Armed {
    victim: Arc<Paddock>,
    index: usize,
    side: Side,
}

/// What happens to a write.
enum Turn {
    Forward,
    /// The process is dead, and the write must not happen.
    Drop,
    /// The process dies after the answer.
    LastOf(Arc<Paddock>),
}

impl WriteGate {
    /// Kills the process at the write with this number, counted from 0 from now on.
    pub fn arm(&self, victim: Arc<Paddock>, index: usize, side: Side) {
        *self.lock() = Count { armed: Some(Armed { victim, index, side }), ..Count::default() };
    }

    /// Kills nothing any more.
    pub fn disarm(&self) {
        self.lock().armed = None;
    }

    /// The write at which the process was killed, if it came so far.
    pub fn crashed_at(&self) -> Option<String> {
        self.lock().crashed_at.clone()
    }

    /// How long ago the last write passed.
    pub fn quiet_for(&self) -> Duration {
        self.lock().last.map_or(Duration::MAX, |last| last.elapsed())
    }

    fn count(&self, write: &str) -> Turn {
        let mut count = self.lock();
        let number = count.seen;
        count.seen += 1;
        count.last = Some(Instant::now());
        let Some(armed) = count.armed.take_if(|armed| armed.index == number) else { return Turn::Forward };
        count.crashed_at = Some(format!("{:?} write {number}: {write}", armed.side));
        match armed.side {
            Side::Before => {
                kill(&armed.victim);
                Turn::Drop
            }
            Side::After => Turn::LastOf(armed.victim),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kill(victim: &Paddock) {
    // A process that has ended already is as good.
    let _ = victim.process().signal(Signal::Kill);
}

/// A proxy in front of the API server, without TLS, that counts the writes. Those to leases and
/// requests that only read are not counted.
pub struct ApiServerProxy {
    address: SocketAddr,
    server: AbortHandle,
}

#[derive(Clone)]
struct Upstream {
    client: Client,
    gate: Arc<WriteGate>,
}

impl ApiServerProxy {
    /// Starts a proxy that forwards requests with the credentials of this kubeconfig.
    pub async fn start(kubeconfig: &Path, gate: &Arc<WriteGate>) -> Result<Self> {
        let upstream = Upstream { client: kubernetes::client(kubeconfig).await?, gate: Arc::clone(gate) };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(any(forward)).with_state(upstream);
        let server = tokio::spawn(async { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, server })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for ApiServerProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn forward(State(upstream): State<Upstream>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    for name in [header::AUTHORIZATION, header::HOST] {
        parts.headers.remove(name);
    }
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let is_write = parts.method != Method::GET && !parts.uri.path().contains("/leases");
    let write = format!("{} {}", parts.method, parts.uri.path());
    let turn = if is_write { upstream.gate.count(&write) } else { Turn::Forward };
    if matches!(turn, Turn::Drop) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = match upstream.client.send(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    if let Turn::LastOf(victim) = turn {
        kill(&victim);
    }
    answer
}

/// A TCP proxy that counts the messages of clients that contain one of the marks.
pub struct TcpWriteProxy {
    port: u16,
    server: AbortHandle,
}

impl TcpWriteProxy {
    /// Starts a proxy to this port of 127.0.0.1.
    pub async fn start(target: u16, marks: &'static [&'static str], gate: &Arc<WriteGate>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (port, gate) = (listener.local_addr()?.port(), Arc::clone(gate));
        let accept = async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let connection = Arc::new(Connection {
                    gate: Arc::clone(&gate),
                    marks,
                    victim: Mutex::default(),
                    is_last: AtomicBool::default(),
                });
                tokio::spawn(Arc::clone(&connection).forward_requests(from_client, to_server));
                tokio::spawn(connection.forward_answers(from_server, to_client));
            }
        };
        Ok(Self { port, server: tokio::spawn(accept).abort_handle() })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TcpWriteProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Connection {
    gate: Arc<WriteGate>,
    marks: &'static [&'static str],
    victim: Mutex<Option<Arc<Paddock>>>,
    /// Whether the next answer kills the victim.
    is_last: AtomicBool,
}

impl Connection {
    async fn forward_requests(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 16384];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return to.shutdown().await;
            }
            let message = &buffer[..count];
            if let Some(mark) = self.marks.iter().find(|mark| memchr::memmem::find(message, mark.as_bytes()).is_some())
            {
                match self.gate.count(mark.trim_end()) {
                    Turn::Forward => {}
                    Turn::Drop => return Ok(()),
                    Turn::LastOf(victim) => {
                        *self.victim.lock().unwrap_or_else(PoisonError::into_inner) = Some(victim);
                        self.is_last.store(true, Ordering::Release);
                    }
                }
            }
            to.write_all(message).await?;
        }
    }

    async fn forward_answers(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 16384];
        loop {
            let count = from.read(&mut buffer).await?;
            if self.is_last.load(Ordering::Acquire) {
                if let Some(victim) = self.victim.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    kill(&victim);
                }
                return Ok(());
            }
            if count == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..count]).await?;
        }
    }
}
