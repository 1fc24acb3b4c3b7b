//! Connections: how many there may be, how each is served, and how they end.

mod places;
mod watched;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Extensions, Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    select,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Connections, front::Front};
use places::{Place, Places};
use watched::{Answer, Watched};

/// The most bytes of a request's head, and of what is buffered of its body.
const BUFFER: usize = 128 << 10;
/// How long streams have to send their error event.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What a client is told for whom there is no place.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// How many clients at once are told. The others are hung up on.
const TOLD: usize = 32;
/// How long it may take to tell one.
const TELLING: Duration = Duration::from_secs(1);

/// The steps of a shutdown.
#[derive(Clone)]
pub(crate) struct Phases {
    soft: CancellationToken,
    hard: CancellationToken,
    abort: CancellationToken,
}

impl Phases {
    pub(crate) fn new(soft: CancellationToken) -> Self {
        Self { soft, hard: CancellationToken::new(), abort: CancellationToken::new() }
    }

    /// What ends streams that are open when the drain is over.
    pub(crate) fn hard(&self) -> &CancellationToken {
        &self.hard
    }
}

/// Accepts connections until the soft step. A client may leave an answer that is being made lying for as long as `stall`.
pub(crate) async fn accept(
    listener: TcpListener,
    config: Connections,
    stall: Duration,
    front: &Front,
    phases: &Phases,
) -> TaskTracker {
    let connections = TaskTracker::new();
    let (places, tellers) = (Places::new(config), Arc::new(Semaphore::new(TOLD)));
    loop {
        let accepted = select! {
            biased;
            () = phases.soft.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match places.take().await {
                Some(place) => {
                    connections.spawn(connection(stream, peer, stall, place, front.clone(), phases.clone()));
                }
                None => {
                    if let Ok(teller) = Arc::clone(&tellers).try_acquire_owned() {
                        connections.spawn(async move {
                            refuse(stream).await;
                            drop(teller);
                        });
                    }
                }
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely: asking again at once would not bring any back.
                tracing::error!(%error, "cannot accept connections");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    connections
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Tells a client that there is no place, without hearing what it wants.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        // What was left unread would end the connection with a reset, which may overtake the answer.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it heard that or not, there is no place.
    let _ = timeout(TELLING, told).await;
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    stall: Duration,
    place: Arc<Place>,
    front: Front,
    phases: Phases,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let service = service_fn(|mut request: Request<Incoming>| {
        let (front, place) = (front.clone(), Arc::clone(&place));
        // It is polled only when the answer before has been taken: a request that waits for that is no work yet.
        async move {
            // Without a place left, the connection is about to be dropped.
            let Some(work) = place.work() else { return std::future::pending().await };
            request.extensions_mut().insert(Lender(place));
            let response = front.answer(peer.ip(), request).await?;
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, work)))
        }
    });
    let mut builder = http1::Builder::new();
    // Its place has the clocks.
    builder.header_read_timeout(None).max_buf_size(BUFFER).max_header_size(BUFFER);
    // Who takes nothing of an answer holds it open.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(stall));
    let stream = TokioIo::new(Watched::new(Box::pin(stream), Arc::clone(&place)));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let mut late = std::pin::pin!(place.late());
    let mut ending = false;
    loop {
        select! {
            // First: what has come in time is not late.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    // A client that left, mostly; what that did to its request has been noted there.
                    tracing::debug!(%error, %peer, "connection ended");
                }
                return;
            }
            () = late.as_mut() => return,
            () = place.displaced() => return,
            () = phases.soft.cancelled(), if !ending => {
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
            () = phases.abort.cancelled() => return,
        }
    }
}

/// The place of the connection that a request came over.
#[derive(Clone)]
struct Lender(Arc<Place>);

/// Waits for what others take their time with, such as the rest of a request, before anything is done for it. If the place is
/// needed meanwhile, the connection is closed: so nobody holds one by sending slowly.
pub(crate) async fn lend<T>(request: &Extensions, others: impl Future<Output = T>) -> T {
    match request.get::<Lender>() {
        Some(Lender(place)) => place.lend(others).await,
        None => others.await,
    }
}

/// Sees the connections off.
pub(crate) async fn end(connections: &TaskTracker, phases: &Phases, drain: Duration) {
    if timeout(drain, connections.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(open = connections.len(), "the drain is over: ending open requests");
    phases.hard.cancel();
    if timeout(LAST_WORDS, connections.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(open = connections.len(), "dropping connections that do not end");
    phases.abort.cancel();
    connections.wait().await;
}
