//! `paddock healthcheck`

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use crate::{
    config,
    error::Error,
    settings::{CommonSettings, ListenSettings},
};

/// Check that a server on this machine answers, for container health checks.
///
/// Requests /healthz from the server at LISTEN_ADDR and PORT. Exits with 0 if it answers, with 1 if
/// not.
#[derive(Args)]
pub(crate) struct Healthcheck {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    listen: ListenSettings,
    /// Request /readyz instead
    #[arg(long)]
    ready: bool,
    /// Timeout in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    timeout: u64,
}

impl Healthcheck {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let addr = config::listen_addr(&self.listen, config::environment(&self.common)?);
        let path = if self.ready { "readyz" } else { "healthz" };
        probe(addr, path, Duration::from_secs(self.timeout)).await?;
        Ok(())
    }
}

/// The address to connect to: a server that listens on every interface is reached on loopback.
pub(crate) fn local_address(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port()) } else { addr }
}

/// Sends a GET to a server on this machine. Fails on a timeout and on any status but 2xx.
pub(crate) async fn probe(addr: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<()> {
    let url = format!("http://{}/{path}", local_address(addr));
    let client = reqwest::Client::builder().timeout(timeout).no_proxy().build()?;
    let response = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    anyhow::ensure!(response.status().is_success(), "{url} answered {}", response.status());
    Ok(())
}
