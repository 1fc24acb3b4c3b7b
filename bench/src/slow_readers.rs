//! Clients that read a long response slowly: the memory that Paddock keeps for them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use paddock_tests::{
    database::{Database, Engine},
    paddock::Paddock,
};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    frame::{Dialect, Order},
    plan::Plan,
    setup::{Cores, launch_with_log, start_upstream},
    verdict::{Bound, Target},
};

const READERS: u32 = 50;
const BYTES: u64 = 100_000_000;
/// Each client reads so much, so often: 400 kB per second.
const READ_SIZE: usize = 4_000;
const READ_INTERVAL: Duration = Duration::from_millis(10);

/// The figures of this section.
#[derive(Serialize)]
pub(crate) struct SlowReaders {
    readers: u32,
    before_kib: u64,
    peak_kib: u64,
    growth_mib: f64,
    read_bytes: u64,
}

pub(crate) async fn measure(plan: &Plan, cores: &Cores) -> Result<SlowReaders> {
    let upstream = start_upstream(&cores.load).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let launch = launch_with_log(database.url())?.ollama(&upstream.url).with_prefix(&cores.proxy);
    let (paddock, admin) = Paddock::seeded(launch).await?;
    let key = admin.create_workload().await?.key().to_owned();
    let before_kib = paddock.process().memory_kib("VmHWM")?;
    let address = paddock.url().trim_start_matches("http://");
    let read = try_join_all((0..READERS).map(|_| read_slowly(address, &key, plan.length * 5))).await?;
    let peak_kib = paddock.process().memory_kib("VmHWM")?;
    #[expect(clippy::cast_precision_loss, reason = "a size of memory fits")]
    let growth_mib = (peak_kib - before_kib) as f64 / 1024.0;
    Ok(SlowReaders { readers: READERS, before_kib, peak_kib, growth_mib, read_bytes: read.iter().sum() })
}

/// Reads a response of 100 MB for `length`, and leaves. Returns the number of bytes read.
async fn read_slowly(address: &str, key: &str, length: Duration) -> Result<u64> {
    let order = Order { bytes: BYTES, ..Order::default() };
    let (path, body) = (Dialect::Native.path(), order.body(Dialect::Native, 0));
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; READ_SIZE];
    stream.read_exact(&mut buffer[..12]).await?;
    ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..12]));
    let (began, mut read) = (Instant::now(), 0);
    while began.elapsed() < length {
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "the response ended after {read} bytes");
        read += u64::try_from(count)?;
        tokio::time::sleep(READ_INTERVAL).await;
    }
    Ok(read)
}

impl SlowReaders {
    pub(crate) fn targets(&self) -> Vec<Target> {
        vec![Target::new(
            "memory for 50 slow readers of 100 MB each",
            "MiB",
            self.growth_mib,
            Bound::AtMost(48.0),
            Bound::AtMost(48.0),
        )]
    }

    pub(crate) fn markdown(&self) -> String {
        format!(
            "## Slow readers\n\n{} clients read responses of {} MB at 400 kB per second each. Memory grew from {} to {} MiB at its peak, \
             by {:.1} MiB; {} MB were read.\n",
            self.readers,
            BYTES / 1_000_000,
            self.before_kib / 1024,
            self.peak_kib / 1024,
            self.growth_mib,
            self.read_bytes / 1_000_000
        )
    }
}
