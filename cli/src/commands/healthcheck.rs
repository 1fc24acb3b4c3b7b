//! `paddock healthcheck`

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use crate::{
    config,
    failure::Failure,
    settings::{CommonSettings, ListenSettings},
};

/// Asks /healthz of the server whose LISTEN_ADDR and PORT these are; exit code 0 when it answers, 1 when it does not.
#[derive(Args)]
pub(crate) struct Healthcheck {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    listen: ListenSettings,
    /// Ask /readyz instead
    #[arg(long)]
    ready: bool,
    /// How many seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    timeout: u64,
}

impl Healthcheck {
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let addr = config::listen_addr(&self.listen, config::environment(&self.common)?);
        let path = if self.ready { "readyz" } else { "healthz" };
        probe(addr, path, Duration::from_secs(self.timeout)).await?;
        Ok(())
    }
}

/// GET on a server of this machine; an address that means every interface is asked on loopback.
pub(crate) async fn probe(addr: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<()> {
    let ip = if addr.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { addr.ip() };
    let url = format!("http://{}/{path}", SocketAddr::new(ip, addr.port()));
    let client = reqwest::Client::builder().timeout(timeout).no_proxy().build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    anyhow::ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
    Ok(())
}
