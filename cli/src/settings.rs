//! The settings, as flags and environment variables. [`crate::config`] derives the configuration
//! from them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use secrecy::SecretString;

use crate::{
    listen_address::{self, ListenAddress},
    value_parsers::{
        parse_bool, parse_db_connections, parse_duration, parse_max_concurrent, parse_max_connections, parse_max_pulls,
        parse_network, parse_origin, parse_password_length, parse_port, parse_queue_size, parse_requests,
        parse_socket_address,
    },
};

/// The kind of installation, which selects defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Environment {
    /// One machine: every setting has a default, except the signing secrets with PostgreSQL.
    #[value(alias = "dev")]
    Local,
    /// Production: secrets have no default.
    Prod,
}

/// Where the Ollamas are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Discovery {
    /// At each URL of a list.
    List,
    /// At each address of a host.
    Dns,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// Settings of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Environment")]
pub(crate) struct CommonSettings {
    /// The kind of installation [default: local; in a pod it must be set]
    #[arg(long, env = "ENVIRONMENT", value_name = "NAME", ignore_case = true)]
    pub(crate) environment: Option<Environment>,
    /// Format of log lines [default: text on a terminal or in local, json otherwise]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Log level: error, warn, info, debug, trace or off; or a filter such as
    /// `info,paddock_api=debug`
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

/// The database and its signing secrets.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseSettings {
    /// postgres://user:password@host:5432/name or sqlite:path [default: built from DB_*, or
    /// sqlite:paddock.db in local]
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<SecretString>,
    /// File with the URL
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// PostgreSQL user, taken literally, as DB_PASSWORD and DB_NAME are [default: app]
    #[arg(long, env = "DB_USER", value_name = "NAME")]
    pub(crate) db_user: Option<String>,
    /// PostgreSQL password [default: app]
    #[arg(long, env = "DB_PASSWORD", value_name = "SECRET", hide_env_values = true)]
    pub(crate) db_password: Option<SecretString>,
    /// File with the password
    #[arg(long, env = "DB_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) db_password_file: Option<PathBuf>,
    /// PostgreSQL host: a name, an address, or the folder of a socket [default: localhost in local,
    /// db in prod]
    #[arg(long, env = "DB_HOST", value_name = "HOST")]
    pub(crate) db_host: Option<String>,
    /// PostgreSQL port [default: 5432]
    #[arg(long, env = "DB_PORT", value_name = "PORT", value_parser = parse_port)]
    pub(crate) db_port: Option<u16>,
    /// PostgreSQL database [default: app]
    #[arg(long, env = "DB_NAME", value_name = "NAME")]
    pub(crate) db_name: Option<String>,
    /// Maximum number of database connections
    #[arg(long, env = "DB_MAX_CONNECTIONS", value_name = "N", default_value = "20", value_parser = parse_db_connections)]
    pub(crate) db_max_connections: u32,
    /// Secret that authenticates the audit log, at least 32 bytes [default in local on SQLite:
    /// generated and saved beside the file]
    #[arg(long, env = "AUDIT_SIGNING_KEY", value_name = "SECRET", hide_env_values = true)]
    pub(crate) audit_signing_key: Option<SecretString>,
    /// File with the secret
    #[arg(long, env = "AUDIT_SIGNING_KEY_FILE", value_name = "FILE")]
    pub(crate) audit_signing_key_file: Option<PathBuf>,
    /// File for the newest position and hash of the audit log, updated after each change; use one
    /// per process [default in local on SQLite: <database>.audit-head]
    #[arg(long, env = "AUDIT_HEAD_FILE", value_name = "FILE")]
    pub(crate) audit_head_file: Option<PathBuf>,
    /// Delete audit rows after this many days [default: never]
    #[arg(long, env = "AUDIT_RETENTION_DAYS", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) audit_retention_days: Option<u32>,
    /// Secret that signs access tokens, at least 32 bytes [default in local on SQLite: generated
    /// and saved beside the file]
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub(crate) jwt_secret: Option<SecretString>,
    /// File with the secret
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE")]
    pub(crate) jwt_secret_file: Option<PathBuf>,
    /// Algorithm that signs access tokens: HS256, HS384 or HS512
    #[arg(long, env = "JWT_ALG", value_name = "ALG", default_value = "HS256")]
    pub(crate) jwt_alg: String,
    /// Minimum length of new passwords in characters, 8 to 128
    #[arg(long, env = "PASSWORD_MIN_LENGTH", value_name = "N", default_value = "15", value_parser = parse_password_length)]
    pub(crate) password_min_length: usize,
}

/// The address of the API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ListenSettings {
    /// Address of the API; [::] is every address of IPv6 and IPv4 [default: 127.0.0.1:8080 in local,
    /// [::]:8080 in prod; `:8080` sets the port only]
    #[arg(long, env = "LISTEN_ADDR", value_name = "HOST:PORT", value_parser = listen_address::parse)]
    pub(crate) listen_addr: Option<ListenAddress>,
    /// Port of the API, overrides the port of LISTEN_ADDR; 0 picks a free port
    #[arg(long, env = "PORT", value_name = "PORT", value_parser = parse_port)]
    pub(crate) port: Option<u16>,
}

/// The end of a server.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct DrainSettings {
    /// How long open streams may continue after SIGTERM
    #[arg(long, env = "DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) drain_timeout: Duration,
}

/// Settings of the API and the gateway.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServeSettings {
    #[command(flatten)]
    pub(crate) listen: ListenSettings,
    #[command(flatten)]
    pub(crate) drain: DrainSettings,
    /// Maximum number of client connections, 16 to 1000000 [default: as many as the limit of file
    /// descriptors allows, at most 4096]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N", value_parser = parse_max_connections)]
    pub(crate) max_connections: Option<u32>,
    /// How long Ollama may take to begin a stream; loading a model takes minutes [default: 10m, or
    /// UPSTREAM_TOTAL_TIMEOUT if that is less]
    #[arg(long, env = "UPSTREAM_HEADERS_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) upstream_headers_timeout: Option<Duration>,
    /// How long Ollama may pause within a stream [default: 5m, or UPSTREAM_TOTAL_TIMEOUT if that is
    /// less]
    #[arg(long, env = "UPSTREAM_IDLE_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) upstream_idle_timeout: Option<Duration>,
    /// How long an answer may take in total [default: 1h, or UPSTREAM_LIFETIME_TIMEOUT if that is
    /// less]
    #[arg(long, env = "UPSTREAM_TOTAL_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) upstream_total_timeout: Option<Duration>,
    /// How long a request may take in total, body and answer [default: 2h, or UPSTREAM_TOTAL_TIMEOUT
    /// if that is more]
    #[arg(long, env = "UPSTREAM_LIFETIME_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) upstream_lifetime_timeout: Option<Duration>,
    /// Models that the API pulls at the same time, 1 to 100, over all replicas; further pulls wait
    #[arg(long, env = "MAX_PULLS", value_name = "N", default_value = "2", value_parser = parse_max_pulls)]
    pub(crate) max_pulls: u16,
    /// Requests of one model that this process runs at once, 1 to 100000; further requests wait in a
    /// queue that is fair to users [default: no limit]
    #[arg(long, env = "MAX_CONCURRENT_PER_MODEL", value_name = "N", value_parser = parse_max_concurrent)]
    pub(crate) max_concurrent_per_model: Option<usize>,
    /// Requests that may wait for their model, 0 to 100000
    #[arg(long, env = "QUEUE_SIZE", value_name = "N", default_value = "1024", value_parser = parse_queue_size)]
    pub(crate) queue_size: usize,
    /// How long a request may wait for its model
    #[arg(long, env = "QUEUE_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(crate) queue_timeout: Duration,
    /// Folder for usage records while the database is unavailable [default: beside the SQLite file;
    /// else /var/lib/paddock/usage, in local a temporary folder]
    #[arg(long, env = "USAGE_SPOOL_DIR", value_name = "DIR")]
    pub(crate) usage_spool_dir: Option<PathBuf>,
    /// Requests per minute for users without a limit of their own; 0: unlimited
    #[arg(long, env = "RATE_LIMIT_PER_MINUTE", value_name = "N", default_value = "60", value_parser = parse_requests)]
    pub(crate) rate_limit_per_minute: u64,
    /// Redis for rate limits that all replicas share, as redis://:password@host:6379/0, or rediss:
    /// for TLS; unset: each process counts alone
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<SecretString>,
    /// File with the URL
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE")]
    pub(crate) redis_url_file: Option<PathBuf>,
    /// Invalid keys and tokens, invalid cookies and failed sign-ins that one address may present
    /// per minute, each counted separately; 0: unlimited
    #[arg(long, env = "AUTH_FAILURES_PER_MINUTE", value_name = "N", default_value = "60", value_parser = parse_requests)]
    pub(crate) auth_failures_per_minute: u64,
    /// Trusted proxies, whose X-Forwarded-For names the client's address [default: none]
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "NETWORK,..", value_delimiter = ',', value_parser = parse_network)]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call the API from a browser, such as https://app.example.com
    /// [default: none; local always allows any port of localhost, 127.0.0.1 and [::1]]
    #[arg(long, env = "CORS_ALLOWED_ORIGINS", value_name = "ORIGIN,..", value_delimiter = ',', value_parser = parse_origin)]
    pub(crate) cors_allowed_origins: Vec<String>,
}

/// The metrics listener, and the collector of traces.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics and traces")]
pub(crate) struct MetricsSettings {
    /// Address of /metrics, /livez and /readyz [default: 127.0.0.1:9090 in local, [::]:9090 in prod]
    #[arg(long, env = "METRICS_ADDR", value_name = "HOST:PORT", value_parser = listen_address::parse)]
    pub(crate) metrics_addr: Option<ListenAddress>,
    /// URL of an OpenTelemetry collector for traces by OTLP over HTTP, such as
    /// http://collector:4318 [default: no traces]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otel_exporter_otlp_endpoint: Option<String>,
}

/// Ollama and its models.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ollama")]
pub(crate) struct OllamaSettings {
    /// URL of Ollama [default: http://localhost:11434 in local,
    /// http://ollama.default.svc.cluster.local:11434 in prod]
    #[arg(long, env = "OLLAMA_BASE_URL", value_name = "URL")]
    pub(crate) ollama_base_url: Option<String>,
    /// Where the Ollamas are: at the URLs of OLLAMA_BASE_URL (list), or at every address of the host
    /// of its one URL (dns), such as a headless Service
    #[arg(long, env = "OLLAMA_DISCOVERY", value_name = "KIND", default_value = "list", ignore_case = true)]
    pub(crate) ollama_discovery: Discovery,
    /// DNS server that resolves the host with OLLAMA_DISCOVERY=dns [default: those of the system]
    #[arg(long, env = "OLLAMA_DNS_SERVER", value_name = "IP:PORT", value_parser = parse_socket_address)]
    pub(crate) ollama_dns_server: Option<SocketAddr>,
    /// File with certificates in PEM form that connections to Ollama trust, besides the system's
    #[arg(long, env = "OLLAMA_CA_FILE", value_name = "FILE")]
    pub(crate) ollama_ca_file: Option<PathBuf>,
    /// Value of the header Authorization for an Ollama behind a proxy that wants one, such as
    /// `Bearer <token>`
    #[arg(long, env = "OLLAMA_AUTHORIZATION", value_name = "VALUE", hide_env_values = true)]
    pub(crate) ollama_authorization: Option<SecretString>,
    /// File with the value of OLLAMA_AUTHORIZATION
    #[arg(long, env = "OLLAMA_AUTHORIZATION_FILE", value_name = "FILE")]
    pub(crate) ollama_authorization_file: Option<PathBuf>,
    /// Registries to pull models from; http://host:port allows insecure pulls from it
    #[arg(
        long,
        env = "MODEL_REGISTRIES",
        value_name = "HOST,..",
        value_delimiter = ',',
        default_value = "registry.ollama.ai"
    )]
    pub(crate) model_registries: Vec<String>,
    /// URL of the gateway for workloads, which the operator writes into Secrets [default in local:
    /// the address of the API]
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
}

/// The operator's namespaces and its leader election.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operator")]
pub(crate) struct OperatorSettings {
    /// Namespaces to watch [default: all]
    #[arg(long, env = "WATCH_NAMESPACES", value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
    /// Namespaces whose ApiUser objects may be admins [default: none]
    #[arg(long, env = "ADMIN_NAMESPACES", value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) admin_namespaces: Vec<String>,
    /// Namespaces whose ApiUser objects may take over users that were created through the API
    /// [default: ADMIN_NAMESPACES]
    #[arg(long, env = "ADOPTION_NAMESPACES", value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) adoption_namespaces: Option<Vec<String>>,
    /// Namespace of the leader election lease [default: the pod's namespace, or default]
    #[arg(long, env = "LEASE_NAMESPACE", value_name = "NAME")]
    pub(crate) lease_namespace: Option<String>,
    /// Name of the leader election lease; installations that share a namespace need a name each
    #[arg(long, env = "LEASE_NAME", value_name = "NAME", default_value = "paddock-operator")]
    pub(crate) lease_name: String,
    /// Name of this process in the lease [default: the pod's name, or host name and process id]
    #[arg(long, env = "LEASE_IDENTITY", value_name = "NAME")]
    pub(crate) lease_identity: Option<String>,
    /// How long a pull of an OllamaModel may receive no new byte before it counts as stalled and is
    /// tried again
    #[arg(long, env = "PULL_STALL_TIMEOUT", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub(crate) pull_stall_timeout: Duration,
}

/// The first admin.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "First admin")]
#[expect(clippy::struct_field_names, reason = "they are named as their variables")]
pub(crate) struct SeedSettings {
    /// Password of the first admin; it is never printed [default: generated and printed once]
    #[arg(long, env = "ADMIN_BOOTSTRAP_PASSWORD", value_name = "SECRET", hide_env_values = true)]
    pub(crate) admin_bootstrap_password: Option<SecretString>,
    /// File with the password
    #[arg(long, env = "ADMIN_BOOTSTRAP_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) admin_bootstrap_password_file: Option<PathBuf>,
    /// Set the password at each start, also of an existing admin: 1, true or yes. Also makes it an
    /// admin again if there is no other; otherwise its lost rights stay lost
    #[arg(long, env = "ADMIN_BOOTSTRAP_PASSWORD_FORCE", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = parse_bool)]
    pub(crate) admin_bootstrap_password_force: bool,
}

/// All settings of a server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) common: CommonSettings,
    #[command(flatten)]
    pub(crate) database: DatabaseSettings,
    #[command(flatten)]
    pub(crate) serve: ServeSettings,
    #[command(flatten)]
    pub(crate) metrics: MetricsSettings,
    #[command(flatten)]
    pub(crate) ollama: OllamaSettings,
    #[command(flatten)]
    pub(crate) operator: OperatorSettings,
    #[command(flatten)]
    pub(crate) seed: SeedSettings,
}
