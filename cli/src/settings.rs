//! The environment variables of Paddock, as flags and variables; what they mean together is in [`crate::config`].

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use paddock_accounts::passwords::{PASSWORD_HIGHEST_MINIMUM, PASSWORD_LOWEST_MINIMUM};
use secrecy::SecretString;

/// The fewest connections that the API serves.
pub(crate) const LEAST_PLACES: u32 = 16;

/// What kind of place this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Environment {
    /// One machine: everything has a default.
    #[value(alias = "dev")]
    Local,
    /// Anything that others depend on: nothing secret has a default.
    Prod,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What every command reads.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Environment")]
pub(crate) struct CommonSettings {
    /// What kind of place this is; unset: local, but in a pod it must be set
    #[arg(long, env = "ENVIRONMENT", value_name = "NAME", ignore_case = true)]
    pub(crate) environment: Option<Environment>,
    /// How log lines look [default: text on a terminal or in local, json otherwise]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace or off, or a filter as `info,paddock_api=debug`
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

/// The database and the keys that guard it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseSettings {
    /// postgres://user:password@host:5432/name or sqlite:path; unset: from DB_*, or sqlite:paddock.db in local
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// PostgreSQL user [default: app]
    #[arg(long, env = "DB_USER", value_name = "NAME")]
    pub(crate) db_user: Option<String>,
    /// PostgreSQL password [default: app]
    #[arg(long, env = "DB_PASSWORD", value_name = "SECRET", hide_env_values = true)]
    pub(crate) db_password: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "DB_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) db_password_file: Option<PathBuf>,
    /// PostgreSQL host [default: localhost in local, db in prod]
    #[arg(long, env = "DB_HOST", value_name = "HOST")]
    pub(crate) db_host: Option<String>,
    /// PostgreSQL port [default: 5432]
    #[arg(long, env = "DB_PORT", value_name = "PORT", value_parser = port)]
    pub(crate) db_port: Option<u16>,
    /// PostgreSQL database [default: app]
    #[arg(long, env = "DB_NAME", value_name = "NAME")]
    pub(crate) db_name: Option<String>,
    /// The most connections to the database
    #[arg(long, env = "DB_MAX_CONNECTIONS", value_name = "N", default_value = "20", value_parser = connections)]
    pub(crate) db_max_connections: u32,
    /// Seals the audit log; at least 32 bytes; kept beside the SQLite file when unset in local
    #[arg(long, env = "AUDIT_SIGNING_KEY", value_name = "SECRET", hide_env_values = true)]
    pub(crate) audit_signing_key: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "AUDIT_SIGNING_KEY_FILE", value_name = "FILE")]
    pub(crate) audit_signing_key_file: Option<PathBuf>,
    /// Where the end of the audit log is told after each change, for this process alone [default in local on SQLite:
    /// <database>.audit-head]
    #[arg(long, env = "AUDIT_HEAD_FILE", value_name = "FILE")]
    pub(crate) audit_head_file: Option<PathBuf>,
    /// How many days audit rows are kept; unset: for ever
    #[arg(long, env = "AUDIT_RETENTION_DAYS", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) audit_retention_days: Option<u32>,
    /// Signs access tokens; at least 32 bytes; kept beside the SQLite file when unset in local
    #[arg(long, env = "JWT_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub(crate) jwt_secret: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE")]
    pub(crate) jwt_secret_file: Option<PathBuf>,
    /// How access tokens are signed: HS256, HS384 or HS512
    #[arg(long, env = "JWT_ALG", value_name = "ALG", default_value = "HS256")]
    pub(crate) jwt_alg: String,
    /// The fewest characters of a new password, 8 to 128
    #[arg(long, env = "PASSWORD_MIN_LENGTH", value_name = "N", default_value = "15", value_parser = password_length)]
    pub(crate) password_min_length: usize,
}

/// Where the API serves.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ListenSettings {
    /// Where the API listens [default: 127.0.0.1:8080 in local, 0.0.0.0:8080 in prod]
    #[arg(long, env = "LISTEN_ADDR", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen_addr: Option<SocketAddr>,
    /// Overrides the port of LISTEN_ADDR; 0 picks a free one
    #[arg(long, env = "PORT", value_name = "PORT", value_parser = port)]
    pub(crate) port: Option<u16>,
}

/// How the API and the gateway serve.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServeSettings {
    #[command(flatten)]
    pub(crate) listen: ListenSettings,
    /// The most connections at once, 16 to 1000000 [default: as many as the limit of file descriptors leaves room for, at
    /// most 4096]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N", value_parser = places)]
    pub(crate) max_connections: Option<u32>,
    /// How long open streams may go on after SIGTERM
    #[arg(long, env = "DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
    /// How long Ollama may take to begin an answer; loading a model takes minutes
    #[arg(long, env = "UPSTREAM_HEADERS_TIMEOUT", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) upstream_headers_timeout: Duration,
    /// How long Ollama may be silent within an answer
    #[arg(long, env = "UPSTREAM_IDLE_TIMEOUT", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) upstream_idle_timeout: Duration,
    /// How long an answer may take in all
    #[arg(long, env = "UPSTREAM_TOTAL_TIMEOUT", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) upstream_total_timeout: Duration,
    /// How long a request may take in all, its body and its answer
    #[arg(long, env = "UPSTREAM_LIFETIME_TIMEOUT", value_name = "DURATION", default_value = "2h", value_parser = duration)]
    pub(crate) upstream_lifetime_timeout: Duration,
    /// Where usage waits while the database is away [default: beside the SQLite file; else /var/lib/paddock/usage, in local a folder for temporary files]
    #[arg(long, env = "USAGE_SPOOL_DIR", value_name = "DIR")]
    pub(crate) usage_spool_dir: Option<PathBuf>,
    /// How many requests a minute users may make who have no limit of their own; 0: as many as they like
    #[arg(long, env = "RATE_LIMIT_PER_MINUTE", value_name = "N", default_value = "60", value_parser = requests)]
    pub(crate) rate_limit_per_minute: u64,
    /// The Redis in which all replicas count requests together, as redis://:password@host:6379/0, or rediss: for TLS; unset: each process counts by itself
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE")]
    pub(crate) redis_url_file: Option<PathBuf>,
    /// How many credentials that are not valid one address may present a minute, how many such cookies, and how many of its
    /// sign-ins may fail; 0: as many as it likes
    #[arg(long, env = "AUTH_FAILURES_PER_MINUTE", value_name = "N", default_value = "60", value_parser = requests)]
    pub(crate) auth_failures_per_minute: u64,
    /// Proxies in front of this, whose X-Forwarded-For tells the client's address; unset: none
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "NETWORK,..", value_delimiter = ',', value_parser = network)]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call this from a browser, as https://app.example.com [default: none; in local any port of
    /// localhost, 127.0.0.1 and [::1] in any case]
    #[arg(long, env = "CORS_ALLOWED_ORIGINS", value_name = "ORIGIN,..", value_delimiter = ',', value_parser = origin)]
    pub(crate) cors_allowed_origins: Vec<String>,
}

/// Where metrics and probes are served, and where traces go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics and traces")]
pub(crate) struct MetricsSettings {
    /// Where /metrics, /livez and /readyz listen [default: 127.0.0.1:9090 in local, 0.0.0.0:9090 in prod]
    #[arg(long, env = "METRICS_ADDR", value_name = "HOST:PORT")]
    pub(crate) metrics_addr: Option<String>,
    /// Where an OpenTelemetry collector takes traces by OTLP over HTTP, as http://collector:4318; unset: no traces
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otel_exporter_otlp_endpoint: Option<String>,
}

/// The models behind the gateway.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ollama")]
pub(crate) struct OllamaSettings {
    /// Where Ollama answers [default: http://localhost:11434 in local, http://ollama.default.svc.cluster.local:11434 in prod]
    #[arg(long, env = "OLLAMA_BASE_URL", value_name = "URL")]
    pub(crate) ollama_base_url: Option<String>,
    /// Registries that models may come from; one written http://host:port may be pulled from insecurely
    #[arg(
        long,
        env = "MODEL_REGISTRIES",
        value_name = "HOST,..",
        value_delimiter = ',',
        default_value = "registry.ollama.ai"
    )]
    pub(crate) model_registries: Vec<String>,
    /// Where workloads reach the gateway: what the operator writes into Secrets [default in local: the address served]
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
}

/// What the operator watches, and how it leads.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operator")]
pub(crate) struct OperatorSettings {
    /// Namespaces to watch; unset: all
    #[arg(long, env = "WATCH_NAMESPACES", value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
    /// Namespaces whose ApiUser objects may be admins; unset: none
    #[arg(long, env = "ADMIN_NAMESPACES", value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) admin_namespaces: Vec<String>,
    /// Namespace of the leader lease [default: the pod's own, or default]
    #[arg(long, env = "LEASE_NAMESPACE", value_name = "NAME")]
    pub(crate) lease_namespace: Option<String>,
    /// This process in the lease [default: the pod's name, or host name and process id]
    #[arg(long, env = "LEASE_IDENTITY", value_name = "NAME")]
    pub(crate) lease_identity: Option<String>,
}

/// The first admin.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "First admin")]
#[expect(clippy::struct_field_names, reason = "the variables' own names")]
pub(crate) struct SeedSettings {
    /// Its password; unset: one is made and printed once
    #[arg(long, env = "ADMIN_BOOTSTRAP_PASSWORD", value_name = "SECRET", hide_env_values = true)]
    pub(crate) admin_bootstrap_password: Option<SecretString>,
    /// A file that holds it
    #[arg(long, env = "ADMIN_BOOTSTRAP_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) admin_bootstrap_password_file: Option<PathBuf>,
    /// Set the password also where the admin is there already, at each start: 1, true or yes. Where nobody is an admin, it
    /// becomes one again; beside another admin, what was taken from it stays taken
    #[arg(long, env = "ADMIN_BOOTSTRAP_PASSWORD_FORCE", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = yes)]
    pub(crate) admin_bootstrap_password_force: bool,
}

/// Everything: what a server reads.
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

/// `host:port`, the host a number.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not host:port; write it as 127.0.0.1:8080 or 0.0.0.0:8080"))
}

/// A port, 0 for any.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a port; use a number from 0 to 65535, as 8080"))
}

/// Fewer than two could wait for each other; more than a thousand no database takes.
fn connections(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (2..=1000).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of connections; use one from 2 to 1000, as 20"))
}

/// As many connections as the API may serve. With fewer than sixteen, probes and people would keep each other out.
fn places(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (LEAST_PLACES..=1_000_000).contains(number));
    number.ok_or_else(|| {
        format!("`{text}` is not a number of connections; use one from {LEAST_PLACES} to 1000000, as 1000")
    })
}

/// What a password's least length may be.
fn password_length(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (PASSWORD_LOWEST_MINIMUM..=PASSWORD_HIGHEST_MINIMUM).contains(n));
    number.ok_or_else(|| {
        format!(
            "`{text}` is not a length for passwords; use a number from {PASSWORD_LOWEST_MINIMUM} to \
             {PASSWORD_HIGHEST_MINIMUM}, as 15"
        )
    })
}

/// A number of requests.
fn requests(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of requests; use one such as 60, or 0 for no limit"))
}

/// An address, or a network as `10.0.0.0/8`.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let wrong = |why: &str, right: &str| format!("`{text}` {why}; {right}");
    let alone = text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    let network = alone.or_else(|_| text.parse()).map_err(|_| {
        wrong("is neither an address nor a network", "write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")
    })?;
    if network.prefix_len() == 0 {
        // Then every client could say any address.
        return Err(wrong("trusts everyone", "name the networks of your proxies, as 10.0.0.0/8"));
    }
    if network != network.trunc() {
        let right = format!("write {} or {}", network.trunc(), network.addr());
        return Err(wrong("names one address and its whole network", &right));
    }
    match network {
        IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => {
            Err(wrong("is IPv4 within IPv6", "write it as IPv4, as 10.0.0.0/8"))
        }
        network => Ok(network),
    }
}

/// An origin, as browsers write it.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains('@') {
        return Err(
            "holds a user name or password, which do not belong in it; write each origin as https://app.example.com"
                .to_owned(),
        );
    }
    let wrong =
        |why: &str| format!("`{text}` {why}; write it as https://app.example.com or http://app.example.com:3000");
    if text.contains('*') {
        // Pages act with the session of whoever looks at them.
        return Err(wrong("allows pages that are not known, and each acts with its user's rights"));
    }
    let url = url::Url::parse(text).map_err(|_| wrong("is not an origin"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?;
    let bare = url.query().is_none() && url.fragment().is_none();
    if !bare || text.ends_with('/') || !matches!(url.path(), "" | "/") {
        return Err(wrong("is more than scheme, host and port"));
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Ok(format!("{}://{host}{port}", url.scheme()))
}

/// `90s`, `10m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it as 90s, 10m or 1h30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(wrong)
}

/// 1, true or yes, and their opposites.
fn yes(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(true),
        "" | "0" | "false" | "no" => Ok(false),
        _ => Err(format!("`{text}` is neither yes nor no; use 1, true or yes, or 0, false or no")),
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
    fn an_origin_is_taken_as_browsers_write_it(#[case] text: &str, #[case] taken: Option<&str>) {
        assert_eq!(origin(text).ok().as_deref(), taken);
    }

    #[rstest]
    #[case("192.0.2.7", Some("192.0.2.7/32"))]
    #[case(" 10.0.0.0/8 ", Some("10.0.0.0/8"))]
    #[case("2001:db8::/32", Some("2001:db8::/32"))]
    #[case("::ffff:192.0.2.7", Some("192.0.2.7/32"))]
    #[case("::ffff:10.0.0.0/104", None)]
    #[case("10.0.0.1/8", None)]
    #[case("0.0.0.0/0", None)]
    #[case("::/0", None)]
    #[case("10.0.0.0/33", None)]
    #[case("10.0.0.0/255.0.0.0", None)]
    #[case("proxy.example.com", None)]
    #[case("", None)]
    fn a_network_of_proxies_is_exact(#[case] text: &str, #[case] taken: Option<&str>) {
        assert_eq!(network(text).ok().map(|network| network.to_string()).as_deref(), taken);
    }
}
