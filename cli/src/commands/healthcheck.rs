//! `paddock healthcheck`

use std::{
    net::{Ipv6Addr, SocketAddr},
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

/// Sends a GET to a server on this machine. Fails on a timeout and on any status but 2xx. A server
/// that listens on `[::]` may have IPv6 only.
pub(crate) async fn probe(addr: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(timeout).no_proxy().build()?;
    let url = |addr: SocketAddr| format!("http://{addr}/{path}");
    let first = url(config::local_address(addr));
    let response = match client.get(&first).send().await {
        Err(error) if error.is_connect() && addr.is_ipv6() && addr.ip().is_unspecified() => {
            let second = client.get(url(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), addr.port()))).send().await;
            // The first error names the address that usually answers.
            second.map_err(|_| error)
        }
        answered => answered,
    };
    let response = response.with_context(|| format!("{first} does not answer"))?;
    anyhow::ensure!(response.status().is_success(), "{} answered {}", response.url(), response.status());
    Ok(())
}
