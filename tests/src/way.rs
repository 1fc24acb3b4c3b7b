//! A way to a server that can be disturbed: a TCP proxy that stands still when told.

use std::future::pending;

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the bytes.
#[derive(Clone, Copy, Default)]
struct State {
    /// Nothing comes through, and nothing breaks.
    frozen: bool,
    /// Connections of earlier generations are dead, and neither end hears of it.
    generation: u64,
}

/// The way, for as long as it is held.
pub struct Way {
    port: u16,
    to: u16,
    state: watch::Sender<State>,
}

impl Way {
    /// To that server, from a free port of 127.0.0.1.
    pub async fn to(host: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let way = Self { port: listener.local_addr()?.port(), to: port, state: watch::Sender::default() };
        let (host, state) = (host.to_owned(), way.state.subscribe());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect((host.as_str(), port)).await else { continue };
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(from_near, to_far, state.clone()));
                tokio::spawn(pass(from_far, to_near, state.clone()));
            }
        });
        Ok(way)
    }

    /// Where it begins.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same URL by this way.
    pub fn url(&self, url: &str) -> Result<String> {
        let (direct, by) = (format!(":{}/", self.to), format!(":{}/", self.port));
        ensure!(url.contains(&direct), "no {direct} in {url}");
        Ok(url.replace(&direct, &by))
    }

    /// Lets nothing through, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        self.state.send_modify(|state| state.frozen = frozen);
    }

    /// Lets nothing more through the connections there are, as when the machine at their end is gone. New ones work.
    pub fn forsake(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let born = state.borrow().generation;
    let mut buffer = vec![0; 8192];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || state.wait_for(|state| !state.frozen).await.is_err() {
            return to.shutdown().await;
        }
        if state.borrow().generation > born {
            return pending().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
