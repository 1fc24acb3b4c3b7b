//! Accepts connections, within their maximum number, and serves HTTP/1.1 on each.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::response::Response;
use http::Request;
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
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

use super::{
    connection_limiter::{ConnectionLimiter, ConnectionPermit},
    io_observer::{GuardedBody, ObservedIo},
    shutdown::ShutdownSignals,
};
use crate::{config::ConnectionLimits, http::slot::ConnectionHandle};

/// The largest request head, and the size of the body buffer, in bytes.
const MAX_BUFFER: usize = 128 << 10;
/// The response to a client for which there is no permit.
const SERVICE_UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// How many rejected clients get that response at once. The connections of others are closed
/// without one.
const MAX_REJECTIONS: usize = 32;
/// How long sending that response may take.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a failed `accept`.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Accepts connections and serves each in a task of its own.
pub(super) struct Acceptor {
    limiter: Arc<ConnectionLimiter>,
    rejections: Arc<Semaphore>,
    write_timeout: Duration,
    signals: ShutdownSignals,
}

impl Acceptor {
    /// `write_timeout` bounds the time in which a client reads nothing of a response.
    pub(super) fn new(limits: ConnectionLimits, write_timeout: Duration, signals: ShutdownSignals) -> Self {
        let rejections = Arc::new(Semaphore::new(MAX_REJECTIONS));
        Self { limiter: ConnectionLimiter::new(limits), rejections, write_timeout, signals }
    }

    /// Accepts connections until the soft shutdown. `make_service` builds the service for a
    /// client's address. Returns the tasks of the connections that are still open.
    pub(super) async fn accept<S>(&self, listener: TcpListener, make_service: impl Fn(IpAddr) -> S) -> TaskTracker
    where
        S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>,
        S: Clone + Send + Sync + 'static,
    {
        let connections = TaskTracker::new();
        loop {
            let accepted = select! {
                biased;
                () = self.signals.soft().cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match self.limiter.acquire().await {
                    Some(permit) => {
                        let connection = Connection {
                            peer,
                            permit,
                            service: make_service(peer.ip()),
                            write_timeout: self.write_timeout,
                            signals: self.signals.clone(),
                        };
                        connections.spawn(connection.serve(stream));
                    }
                    None => {
                        if let Ok(rejection) = Arc::clone(&self.rejections).try_acquire_owned() {
                            connections.spawn(async move {
                                reject(stream).await;
                                drop(rejection);
                            });
                        }
                    }
                },
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    // The process is probably out of file descriptors. An immediate retry would
                    // fail too.
                    tracing::error!(%error, "cannot accept connections");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        connections.close();
        connections
    }
}

/// Whether the error concerns one connection and not the listener.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Sends 503 without reading a request.
async fn reject(mut stream: TcpStream) {
    let rejected = async {
        stream.write_all(SERVICE_UNAVAILABLE).await?;
        stream.shutdown().await?;
        // Unread bytes would end the connection with a reset, which may overtake the response.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection is closed whether or not the client has read the response.
    let _ = timeout(REJECTION_TIMEOUT, rejected).await;
}

/// One connection and its service.
struct Connection<S> {
    peer: SocketAddr,
    permit: Arc<ConnectionPermit>,
    service: S,
    write_timeout: Duration,
    signals: ShutdownSignals,
}

impl<S> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    /// Serves requests until the client leaves, the connection idles too long or is evicted, or the
    /// server shuts down.
    async fn serve(self, stream: TcpStream) {
        let Self { peer, permit, service, write_timeout, signals } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let service = service_fn(|mut request: Request<Incoming>| {
            let (service, permit) = (service.clone(), Arc::clone(&permit));
            // Polled only when the client has read the previous response. Until then the request
            // occupies nothing.
            async move {
                // An evicted connection is about to be dropped.
                let Some(guard) = permit.begin_request() else { return std::future::pending().await };
                request.extensions_mut().insert(ConnectionHandle(permit));
                let response = service.oneshot(request).await?;
                Ok::<_, Infallible>(response.map(|body| GuardedBody::new(body, guard)))
            }
        });
        let mut builder = http1::Builder::new();
        // The permit has the timeouts.
        builder.header_read_timeout(None).max_buf_size(MAX_BUFFER).max_header_size(MAX_BUFFER);
        // A client that reads nothing would keep the response open.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        let stream = TokioIo::new(ObservedIo::new(Box::pin(stream), Arc::clone(&permit)));
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        let mut idle_timeout = std::pin::pin!(permit.idle_timeout());
        let mut is_ending = false;
        loop {
            select! {
                // First: bytes that have arrived in time beat the timeout.
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        // Usually the client has left. Its request has recorded that.
                        tracing::debug!(%error, %peer, "connection ended");
                    }
                    return;
                }
                () = idle_timeout.as_mut() => return,
                () = permit.evicted() => return,
                () = signals.soft().cancelled(), if !is_ending => {
                    connection.as_mut().graceful_shutdown();
                    is_ending = true;
                }
                () = signals.abort().cancelled() => return,
            }
        }
    }
}
