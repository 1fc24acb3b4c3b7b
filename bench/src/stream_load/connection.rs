//! A client's HTTP/1.1 connection. It shows the chunks of a response as the server divided them.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::clock::now_ns;

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// When the last bytes of the buffer were read.
    received_ns: u64,
    body: Body,
}

/// How the rest of a response's body is delimited.
enum Body {
    Chunked,
    Length(usize),
    /// By the end of the connection.
    Close,
    Done,
}

/// The first lines of a response.
pub(super) struct Head {
    pub(super) status: u16,
    /// Whether the server closes the connection after this response.
    pub(super) is_last: bool,
}

impl Connection {
    /// Connects to `host:port`.
    pub(super) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(16 * 1024), received_ns: 0, body: Body::Done })
    }

    /// Sends a POST and reads the head of the response.
    pub(super) async fn send(&mut self, path: &str, key: &str, body: &str) -> Result<Head> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return self.head(std::str::from_utf8(&head)?);
            }
            ensure!(self.read().await?, "the connection ended before the response");
        }
    }

    fn head(&mut self, text: &str) -> Result<Head> {
        let text = text.to_ascii_lowercase();
        let status = text.split(' ').nth(1).context("a status")?.parse()?;
        let header =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let is_last = header("connection") == Some("close");
        self.body = match (header("transfer-encoding"), header("content-length")) {
            (Some(_), _) => Body::Chunked,
            (None, Some(length)) => Body::Length(length.parse()?),
            (None, None) => Body::Close,
        };
        Ok(Head { status, is_last })
    }

    /// The next chunk, and when its end was received; `None` after the last one. A body without
    /// chunks comes as it was read.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<(Bytes, u64)>> {
        loop {
            match self.body {
                Body::Done => return Ok(None),
                Body::Length(0) => self.body = Body::Done,
                Body::Length(left) if !self.buffer.is_empty() => {
                    let part = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                    self.body = Body::Length(left - part.len());
                    return Ok(Some((part, self.received_ns)));
                }
                Body::Close if !self.buffer.is_empty() => {
                    return Ok(Some((self.buffer.split().freeze(), self.received_ns)));
                }
                Body::Chunked => {
                    if let Some(chunk) = self.buffered_chunk()? {
                        if chunk.is_empty() {
                            self.body = Body::Done;
                            return Ok(None);
                        }
                        return Ok(Some((chunk, self.received_ns)));
                    }
                }
                Body::Length(_) | Body::Close => {}
            }
            if !matches!(self.body, Body::Done) && !self.read().await? {
                ensure!(matches!(self.body, Body::Close), "the connection ended before the body");
                self.body = Body::Done;
            }
        }
    }

    /// Takes a whole chunk out of the buffer; an empty one is the last.
    fn buffered_chunk(&mut self) -> Result<Option<Bytes>> {
        const LONGEST_SIZE: usize = 32;
        let Some(line) = memmem::find(&self.buffer, b"\r\n") else {
            ensure!(self.buffer.len() < LONGEST_SIZE, "a chunk without a size");
            return Ok(None);
        };
        let Ok(size) = usize::from_str_radix(std::str::from_utf8(&self.buffer[..line])?.trim(), 16) else {
            bail!("the size of a chunk is no number");
        };
        let whole = line + 2 + size + 2;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        self.buffer.advance(line + 2);
        let chunk = self.buffer.split_to(size).freeze();
        self.buffer.advance(2);
        Ok(Some(chunk))
    }

    /// Reads what the server has sent. Returns whether the connection is still open.
    async fn read(&mut self) -> Result<bool> {
        self.buffer.reserve(4 * 1024);
        let count = self.stream.read_buf(&mut self.buffer).await?;
        self.received_ns = now_ns();
        Ok(count > 0)
    }
}
