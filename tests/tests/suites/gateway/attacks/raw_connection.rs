//! Connections that send raw bytes.

use std::{borrow::Cow, time::Duration};

use anyhow::{Context as _, Result};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long the server may take to send more of its answers or to close the connection.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// What a server has sent on one connection until its end.
#[derive(Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    /// The connection ended with a reset, which can overtake an answer: the server has closed it
    /// before it has read everything.
    pub(super) is_reset: bool,
}

impl Answers {
    /// The statuses of all answers, in order.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let status = |at: usize| {
            let line = self.bytes.get(at..at + 12)?;
            let is_version = matches!(line.get(7..9), Some(b"0 " | b"1 "));
            std::str::from_utf8(&line[9..]).ok().filter(|_| is_version)?.parse().ok()
        };
        memmem::find_iter(&self.bytes, "HTTP/1.").filter_map(status).collect()
    }

    /// Everything as text, for error messages.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The head of the first answer, in lower case, and the bytes after it.
    pub(super) fn head_and_body(&self) -> (String, &[u8]) {
        let end = memmem::find(&self.bytes, b"\r\n\r\n").map_or(self.bytes.len(), |at| at + 4);
        let (head, body) = self.bytes.split_at(end);
        (String::from_utf8_lossy(head).to_ascii_lowercase(), body)
    }
}

/// Sends bytes and reads to the end of the connection. After `count` answers it closes the sending
/// side, so that a server that waits for more requests ends the connection.
///
/// Errors: the server neither answers nor closes the connection.
pub(super) async fn send_raw(url: &str, bytes: &[u8], count: usize) -> Result<Answers> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").context("an address")?).await?;
    let mut answers = Answers::default();
    // A server that refuses the beginning closes the connection before it has read the rest.
    let _ = timeout(READ_TIMEOUT, stream.write_all(bytes)).await.context("the bytes to be read")?;
    let mut is_sending = true;
    loop {
        if is_sending && answers.statuses().len() >= count {
            let _ = stream.shutdown().await;
            is_sending = false;
        }
        let read = timeout(READ_TIMEOUT, stream.read_buf(&mut answers.bytes)).await;
        match read.with_context(|| format!("no end after {:?}", answers.text()))? {
            Ok(0) => return Ok(answers),
            Ok(_) => {}
            Err(_) => {
                answers.is_reset = true;
                return Ok(answers);
            }
        }
    }
}
