//! Floods of sign-ins: more than can be hashed at once, and bodies larger than any password.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::{Database, Engine},
    login_load::{LoginLoad, sign_in_at_once},
    story::story,
};
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::launch;

/// The memory by which the process may grow. A password hash takes 19 MiB, so that six fit and 300
/// do not.
const MAX_GROWTH_KIB: u64 = 128 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_sign_ins_at_once_take_bounded_memory() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = launch(database.url())?;
        let admin = launch.seed()?;
        let paddock = launch.start().await?;
        let load = sign_in_at_once(&paddock, &admin, 300).await?;
        let LoginLoad { answers, without_retry_after, growth_kib, .. } = load;
        let expected = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        let [signed_in, locked, busy] = expected.map(|status| answers.get(&status).copied().unwrap_or_default());
        ensure!(signed_in > 0 && signed_in + locked + busy == 300, "{answers:?}");
        ensure!(busy + locked > 0 && without_retry_after == 0, "{without_retry_after} of {answers:?}");
        ensure!(growth_kib < MAX_GROWTH_KIB, "it grew by {growth_kib} KiB");
        Ok(())
    })
    .await;
}

/// Sends most of a large sign-in without reading the answer.
async fn send_large_body(address: &str) -> Result<TcpStream> {
    const HEAD: &str = "POST /auth/login HTTP/1.1\r\nHost: paddock\r\nContent-Type: application/json\r\n\
                        Content-Length: 1048576\r\n\r\n";
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(HEAD.as_bytes()).await?;
    // The server may refuse the body and close the connection.
    let _ = timeout(Duration::from_secs(10), stream.write_all(&vec![b' '; 1_000_000])).await;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_large_anonymous_bodies_take_little_memory() {
    /// Twice the buffers of all connections. The bodies are 200 MB.
    const MAX_GROWTH_KIB: u64 = 100 << 10;
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = launch(database.url())?;
        launch.seed()?;
        let paddock = launch.start().await?;
        let before = paddock.process().memory_kib("VmRSS")?;
        let address = paddock.url().trim_start_matches("http://");
        let mut open = try_join_all((0..200).map(|_| send_large_body(address))).await?;
        let mut answer = vec![0; 12];
        let last = open.last_mut().context("a connection")?;
        timeout(Duration::from_secs(10), last.read_exact(&mut answer)).await.context("an answer")??;
        ensure!(answer == b"HTTP/1.1 413", "{:?}", String::from_utf8_lossy(&answer));
        let growth_kib = paddock.process().memory_kib("VmHWM")?.saturating_sub(before);
        ensure!(growth_kib < MAX_GROWTH_KIB, "it grew by {growth_kib} KiB");
        Ok(())
    })
    .await;
}
