//! The settings, as flags and environment variables. [`crate::config`] derives the configuration
//! from them.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use paddock_accounts::passwords::{PASSWORD_HIGHEST_MINIMUM, PASSWORD_LOWEST_MINIMUM};
use secrecy::SecretString;

use crate::listen_address::{self, ListenAddress};

/// Minimum of MAX_CONNECTIONS. With fewer, probes and clients would block each other.
pub(crate) const MIN_CONNECTIONS: u32 = 16;

/// The kind of installation, which selects defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Environment {
    /// One machine: every setting has a default, except the signing secrets with PostgreSQL.
    #[value(alias = "dev")]
    Local,
    /// Production: secrets have no default.
    Prod,
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
    /// Namespace of the leader election lease [default: the pod's namespace, or default]
    #[arg(long, env = "LEASE_NAMESPACE", value_name = "NAME")]
    pub(crate) lease_namespace: Option<String>,
    /// Name of this process in the lease [default: the pod's name, or host name and process id]
    #[arg(long, env = "LEASE_IDENTITY", value_name = "NAME")]
    pub(crate) lease_identity: Option<String>,
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

/// Parses a port; 0 means any free port.
fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a port; use a number from 0 to 65535, such as 8080"))
}

/// Parses DB_MAX_CONNECTIONS. A single connection could deadlock; databases refuse more than a
/// thousand.
fn parse_db_connections(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (2..=1000).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of connections; use a number from 2 to 1000, such as 20"))
}

/// Parses MAX_CONNECTIONS.
fn parse_max_connections(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (MIN_CONNECTIONS..=1_000_000).contains(number));
    number.ok_or_else(|| {
        format!("`{text}` is not a number of connections; use a number from {MIN_CONNECTIONS} to 1000000, such as 1000")
    })
}

/// Parses MAX_PULLS.
fn parse_max_pulls(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of pulls; use a number from 1 to 100, such as 2"))
}

/// The highest number of requests that run or wait.
const MAX_QUEUE: usize = 100_000;

/// Parses MAX_CONCURRENT_PER_MODEL.
fn parse_max_concurrent(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_QUEUE).contains(number));
    number.ok_or_else(|| {
        format!("`{text}` is not a number of requests; use a number from 1 to {MAX_QUEUE}, such as 4, or unset it for no limit")
    })
}

/// Parses QUEUE_SIZE.
fn parse_queue_size(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MAX_QUEUE);
    number.ok_or_else(|| {
        format!("`{text}` is not a number of requests; use a number from 0 to {MAX_QUEUE}, such as 1024")
    })
}

/// Parses PASSWORD_MIN_LENGTH.
fn parse_password_length(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (PASSWORD_LOWEST_MINIMUM..=PASSWORD_HIGHEST_MINIMUM).contains(n));
    number.ok_or_else(|| {
        format!(
            "`{text}` is not a password length; use a number from {PASSWORD_LOWEST_MINIMUM} to \
             {PASSWORD_HIGHEST_MINIMUM}, such as 15"
        )
    })
}

/// Parses a number of requests.
fn parse_requests(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number of requests; use a number such as 60, or 0 for no limit"))
}

/// Parses an IP address, or a network such as `10.0.0.0/8`.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let invalid = |why: &str, right: &str| format!("`{text}` {why}; {right}");
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    let network = address.or_else(|_| text.parse()).map_err(|_| {
        invalid("is neither an address nor a network", "write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")
    })?;
    if network.prefix_len() == 0 {
        // Such a network would let every client choose its address.
        return Err(invalid("trusts everyone", "name the networks of your proxies, such as 10.0.0.0/8"));
    }
    if network != network.trunc() {
        let right = format!("write {} or {}", network.trunc(), network.addr());
        return Err(invalid("is an address with the prefix length of a network", &right));
    }
    match network {
        IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => {
            Err(invalid("is an IPv4 network in IPv6 form", "write it in IPv4 form, such as 10.0.0.0/8"))
        }
        network => Ok(network),
    }
}

/// Parses an origin, and returns it as browsers write it.
fn parse_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains('@') {
        return Err(
            "contains a user name or password, which it must not; write each origin as https://app.example.com"
                .to_owned(),
        );
    }
    let invalid =
        |why: &str| format!("`{text}` {why}; write it as https://app.example.com or http://app.example.com:3000");
    if text.contains('*') {
        // A page acts with the session of the user who opened it.
        return Err(invalid("allows any page, and each acts with the rights of its user"));
    }
    let url = url::Url::parse(text).map_err(|_| invalid("is not an origin"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("has no host"))?;
    let is_bare = url.query().is_none() && url.fragment().is_none();
    if !is_bare || text.ends_with('/') || !matches!(url.path(), "" | "/") {
        return Err(invalid("is more than scheme, host and port"));
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Ok(format!("{}://{host}{port}", url.scheme()))
}

/// Parses a duration such as `90s`, `10m` or `1h30m`. Zero is invalid.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a duration; write it as 90s, 10m or 1h30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(invalid)
}

/// Parses 1, true or yes, and 0, false or no.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(true),
        "" | "0" | "false" | "no" => Ok(false),
        _ => Err(format!("`{text}` is not a boolean; use 1, true or yes, or 0, false or no")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example.com", Some("https://app.example.com"))]
    #[case(" https://APP.Example.com:443 ", Some("https://app.example.com"))]
    #[case("http://app.example.com:3000", Some("http://app.example.com:3000"))]
    #[case("https://b\u{fc}cher.example", Some("https://xn--bcher-kva.example"))]
    #[case("http://[::1]:3000", Some("http://[::1]:3000"))]
    #[case("chrome-extension://abcdefgh", Some("chrome-extension://abcdefgh"))]
    #[case("https://app.example.com/", None)]
    #[case("https://app.example.com/chat", None)]
    #[case("https://app.example.com?x", None)]
    #[case("https://ada@app.example.com", None)]
    #[case("app.example.com", None)]
    #[case("app.example.com:3000", None)]
    #[case("null", None)]
    #[case("*", None)]
    #[case("https://*.example.com", None)]
    #[case("file:///srv/app", None)]
    #[case("", None)]
    fn an_origin_is_normalized_as_in_browsers(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(parse_origin(text).ok().as_deref(), expected);
    }

    #[rstest]
    #[case("192.0.2.7", Some("192.0.2.7/32"))]
    #[case(" 10.0.0.0/8 ", Some("10.0.0.0/8"))]
    #[case("2001:db8::/32", Some("2001:db8::/32"))]
    #[case("::ffff:192.0.2.7", Some("192.0.2.7/32"))]
    #[case("[2001:db8::7]", Some("2001:db8::7/128"))]
    #[case("::ffff:10.0.0.0/104", None)]
    #[case("10.0.0.1/8", None)]
    #[case("0.0.0.0/0", None)]
    #[case("::/0", None)]
    #[case("10.0.0.0/33", None)]
    #[case("10.0.0.0/255.0.0.0", None)]
    #[case("proxy.example.com", None)]
    #[case("", None)]
    fn a_proxy_network_has_no_host_bits(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(parse_network(text).ok().map(|network| network.to_string()).as_deref(), expected);
    }
}
