//! The configuration of the server. The caller reads it from the environment.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use paddock_ollama::{BackendSource, ModelRegistry};
use secrecy::SecretString;

use crate::readiness::Readiness;

/// The configuration of the API and the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Ollamas behind the gateway.
    pub ollama: BackendSource,
    /// The timeouts of a request through the gateway.
    pub timeouts: Timeouts,
    /// How many requests run at once, and how many wait.
    pub queue: QueueLimits,
    /// The maximum number of connections, and their idle timeouts.
    pub connections: ConnectionLimits,
    /// How long open requests may continue after shutdown has begun. The whole shutdown takes at
    /// most two seconds more.
    pub drain_timeout: Duration,
    /// The largest request body that the gateway accepts, in bytes.
    pub body_limit: usize,
    /// The registries that models may be pulled from.
    pub model_registries: Vec<ModelRegistry>,
    /// How many pulls run at once, over all processes of the database. Further pulls wait.
    pub max_pulls: u16,
    /// Requests a minute of users without a limit of their own; 0 means unlimited.
    pub requests_per_minute: u64,
    /// The Redis in which all replicas count requests together:
    /// `redis://:password@host:port/number`, or `rediss:`. With `None`, each process counts alone.
    pub redis_url: Option<SecretString>,
    /// How many wrong credentials a minute are allowed from one address; 0 means unlimited. Wrong
    /// cookies and failed sign-ins have separate counters with the same limit.
    pub auth_failures_per_minute: u64,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The origins whose pages may call the API from a browser, as browsers write them:
    /// `https://app.example.com`.
    pub cors_allowed_origins: Vec<String>,
    /// Whether pages of this machine may call the API too, from any port.
    pub cors_allow_local: bool,
    /// Whether only requests to this machine are served. Set it while the admin has the well-known
    /// development password. Otherwise a page whose host name resolves to this machine could sign
    /// in.
    pub only_local_hosts: bool,
    /// Whether the web UI is served.
    pub web_ui: WebUi,
    /// The time between two sweeps that record the expiry of keys.
    pub sweep_interval: Duration,
    /// The URL at which clients reach the server, if known. Pages of its origin may use the session
    /// cookie. Browsers send the cookie only over TLS if the URL begins with `https:`.
    pub public_url: Option<String>,
    /// The folder in which usage records wait while the database is unavailable. Servers of other
    /// databases must not use the folder. With `None`, records wait in memory, and are lost when
    /// the process dies.
    pub usage_spool_dir: Option<PathBuf>,
    /// How many bytes may wait in that folder before the gateway refuses requests.
    pub usage_spool_limit: u64,
    /// Where `serve` reports its readiness, for other listeners to read.
    pub readiness: Readiness,
}

impl Config {
    /// Returns the defaults for these Ollamas.
    #[must_use]
    pub fn new(ollama: BackendSource) -> Self {
        Self {
            ollama,
            timeouts: Timeouts::default(),
            queue: QueueLimits::default(),
            connections: ConnectionLimits::default(),
            drain_timeout: Duration::from_secs(30),
            body_limit: 32 << 20,
            model_registries: Vec::new(),
            max_pulls: 2,
            requests_per_minute: 60,
            redis_url: None,
            auth_failures_per_minute: 60,
            trusted_proxies: Vec::new(),
            cors_allowed_origins: Vec::new(),
            cors_allow_local: false,
            only_local_hosts: false,
            web_ui: WebUi::Served,
            sweep_interval: Duration::from_secs(30),
            public_url: None,
            usage_spool_dir: None,
            usage_spool_limit: 256 << 20,
            readiness: Readiness::default(),
        }
    }
}

/// Whether the web UI is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebUi {
    /// It is served below `/ui/`.
    Served,
    /// Its paths are not found.
    Off,
}

/// The timeouts of a request through the gateway. Each one ends the request by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the forwarded request to the headers of a stream. It must suffice to load a model from
    /// a cold disk. It does not apply to a response that is not a stream, because Ollama sends the
    /// headers of such a response only when the response is complete.
    pub headers: Duration,
    /// Between two chunks of a stream, and between two chunks of a request body.
    pub idle: Duration,
    /// From the forwarded request to the end of the response.
    pub total: Duration,
    /// From the first byte of the request to the end of the response.
    pub lifetime: Duration,
}

/// The queue of requests that run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many requests of one model this process runs at once; `None` means no limit, and no
    /// request waits.
    pub max_concurrent_per_model: Option<usize>,
    /// How many requests may wait, for all models.
    pub size: usize,
    /// How long a request may wait.
    pub timeout: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { max_concurrent_per_model: None, size: 1024, timeout: Duration::from_mins(1) }
    }
}

/// One of the timeouts of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// [`Timeouts::headers`]
    Headers,
    /// [`Timeouts::idle`]
    Idle,
    /// [`Timeouts::total`]
    Total,
    /// [`Timeouts::lifetime`]
    Lifetime,
}

impl Timeout {
    /// The setting of the timeout.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::Headers => "UPSTREAM_HEADERS_TIMEOUT",
            Self::Idle => "UPSTREAM_IDLE_TIMEOUT",
            Self::Total => "UPSTREAM_TOTAL_TIMEOUT",
            Self::Lifetime => "UPSTREAM_LIFETIME_TIMEOUT",
        }
    }

    /// The reason in the log, and the code of the error.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Headers => "upstream_headers_timeout",
            Self::Idle => "upstream_idle_timeout",
            Self::Total => "upstream_total_timeout",
            Self::Lifetime => "upstream_lifetime_timeout",
        }
    }
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

/// The maximum number of connections, and how long each may be idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The maximum number of open connections. Each may need a second file descriptor, for its
    /// connection to Ollama.
    pub max: usize,
    /// From the start of a connection to the first byte of its first request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the end of a response to the next request. It is longer than the keep-alive of common
    /// proxies, so that the proxy closes the connection and not the server.
    pub idle: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max: 4096,
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_mins(11),
        }
    }
}
