//! What `serve` is told. Reading it from the environment is the business of whoever calls.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;

use crate::readiness::Readiness;

/// How the API and the gateway serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Ollama behind the gateway: `http://host:port`, without a path.
    pub ollama_url: String,
    /// The four clocks of a request through the gateway.
    pub timeouts: Timeouts,
    /// How many connections there may be, and how long each may keep still.
    pub connections: Connections,
    /// How long open requests may go on after shutdown has begun. The whole shutdown takes at most two seconds more.
    pub drain: Duration,
    /// The most bytes of a request body that the gateway takes.
    pub body_limit: usize,
    /// How many requests a minute users may make who have no limit of their own; 0: as many as they like.
    pub requests_per_minute: u64,
    /// The Redis in which all replicas count requests together: `redis://:password@host:port/number`, or `rediss:`. `None`: each
    /// process counts by itself.
    pub redis_url: Option<SecretString>,
    /// How many wrong credentials a minute one address may present, how many wrong cookies, and how many of its sign-ins may
    /// fail; 0: as many as it likes.
    pub auth_failures_per_minute: u64,
    /// The proxies whose `X-Forwarded-For` tells the client's address.
    pub trusted_proxies: Vec<IpNet>,
    /// The origins whose pages may call this from a browser, as browsers write them: `https://app.example.com`.
    pub cors_allowed_origins: Vec<String>,
    /// Whether pages of this machine may too, from any port.
    pub cors_allow_local: bool,
    /// Whether only requests for this machine are answered: for an admin whose password everybody knows, whom a page from
    /// elsewhere could become whose name leads here.
    pub only_local_hosts: bool,
    /// How often the end of keys whose time is over is looked for, to be recorded.
    pub sweep_every: Duration,
    /// Where clients reach this, if it is known: pages from there may use the session's cookie.
    pub public_url: Option<String>,
    /// Whether the session's cookie goes over TLS alone, also where `public_url` does not say so.
    pub secure_cookies: bool,
    /// Where usage waits while the database is away: a folder for this database alone. `None`: in memory, and what is there when
    /// the process dies is lost.
    pub usage_spool_dir: Option<PathBuf>,
    /// How many bytes may wait there before nothing more is admitted.
    pub usage_spool_limit: u64,
    /// Where `serve` tells what is missing, for other listeners to ask.
    pub readiness: Readiness,
}

impl Config {
    /// The defaults in front of the Ollama at this URL.
    #[must_use]
    pub fn new(ollama_url: impl Into<String>) -> Self {
        Self {
            ollama_url: ollama_url.into(),
            timeouts: Timeouts::default(),
            connections: Connections::default(),
            drain: Duration::from_secs(30),
            body_limit: 32 << 20,
            requests_per_minute: 60,
            redis_url: None,
            auth_failures_per_minute: 60,
            trusted_proxies: Vec::new(),
            cors_allowed_origins: Vec::new(),
            cors_allow_local: false,
            only_local_hosts: false,
            sweep_every: Duration::from_secs(30),
            public_url: None,
            secure_cookies: false,
            usage_spool_dir: None,
            usage_spool_limit: 256 << 20,
            readiness: Readiness::default(),
        }
    }
}

/// How long a request through the gateway may take. Each clock ends the request on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the forwarded request to the headers of its answer: long enough to load a model from a cold disk. An answer
    /// that is no stream has its headers only when it is complete.
    pub headers: Duration,
    /// Between two pieces of an answer, and between two pieces of a request body.
    pub idle: Duration,
    /// From the forwarded request to the end of its answer.
    pub total: Duration,
    /// From the first byte of the request to the end of its answer.
    pub lifetime: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            headers: Duration::from_mins(10),
            idle: Duration::from_mins(5),
            total: Duration::from_hours(1),
            lifetime: Duration::from_hours(2),
        }
    }
}

/// How many connections are served, and how long each may do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// The most at once. Each may need another file descriptor, to Ollama.
    pub most: usize,
    /// From the beginning of a connection to the first byte of its first request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From an answer to the next request: longer than proxies keep a connection, so that it is they who close it.
    pub idle: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            most: 4096,
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_mins(11),
        }
    }
}
