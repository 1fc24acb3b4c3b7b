//! A TCP forwarder on `[::1]`, for servers that the testbed starts on 127.0.0.1.

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Forwards connections from a free port of `[::1]` to this port of 127.0.0.1, until the test's
/// runtime ends. Returns the free port.
///
/// Errors: this machine has no IPv6.
pub async fn forward_to(port: u16) -> Result<u16> {
    let listener = TcpListener::bind(("::1", 0)).await?;
    let own_port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                    // Either end may close the connection at any time.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    Ok(own_port)
}
