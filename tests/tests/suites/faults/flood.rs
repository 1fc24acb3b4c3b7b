//! More sign-ins at once than can be judged, and larger ones than anybody needs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::database::{Database, Engine};
use paddock_tests::flood::{Flood, sign_ins};
use paddock_tests::story::story;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::launch;

/// A sign-in hashes in 19 MiB: in 128 there is room for six of them, and not for all who wait.
const ROOM_KIB: u64 = 128 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_sign_ins_at_once_wait_or_are_refused_and_take_no_more_memory() {
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = launch(database.url())?;
        let admin = launch.seed()?;
        let paddock = launch.start().await?;
        let flood = sign_ins(&paddock, &admin, 300).await?;
        let Flood { answers, without_retry_after, growth_kib, .. } = flood;
        let known = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        let [signed_in, held_up, busy] = known.map(|status| answers.get(&status).copied().unwrap_or_default());
        ensure!(signed_in > 0 && signed_in + held_up + busy == 300, "{answers:?}");
        ensure!(busy + held_up > 0 && without_retry_after == 0, "{without_retry_after} of {answers:?}");
        ensure!(growth_kib < ROOM_KIB, "it grew by {growth_kib} KiB");
        Ok(())
    })
    .await;
}

/// Sends most of a large sign-in and reads nothing of what is answered.
async fn announce(address: &str) -> Result<TcpStream> {
    const HEAD: &str = "POST /auth/login HTTP/1.1\r\nHost: paddock\r\nContent-Type: application/json\r\n\
                        Content-Length: 1048576\r\n\r\n";
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(HEAD.as_bytes()).await?;
    // Who is refused already may be hung up on.
    let _ = timeout(Duration::from_secs(10), stream.write_all(&vec![b' '; 1_000_000])).await;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_large_bodies_of_strangers_take_little_memory() {
    /// What is buffered of each connection at the most, twice; the bodies are 200 MB.
    const ROOM_KIB: u64 = 100 << 10;
    story(async {
        let database = Database::new(Engine::Sqlite).await?;
        let launch = launch(database.url())?;
        launch.seed()?;
        let paddock = launch.start().await?;
        let before = paddock.process().memory_kib("VmRSS")?;
        let address = paddock.url().trim_start_matches("http://");
        let mut open = try_join_all((0..200).map(|_| announce(address))).await?;
        let mut answer = vec![0; 12];
        let last = open.last_mut().context("a connection")?;
        timeout(Duration::from_secs(10), last.read_exact(&mut answer)).await.context("an answer")??;
        ensure!(answer == b"HTTP/1.1 413", "{:?}", String::from_utf8_lossy(&answer));
        let growth_kib = paddock.process().memory_kib("VmHWM")?.saturating_sub(before);
        ensure!(growth_kib < ROOM_KIB, "it grew by {growth_kib} KiB");
        Ok(())
    })
    .await;
}
