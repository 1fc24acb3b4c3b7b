//! A TCP proxy in front of a server that can freeze its connections, close them, or silently drop their
//! traffic.

use std::future::pending;

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Copy, Default)]
struct State {
    /// While true, no bytes are forwarded and no connection breaks.
    is_frozen: bool,
    /// While true, open connections break and new ones are closed at once.
    is_closed: bool,
    /// Connections of an earlier generation stay open but forward nothing.
    generation: u64,
}

/// A running proxy. Dropping it does not close open connections.
pub struct ChaosProxy {
    port: u16,
    target_port: u16,
    state: watch::Sender<State>,
}

impl ChaosProxy {
    /// Starts a proxy to `host:port` on a free port of 127.0.0.1.
    pub async fn start(host: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let proxy = Self { port: listener.local_addr()?.port(), target_port: port, state: watch::Sender::default() };
        let (host, state) = (host.to_owned(), proxy.state.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if state.borrow().is_closed {
                    continue;
                }
                let Ok(server) = TcpStream::connect((host.as_str(), port)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(forward(from_client, to_server, state.clone()));
                tokio::spawn(forward(from_server, to_client, state.clone()));
            }
        });
        Ok(proxy)
    }

    /// The port that the proxy listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `url` with the proxy's port instead of the server's.
    ///
    /// Errors: `url` does not name the server's port.
    pub fn url(&self, url: &str) -> Result<String> {
        let (direct, proxied) = (format!(":{}/", self.target_port), format!(":{}/", self.port));
        ensure!(url.contains(&direct), "no {direct} in {url}");
        Ok(url.replace(&direct, &proxied))
    }

    /// Stops or resumes all traffic. Connections stay open.
    pub fn set_frozen(&self, is_frozen: bool) {
        self.state.send_modify(|state| state.is_frozen = is_frozen);
    }

    /// Breaks all connections and closes new ones at once, as if the server did not run; or lets new
    /// ones through again.
    pub fn set_closed(&self, is_closed: bool) {
        self.state.send_modify(|state| state.is_closed = is_closed);
    }

    /// Drops all further traffic of the current connections, as if the machine at the other end had
    /// vanished. New connections work.
    pub fn blackhole(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let generation = state.borrow().generation;
    let mut buffer = vec![0; 8192];
    let mut closing = state.clone();
    loop {
        let count = tokio::select! {
            count = from.read(&mut buffer) => count?,
            () = wait_until_closed(&mut closing) => return to.shutdown().await,
        };
        if count == 0 || state.wait_for(|state| !state.is_frozen).await.is_err() {
            return to.shutdown().await;
        }
        if state.borrow().generation > generation {
            return pending().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Waits until the proxy breaks its connections. Never returns once the proxy is dropped.
async fn wait_until_closed(state: &mut watch::Receiver<State>) {
    let closed = state.wait_for(|state| state.is_closed).await.map(|_| ());
    if closed.is_err() {
        pending::<()>().await;
    }
}
