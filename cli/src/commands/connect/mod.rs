//! `paddock connect`

mod access;
mod forward;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::serve::ListenerExt as _;
use clap::Args;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{access::AccessRules, forward::Forwarder};
use super::print;
use crate::{
    client::{Client, ServerSettings},
    error::Error,
    listen_address, listener, signals,
};

/// The port of Ollama, which clients use by default.
const OLLAMA_PORT: u16 = 11434;
/// How long open requests may continue after a signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serve a server's API on this machine, for clients that cannot send a key.
///
/// The `ollama` command, for example, sends no key. This command listens where an Ollama would, adds
/// the key to each request, and forwards it to the server. Every program on this machine can then
/// use the key: give it few scopes, as in `paddock login --scope chat --scope generate --scope
/// models:read`.
///
/// Requests for a host that is not this machine, and requests from web pages of other hosts, are
/// refused.
#[derive(Args)]
pub(crate) struct Connect {
    /// Address to listen on: a loopback address and a port
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, OLLAMA_PORT)), value_parser = parse_listen)]
    listen: SocketAddr,
    /// Allow --listen to be an address that other machines reach: everybody on the network can then
    /// use the key
    #[arg(long)]
    allow_remote_clients: bool,
    #[command(flatten)]
    server: ServerSettings,
}

impl Connect {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        if !self.listen.ip().is_loopback() && !self.allow_remote_clients {
            return Err(Error::config(format!(
                "other machines can reach {}, and could use your key: type `paddock connect --listen 127.0.0.1:{}`, or \
                 add --allow-remote-clients",
                self.listen,
                self.listen.port()
            )));
        }
        let target = self.server.resolve()?;
        let client = Client::of(&target)?;
        let listener = listener::bind(self.listen).await.map_err(|error| bind_error(self.listen, &error))?;
        let addr = listener.local_addr()?;
        let me = client.get("/me", &[]).await?.body;
        let rules = AccessRules { allow_remote: self.allow_remote_clients };
        let forwarder = Forwarder::new(&target, rules)?;
        let stop = signals::shutdown()?;
        print(&banner(addr, client.base(), &me))?;
        serve(listener, forwarder, stop).await
    }
}

/// Serves until the token is cancelled. Open requests may then continue for a while.
async fn serve(listener: TcpListener, forwarder: Forwarder, stop: CancellationToken) -> Result<(), Error> {
    // Small frames of a stream must not wait for each other.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    let server = axum::serve(listener, forwarder.into_router()).with_graceful_shutdown(stop.clone().cancelled_owned());
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = server.into_future() => Ok(result?),
        () = deadline => Ok(()),
    }
}

/// Where it listens, and as whom.
fn banner(addr: SocketAddr, server: &str, me: &Value) -> String {
    let email = me["email"].as_str().unwrap_or_default();
    let via = me["key"]["credential_id"].as_i64().map_or_else(
        || "a session".to_owned(),
        |id| format!("key {id} ({})", me["key"]["label"].as_str().unwrap_or_default()),
    );
    let hint = if addr.port() == OLLAMA_PORT {
        String::new()
    } else {
        format!("clients need OLLAMA_HOST: type `export OLLAMA_HOST={addr}`\n")
    };
    format!("listening on http://{addr}, forwarding to {server} as {email} with {via}\n{hint}")
}

/// The error for an address that cannot be bound.
fn bind_error(addr: SocketAddr, error: &std::io::Error) -> Error {
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let other = SocketAddr::new(addr.ip(), addr.port().checked_add(1).unwrap_or(OLLAMA_PORT + 1));
            format!(
                "another program uses it, perhaps an Ollama; stop it, or type `paddock connect --listen {other}`, and \
                 `export OLLAMA_HOST={other}` for the clients"
            )
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; type `paddock connect` without --listen".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege; type `paddock connect --listen 127.0.0.1:11434`".to_owned()
        }
        _ => "type `paddock connect --listen 127.0.0.1:11434`".to_owned(),
    };
    anyhow::anyhow!("cannot listen on {addr} ({error}): {remedy}").into()
}

/// Parses an address to listen on. `:11434` is a port of loopback.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    listen_address::parse(text).map(|addr| addr.or_host(Ipv4Addr::LOCALHOST.into()))
}
