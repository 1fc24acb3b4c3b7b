//! A way to a server that can be frozen.

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a server that can be frozen: nothing comes through then, and nothing breaks.
pub(super) struct Way {
    port: u16,
    to: u16,
    frozen: watch::Sender<bool>,
}

impl Way {
    pub(super) async fn to(host: String, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let way = Self { port: listener.local_addr()?.port(), to: port, frozen: watch::Sender::new(false) };
        let frozen = way.frozen.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect((host.as_str(), port)).await else { continue };
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(from_near, to_far, frozen.clone()));
                tokio::spawn(pass(from_far, to_near, frozen.clone()));
            }
        });
        Ok(way)
    }

    /// The same URL by this way.
    pub(super) fn url(&self, url: &str) -> Result<String> {
        let (direct, by) = (format!(":{}/", self.to), format!(":{}/", self.port));
        ensure!(url.contains(&direct), "{url}");
        Ok(url.replace(&direct, &by))
    }

    /// Lets nothing through.
    pub(super) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Lets everything through, what has waited first.
    pub(super) fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut frozen: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 8192];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || frozen.wait_for(|frozen| !frozen).await.is_err() {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
