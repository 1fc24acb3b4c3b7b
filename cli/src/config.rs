//! What the settings mean together: defaults that depend on each other, files that hold secrets, and the rules that cross
//! fields. Nothing is started before all of it holds.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use paddock_accounts::{Accounts, OpenOptions, audit::Chain, clock::SystemClock, seed::Seed, sessions::SessionKey};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    failure::Failure,
    settings::{
        CommonSettings, DatabaseSettings, Environment, ListenSettings, MetricsSettings, OllamaSettings, SeedSettings,
        ServeSettings,
    },
};

/// The default port of the API.
pub(crate) const PORT: u16 = 8080;
const METRICS_PORT: u16 = 9090;
/// How long a signing secret must be: as long as what it signs with.
const SECRET_MIN_BYTES: usize = 32;
/// What the files beside a SQLite file are called in which keys are kept.
pub(crate) const AUDIT_KEY_SUFFIX: &str = "audit-key";
pub(crate) const JWT_SECRET_SUFFIX: &str = "jwt-secret";
/// What the folder beside it is called in which usage waits.
const USAGE_SUFFIX: &str = "usage";
const MAKE_ONE: &str = "make one with `openssl rand -hex 32`";
/// Values that stand in examples, and so are known to everyone.
const KNOWN_SECRETS: [&str; 8] =
    ["change", "secret", "example", "insecure", "placeholder", "your-", "default", "password"];

/// The environment: as set, or local outside of a pod.
pub(crate) fn environment(settings: &CommonSettings) -> Result<Environment, Failure> {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    match settings.environment {
        Some(environment) => Ok(environment),
        None if in_pod => Err(Failure::config(
            "ENVIRONMENT is not set, and this is a pod: set ENVIRONMENT=prod (or local for a try-out with no protection)",
        )),
        None => Ok(Environment::Local),
    }
}

/// The value of a secret setting: given, or in a file whose trailing line end does not count. Both at once are refused: which
/// of them is meant nobody can tell.
pub(crate) fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, Failure> {
    let secret = match (value, file) {
        (Some(_), Some(_)) => {
            return Err(Failure::config(format!("{name} and {name}_FILE are both set; leave one of them out")));
        }
        (Some(value), None) => value.clone(),
        (None, Some(file)) => {
            let text = fs::read_to_string(file)
                .map_err(|error| Failure::config(format!("{name}_FILE: cannot read {}: {error}", file.display())))?;
            text.trim_end_matches(['\r', '\n']).into()
        }
        (None, None) => return Ok(None),
    };
    if secret.expose_secret().is_empty() {
        return Err(Failure::config(format!("{name} is empty; set it to a value, or leave it out")));
    }
    Ok(Some(secret))
}

/// The database and its keys.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) options: OpenOptions,
    pub(crate) audit_signing_key: SecretString,
    pub(crate) jwt_secret: SecretString,
    pub(crate) jwt_alg: String,
}

impl Database {
    /// Settles on a database and finds, or in local makes, its keys.
    pub(crate) fn resolve(settings: &DatabaseSettings, environment: Environment) -> Result<Self, Failure> {
        Self::find(settings, environment, false)
    }

    /// The same to read only: nothing is made that is not there.
    pub(crate) fn resolve_to_read(settings: &DatabaseSettings, environment: Environment) -> Result<Self, Failure> {
        Self::find(settings, environment, true)
    }

    fn find(settings: &DatabaseSettings, environment: Environment, read_only: bool) -> Result<Self, Failure> {
        let mut options = OpenOptions {
            max_connections: settings.db_max_connections,
            read_only,
            audit_retention_days: settings.audit_retention_days,
            password_min_length: settings.password_min_length,
            ..OpenOptions::new(database_url(settings, environment)?)
        };
        options.check()?;
        options.audit_head_file = audit_head_file(settings, environment, &options)?;
        let audit_signing_key = signing_secret(
            "AUDIT_SIGNING_KEY",
            settings.audit_signing_key.as_ref(),
            settings.audit_signing_key_file.as_deref(),
            AUDIT_KEY_SUFFIX,
            &options,
            environment,
        )?;
        let jwt_secret = if read_only {
            // Nobody signs in through it.
            hex::encode(random()?).into()
        } else {
            signing_secret(
                "JWT_SECRET",
                settings.jwt_secret.as_ref(),
                settings.jwt_secret_file.as_deref(),
                JWT_SECRET_SUFFIX,
                &options,
                environment,
            )?
        };
        let database = Self { options, audit_signing_key, jwt_secret, jwt_alg: settings.jwt_alg.clone() };
        database.session_key()?;
        Ok(database)
    }

    fn session_key(&self) -> Result<SessionKey, Failure> {
        Ok(SessionKey::new(&self.jwt_secret, &self.jwt_alg)?)
    }

    /// Opens it.
    pub(crate) async fn open(&self) -> Result<Accounts, Failure> {
        let chain = Chain::new(&self.audit_signing_key);
        Ok(Accounts::open(&self.options, chain, self.session_key()?, Arc::new(SystemClock)).await?)
    }
}

/// Whether the algorithm is one that sessions can be signed with.
pub(crate) fn session_algorithm(name: &str) -> Result<(), Failure> {
    SessionKey::new(&"0".repeat(64).into(), name)?;
    Ok(())
}

/// Whether any of `DB_*` is set, which means a PostgreSQL.
pub(crate) fn names_a_server(settings: &DatabaseSettings) -> bool {
    settings.db_user.is_some()
        || settings.db_password.is_some()
        || settings.db_password_file.is_some()
        || settings.db_host.is_some()
        || settings.db_port.is_some()
        || settings.db_name.is_some()
}

/// `DATABASE_URL`, or from `DB_*`, or a file in the working directory.
pub(crate) fn database_url(settings: &DatabaseSettings, environment: Environment) -> Result<SecretString, Failure> {
    if let Some(url) = secret("DATABASE_URL", settings.database_url.as_ref(), settings.database_url_file.as_deref())? {
        return Ok(url);
    }
    let password = secret("DB_PASSWORD", settings.db_password.as_ref(), settings.db_password_file.as_deref())?;
    if names_a_server(settings) {
        let host = match environment {
            Environment::Local => "localhost",
            Environment::Prod => "db",
        };
        let mut url = url::Url::parse("postgres://app:app@localhost/app").expect("the template is well formed");
        let wrong =
            |name: &str| Failure::config(format!("{name} cannot stand in a database URL; set DATABASE_URL instead"));
        url.set_host(Some(settings.db_host.as_deref().unwrap_or(host))).map_err(|_| wrong("DB_HOST"))?;
        url.set_port(Some(settings.db_port.unwrap_or(5432))).map_err(|()| wrong("DB_PORT"))?;
        url.set_username(settings.db_user.as_deref().unwrap_or("app")).map_err(|()| wrong("DB_USER"))?;
        let password = password.as_ref().map_or("app", |password| password.expose_secret());
        url.set_password(Some(password)).map_err(|()| wrong("DB_PASSWORD"))?;
        url.set_path(settings.db_name.as_deref().unwrap_or("app"));
        return Ok(url.to_string().into());
    }
    match environment {
        Environment::Local => Ok("sqlite:paddock.db".into()),
        Environment::Prod => Err(Failure::config(
            "DATABASE_URL is not set: set it to postgres://user:password@host:5432/name (or to sqlite:/data/paddock.db for \
             one replica), or set DB_HOST, DB_USER, DB_PASSWORD and DB_NAME",
        )),
    }
}

/// Where the end of the audit log is told: as set, or in local beside the SQLite file.
pub(crate) fn audit_head_file(
    settings: &DatabaseSettings,
    environment: Environment,
    options: &OpenOptions,
) -> Result<Option<PathBuf>, Failure> {
    if settings.audit_head_file.is_some() || environment == Environment::Prod {
        return Ok(settings.audit_head_file.clone());
    }
    Ok(options.sqlite_file()?.map(|database| beside(&database, "audit-head")))
}

/// `<database>.<suffix>`
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".{suffix}"));
    PathBuf::from(path)
}

/// A secret that signs: given and strong; or, in local on SQLite, made once and kept beside the file.
fn signing_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    suffix: &str,
    options: &OpenOptions,
    environment: Environment,
) -> Result<SecretString, Failure> {
    if let Some(secret) = strong_secret(name, value, file, environment)? {
        return Ok(secret);
    }
    let database = place_of_secrets(name, options, environment)?;
    kept_secret(&beside(&database, suffix), name, options.read_only)
}

/// What is known of a secret that signs, without making it.
pub(crate) enum Signing {
    /// It is set.
    Given,
    /// It is kept in this file, or will be.
    Kept(PathBuf),
}

/// Looks where a secret that signs is, and whether it is one. Makes and changes nothing.
pub(crate) fn look_for_signing_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    suffix: &str,
    options: &OpenOptions,
    environment: Environment,
) -> Result<Signing, Failure> {
    if strong_secret(name, value, file, environment)?.is_some() {
        return Ok(Signing::Given);
    }
    let path = beside(&place_of_secrets(name, options, environment)?, suffix);
    if path.exists() {
        kept_secret(&path, name, true)?;
    }
    Ok(Signing::Kept(path))
}

/// A secret that was given, if it is hard to guess.
fn strong_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    environment: Environment,
) -> Result<Option<SecretString>, Failure> {
    let Some(secret) = secret(name, value, file)? else { return Ok(None) };
    let text = secret.expose_secret();
    if text.len() < SECRET_MIN_BYTES {
        return Err(Failure::config(format!(
            "{name} is {} bytes long and must be at least {SECRET_MIN_BYTES}; {MAKE_ONE}",
            text.len()
        )));
    }
    let lower = text.to_lowercase();
    let mut kinds: Vec<char> = text.chars().collect();
    kinds.sort_unstable();
    kinds.dedup();
    if environment == Environment::Prod && (kinds.len() < 8 || KNOWN_SECRETS.iter().any(|word| lower.contains(word))) {
        return Err(Failure::config(format!(
            "{name} looks like an example or a pattern, not like random bytes; {MAKE_ONE}"
        )));
    }
    Ok(Some(secret))
}

/// The database file beside which secrets may be kept.
fn place_of_secrets(name: &str, options: &OpenOptions, environment: Environment) -> Result<PathBuf, Failure> {
    match (environment, options.sqlite_file()?) {
        (Environment::Local, Some(database)) => Ok(database),
        (Environment::Prod, _) => Err(Failure::config(format!("{name} is not set, and prod needs it; {MAKE_ONE}"))),
        (Environment::Local, None) => Err(Failure::config(format!(
            "{name} is not set, and with PostgreSQL there is no file to keep one beside; {MAKE_ONE}"
        ))),
    }
}

/// The secret in a file that its owner alone can read, made if it is not there yet.
fn kept_secret(path: &Path, name: &str, read_only: bool) -> Result<SecretString, Failure> {
    let failed = |error| {
        Failure::Other(anyhow::Error::new(error).context(format!("cannot keep a secret in {}", path.display())))
    };
    let read = || fs::read_to_string(path).map(|text| SecretString::from(text.trim_end().to_owned()));
    match read() {
        Ok(secret) if secret.expose_secret().len() >= SECRET_MIN_BYTES => return Ok(secret),
        Ok(_) => {
            return Err(Failure::config(format!(
                "{} does not hold {SECRET_MIN_BYTES} bytes; restore it from a backup, or remove it to have a new one made",
                path.display()
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && read_only => {
            return Err(Failure::config(format!(
                "there is no {}: bring it from where the database was served, or set {name} to what it held",
                path.display()
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let text = hex::encode(random()?);
    // Whole or not at all: a half-written secret would be refused at the next start.
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial).map_err(failed)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(failed)?;
    // A link fails where another process was first; then its secret is the one.
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial).map_err(failed)?;
    match linked {
        Ok(()) => Ok(text.into()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read().map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

pub(crate) fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// Where the API listens.
pub(crate) fn listen_addr(settings: &ListenSettings, environment: Environment) -> SocketAddr {
    let mut addr = settings.listen_addr.unwrap_or_else(|| SocketAddr::new(home(environment), PORT));
    if let Some(port) = settings.port {
        addr.set_port(port);
    }
    addr
}

/// Where usage waits while the database is away. Each database has a place of its own, so that no process takes over what
/// belongs to another.
pub(crate) fn usage_spool_dir(
    settings: &ServeSettings,
    options: &OpenOptions,
    environment: Environment,
) -> Result<PathBuf, Failure> {
    if let Some(folder) = &settings.usage_spool_dir {
        return Ok(folder.clone());
    }
    Ok(match (options.sqlite_file()?, environment) {
        (Some(file), _) => beside(&file, USAGE_SUFFIX),
        (None, Environment::Prod) => PathBuf::from("/var/lib/paddock/usage"),
        (None, Environment::Local) => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, options.url.expose_secret().as_bytes());
            std::env::temp_dir().join(format!("paddock-usage-{}", hex::encode(&digest.as_ref()[..8])))
        }
    })
}

/// Where metrics listen: `host:port`, or `:port` for the environment's own host.
pub(crate) fn metrics_addr(settings: &MetricsSettings, environment: Environment) -> Result<SocketAddr, Failure> {
    let Some(text) = &settings.metrics_addr else {
        return Ok(SocketAddr::new(home(environment), METRICS_PORT));
    };
    let full = if text.starts_with(':') { format!("{}{text}", home(environment)) } else { text.clone() };
    full.parse().map_err(|_| {
        Failure::config(format!("METRICS_ADDR `{text}` is not host:port; set it to 0.0.0.0:9090 or :9090"))
    })
}

fn home(environment: Environment) -> IpAddr {
    match environment {
        Environment::Local => Ipv4Addr::LOCALHOST.into(),
        Environment::Prod => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Where Ollama answers.
pub(crate) fn ollama_url(settings: &OllamaSettings, environment: Environment) -> Result<url::Url, Failure> {
    let text = settings.ollama_base_url.as_deref().unwrap_or(match environment {
        Environment::Local => "http://localhost:11434",
        Environment::Prod => "http://ollama.default.svc.cluster.local:11434",
    });
    base_url("OLLAMA_BASE_URL", text, "http://ollama.default.svc:11434")
}

/// Where workloads reach the gateway, if it is said.
pub(crate) fn public_url(settings: &OllamaSettings) -> Result<Option<url::Url>, Failure> {
    settings.public_url.as_deref().map(|text| base_url("PUBLIC_URL", text, "https://paddock.example.com")).transpose()
}

/// Where traces go, if anywhere.
pub(crate) fn traces_url(settings: &MetricsSettings) -> Result<Option<url::Url>, Failure> {
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    settings
        .otel_exporter_otlp_endpoint
        .as_deref()
        .map(|text| base_url(name, text, "http://collector:4318"))
        .transpose()
}

pub(crate) fn base_url(name: &str, text: &str, example: &str) -> Result<url::Url, Failure> {
    let wrong = |why: &str| Failure::config(format!("{name} {why}; set it to a URL such as {example}"));
    let url = url::Url::parse(text.trim_end_matches('/')).map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user name or password, which do not belong in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    Ok(url)
}

/// The Redis in which requests are counted, if there is one. No part of it is repeated in an error: it may hold a password.
pub(crate) fn redis_url(settings: &ServeSettings) -> Result<Option<SecretString>, Failure> {
    let wrong = |why: &str| {
        Failure::config(format!(
            "REDIS_URL {why}; set it to a URL such as redis://:password@redis:6379/0, or leave it out"
        ))
    };
    let Some(secret) = secret("REDIS_URL", settings.redis_url.as_ref(), settings.redis_url_file.as_deref())? else {
        return Ok(None);
    };
    let url = url::Url::parse(secret.expose_secret()).map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "redis" | "rediss") {
        return Err(wrong("is not a redis or rediss URL"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    let number = url.path().trim_start_matches('/');
    if !number.is_empty() && number.parse::<u16>().is_err() {
        return Err(wrong("has a path that is not the number of a database"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    Ok(Some(secret))
}

/// How to seed.
pub(crate) fn seed(settings: &SeedSettings) -> Result<Seed, Failure> {
    let password = secret(
        "ADMIN_BOOTSTRAP_PASSWORD",
        settings.admin_bootstrap_password.as_ref(),
        settings.admin_bootstrap_password_file.as_deref(),
    )?;
    Ok(Seed { password, force: settings.admin_bootstrap_password_force })
}
