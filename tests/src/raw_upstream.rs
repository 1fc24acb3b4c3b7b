//! An upstream that answers with given bytes, where no HTTP server would: with garbage, interim
//! responses, empty bodies and broken connections.
//!
//! It lists its models as Ollama does, so that Paddock takes it for one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::sleep,
};

use crate::recorded_answers::tags;

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays open for the next request.
    KeepOpen,
    /// It is closed in order.
    Close,
    /// It is closed in order after this time. For stories of how long a connection was silent.
    CloseAfter(Duration),
    /// It is reset.
    Reset,
}

/// The bytes of an answer, and what follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// The bytes: head and body.
    pub bytes: String,
    /// What happens to the connection after them.
    pub then: Then,
}

impl RawAnswer {
    /// These bytes, and then this.
    #[must_use]
    pub fn new(bytes: impl Into<String>, then: Then) -> Self {
        Self { bytes: bytes.into(), then }
    }

    /// A complete answer with this JSON, on a connection that stays open.
    #[must_use]
    pub fn json(body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        Self::new(head + body, Then::KeepOpen)
    }
}

type Answers = Box<dyn Fn(usize) -> RawAnswer + Send + Sync>;

struct Shared {
    /// The answer to the polls for models.
    tags: RawAnswer,
    answers: Answers,
    requests: AtomicUsize,
}

/// A running upstream on a free port of 127.0.0.1.
pub struct RawUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: AbortHandle,
}

impl RawUpstream {
    /// Starts a server that has `models`. `answers` returns the answer to a request, by the number
    /// of requests that came before it on its connection. Polls for models do not count.
    pub async fn start(models: &[&str], answers: impl Fn(usize) -> RawAnswer + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            tags: RawAnswer::json(&tags(models.iter().copied()).to_string()),
            answers: Box::new(answers),
            requests: AtomicUsize::new(0),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, server })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of whole requests that it has received, without the polls for models.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let (mut received, mut place) = (Vec::new(), 0);
    while let Some(head) = read_request(&mut stream, &mut received).await? {
        if head.starts_with("GET /api/tags ") {
            stream.write_all(shared.tags.bytes.as_bytes()).await?;
            continue;
        }
        // The other polls of the health check, whose answers are not needed.
        if head.starts_with("GET /api/ps ") || head.starts_with("GET /api/version ") {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
            continue;
        }
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let RawAnswer { bytes, then } = (shared.answers)(place);
        place += 1;
        stream.write_all(bytes.as_bytes()).await?;
        match then {
            Then::KeepOpen => {}
            Then::Close => return Ok(stream.shutdown().await?),
            Then::CloseAfter(delay) => {
                sleep(delay).await;
                return Ok(stream.shutdown().await?);
            }
            Then::Reset => return Ok(stream.set_zero_linger()?),
        }
    }
    Ok(())
}

/// Reads a request with its body, and returns its head. `None`: the client closed the connection.
async fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<Option<String>> {
    let body = loop {
        if let Some(end) = memmem::find(received, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(received[..body].to_vec())?;
    let end = body + content_length(&head);
    while received.len() < end {
        ensure!(stream.read_buf(received).await? > 0, "the body broke off");
    }
    received.drain(..end);
    Ok(Some(head))
}

fn content_length(head: &str) -> usize {
    let values = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = values.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}
