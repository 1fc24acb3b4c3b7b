//! The servers that are measured in one run: no proxy, nginx, Paddock, and gateways in Python.

mod python;

use anyhow::Result;
use paddock_tests::{
    database::{Database, Engine},
    nginx::Nginx,
    paddock::Paddock,
    process::Process,
};

use crate::{
    frame::Dialect,
    setup::{Cores, Upstream, launch_with_log, start_upstream},
};

/// A measured server.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) key: String,
    /// The dialects that it serves. The first one is for chats without streaming.
    pub(crate) dialects: &'static [Dialect],
    /// Its process; `None` if it runs on the core of the load.
    pub(crate) process: Option<u32>,
    /// Whether it is so slow that a few rounds suffice.
    pub(crate) is_slow: bool,
}

impl Peer {
    /// The URL of a chat.
    pub(crate) fn chat_url(&self) -> String {
        format!("{}{}", self.url, self.dialects[0].path())
    }

    /// Whether it is measured in this round.
    pub(crate) fn runs_in(&self, round: u32) -> bool {
        const SLOW_INTERVAL: u32 = 4;
        !self.is_slow || round.is_multiple_of(SLOW_INTERVAL)
    }
}

/// All peers. The first three are `direct`, `nginx` and `paddock`.
pub(crate) struct Peers {
    pub(crate) all: Vec<Peer>,
    /// The peers that this machine does not have, and why.
    pub(crate) missing: Vec<String>,
    _paddock: Paddock,
    _nginx: Nginx,
    _upstream: Upstream,
    python_servers: Vec<Process>,
    _database: Database,
}

const BOTH: &[Dialect] = &[Dialect::Native, Dialect::OpenAi];

impl Peers {
    /// Starts `direct`, nginx and Paddock on SQLite, each proxy on the core of proxies.
    pub(crate) async fn start(cores: &Cores) -> Result<Self> {
        let upstream = start_upstream(&cores.load).await?;
        let database = Database::new(Engine::Sqlite).await?;
        let launch = launch_with_log(database.url())?.env("MAX_CONNECTIONS", "9000").ollama(&upstream.url);
        let (paddock, admin) = Paddock::seeded(launch.with_prefix(&cores.proxy)).await?;
        let key = admin.create_workload().await?.key().to_owned();
        let nginx = Nginx::start(upstream.url.trim_start_matches("http://"), &key, &cores.proxy).await?;
        let peer = |name, url: &str, process| Peer {
            name,
            url: url.to_owned(),
            key: key.clone(),
            dialects: BOTH,
            process,
            is_slow: false,
        };
        let all = vec![
            peer("direct", &upstream.url, None),
            peer("nginx", nginx.url(), Some(nginx.process().id())),
            peer("paddock", paddock.url(), Some(paddock.process().id())),
        ];
        Ok(Self {
            all,
            missing: Vec::new(),
            _paddock: paddock,
            _nginx: nginx,
            _upstream: upstream,
            python_servers: Vec::new(),
            _database: database,
        })
    }

    /// The same, with the gateways in Python that this machine has.
    pub(crate) async fn start_all(cores: &Cores) -> Result<Self> {
        let mut peers = Self::start(cores).await?;
        let upstream = peers.all[0].url.clone();
        for started in
            [python::start_fastapi(&upstream, &cores.proxy).await, python::start_litellm(&upstream, &cores.proxy).await]
        {
            match started {
                Ok((peer, process)) => {
                    peers.all.push(peer);
                    peers.python_servers.push(process);
                }
                Err(error) => peers.missing.push(format!("{error:#}")),
            }
        }
        Ok(peers)
    }
}

/// A paragraph that names the peers that are missing, or nothing.
pub(crate) fn missing_note(missing: &[String]) -> String {
    if missing.is_empty() { String::new() } else { format!("\nNot measured: {}.\n", missing.join("; ")) }
}
