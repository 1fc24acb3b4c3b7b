//! `paddock run`

mod check;

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use paddock_accounts::{
    Accounts,
    bootstrap::{Seed, Seeded},
    passwords::DEV_PASSWORD,
};
use paddock_operator::Cluster;
use secrecy::ExposeSecret as _;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::check::{CheckResult, StartupCheck};
use super::{print, seed::print_or_revoke};
use crate::{
    config::{self, Database},
    dev_password,
    error::Error,
    logging, probes, server,
    settings::{Environment, Settings},
    signals,
    table::Table,
};

/// Run everything on this machine: database, first admin, API, gateway, and with --operator the
/// operator.
///
/// Migrates the database, creates the first admin, serves the API and the gateway, checks that they
/// answer, and prints the addresses. Without any settings it uses the SQLite file paddock.db in
/// this folder, and listens on the first free port from 8080 to 8083, for this machine only.
#[derive(Args)]
pub(crate) struct Run {
    /// dev (or local) or prod; overrides --environment. With dev, the first admin's password is
    /// `admin` unless it is set
    #[arg(long, value_name = "NAME", ignore_case = true)]
    env: Option<Environment>,
    /// Also run the Kubernetes operator
    #[arg(long)]
    operator: bool,
    /// The kubeconfig context of the operator; required outside of a pod, so that it never uses a
    /// cluster by accident
    #[arg(long, value_name = "NAME", requires = "operator")]
    context: Option<String>,
    /// Ask this model a question through the gateway and print the result; the server keeps running
    /// if it fails
    #[arg(long, value_name = "MODEL")]
    try_model: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub(crate) async fn execute(mut self) -> Result<(), Error> {
        if self.env.is_some() {
            self.settings.common.environment = self.env;
        }
        let environment = config::environment(&self.settings.common)?;
        logging::init_with_traces(&self.settings.common, &self.settings.metrics, environment)?;
        let seed = self.seed(environment)?;
        let database = Database::resolve(&self.settings.database, environment)?;
        let mut api = server::api_config(&self.settings.serve, &self.settings.ollama, environment)?;
        api.connections.max =
            config::max_connections(&self.settings.serve, &self.settings.database, &database.options)?;
        api.usage_spool_dir = Some(config::usage_spool_dir(&self.settings.serve, &database.options, environment)?);
        let ollama = server::ollama_client(&self.settings.ollama, environment)?;
        let metrics_addr = config::metrics_addr(&self.settings.metrics, environment)?;
        let listener = self.bind(environment, &seed).await?;
        let addr = listener.local_addr()?;
        let operator = self.operator(addr, environment).await?;
        paddock_store::migrate(&database.options).await?;
        let accounts = database.open().await?;
        let probes_listener = probes::bind(metrics_addr, environment).await?;
        let metrics = probes::install_metrics()?;
        let stop = signals::shutdown()?;

        let seeded = if self.env == Some(Environment::Local) && dev_password::is_requested(&seed) {
            accounts.seed_for_development(&seed).await?
        } else {
            accounts.seed(&seed).await?
        };
        // Before any step that may fail or block: the new secrets exist nowhere else.
        print_or_revoke(&accounts, &seeded).await?;
        api.only_local_hosts = dev_password::require_local_hosts(&accounts, addr, environment).await?;
        config::raise_fd_limit();

        let mut checks = vec![server::api_readiness(api.readiness.clone())];
        let mut tasks = JoinSet::new();
        let cluster = operator.as_ref().map(|operator| operator.kube.cluster_url.to_string());
        if let Some(operator) = operator {
            let readiness = paddock_operator::Readiness::default();
            checks.push(server::operator_readiness(readiness.clone()));
            tasks.spawn(server::run_operator(operator, accounts.clone(), ollama.clone(), stop.clone(), readiness));
        }
        let metrics_addr = probes_listener.local_addr()?;
        tasks.spawn(probes::serve(probes_listener, metrics, checks, accounts.clone(), stop.clone()));
        let (serving, token) = (accounts.clone(), stop.clone());
        tasks.spawn(async move { paddock_api::serve(listener, api, serving, token).await.context("the API failed") });

        let check = StartupCheck {
            accounts: &accounts,
            ollama: &ollama,
            seeded: &seeded,
            password: seeded.password.as_ref().or(seed.password.as_ref()),
            model: self.try_model.as_deref(),
        };
        match stop.run_until_cancelled(check.run(addr)).await {
            Some(Ok(result)) => {
                print(&self.report(&result, metrics_addr, &seeded, cluster.as_deref(), &database)?)?;
            }
            Some(Err(error)) => {
                stop.cancel();
                join(tasks, &stop, &accounts).await?;
                return Err(error.into());
            }
            None => {}
        }
        join(tasks, &stop, &accounts).await
    }

    /// The seed settings. With `--env dev`, the password defaults to DEV_PASSWORD.
    fn seed(&self, environment: Environment) -> Result<Seed, Error> {
        let mut seed = config::seed(&self.settings.seed)?;
        let dev = self.env == Some(Environment::Local);
        if dev && environment == Environment::Local && seed.password.is_none() {
            seed.password = Some(DEV_PASSWORD.into());
        }
        Ok(seed)
    }

    /// Binds the configured address, or without one the first free port of four.
    async fn bind(&self, environment: Environment, seed: &Seed) -> Result<TcpListener, Error> {
        let settings = &self.settings.serve.listen;
        let addr = config::listen_addr(settings, environment);
        if dev_password::is_requested(seed) && !addr.ip().is_loopback() {
            return Err(Error::config(format!(
                "LISTEN_ADDR {addr} can be reached from other machines, and ADMIN_BOOTSTRAP_PASSWORD is `{DEV_PASSWORD}`: set \
                 another password, or listen on 127.0.0.1"
            )));
        }
        if settings.listen_addr.is_some() || settings.port.is_some() {
            return server::bind(addr).await;
        }
        for port in config::DEFAULT_PORT..config::DEFAULT_PORT + 4 {
            match TcpListener::bind(SocketAddr::new(addr.ip(), port)).await {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(probes::bind_error("LISTEN_ADDR", addr, &error)),
            }
        }
        Err(Error::Other(anyhow::anyhow!("ports 8080 to 8083 are in use: set PORT to a free one, or to 0 for any")))
    }

    /// The operator's configuration, with `--operator`.
    async fn operator(
        &self,
        addr: SocketAddr,
        environment: Environment,
    ) -> Result<Option<paddock_operator::Config>, Error> {
        if !self.operator {
            return Ok(None);
        }
        let cluster = server::cluster(self.context.as_deref());
        if cluster == Cluster::Context(None) {
            return Err(Error::config(
                "--operator needs --context NAME outside of a pod, so that it never acts on a cluster by accident; `kubectl \
                 config get-contexts` lists them",
            ));
        }
        let settings = &self.settings;
        let public_url = server::public_url(&settings.ollama, addr, environment)?;
        let access = paddock_operator::load_kube_config(&cluster).await.map_err(anyhow::Error::from)?;
        server::operator_config(access, &settings.operator, &settings.ollama, &settings.serve, public_url).map(Some)
    }

    /// The table of parts, addresses and states. A missing part is shown with the command that adds
    /// it.
    fn report(
        &self,
        result: &CheckResult,
        metrics: SocketAddr,
        seeded: &Seeded,
        cluster: Option<&str>,
        database: &Database,
    ) -> Result<String, Error> {
        let mut table = Table::new(["part", "where", "state"]);
        let url = format!("http://{}", result.addr);
        let file = database.options.sqlite_file()?;
        let location = file.map_or_else(|| "PostgreSQL".to_owned(), |file| file.display().to_string());
        table.row(["database", &location, "up to date"]);
        table.row(["api, gateway", &url, "ready"]);
        let ui = if paddock_api::has_ui() { "ready" } else { "not built; `make ui-build` builds it" };
        table.row(["web UI", &format!("{url}/ui/"), ui]);
        table.row(["docs", &format!("{url}/docs"), "ready"]);
        table.row(["metrics", &format!("http://{metrics}/metrics"), "ready"]);
        table.row(["first admin", seeded.email.as_str(), &result.first_admin]);
        let ollama = config::ollama_url(&self.settings.ollama, config::environment(&self.settings.common)?)?;
        let state = match &result.models {
            Ok(models) if models.is_empty() => "has no model; `ollama pull smollm2:135m` brings one".to_owned(),
            Ok(models) => format!("has {}", models.join(", ")),
            Err(_) => "does not answer; `ollama serve` starts it, or set OLLAMA_BASE_URL".to_owned(),
        };
        table.row(["ollama", ollama.as_str().trim_end_matches('/'), &state]);
        let limit = match self.settings.serve.rate_limit_per_minute {
            0 => "none".to_owned(),
            limit => format!("{limit} requests a minute"),
        };
        table.row(["user limit", &limit, "by default; RATE_LIMIT_PER_MINUTE changes it"]);
        match cluster {
            Some(cluster) => table.row(["operator", cluster, "working"]),
            None => table.row(["operator", "-", "off; --operator --context NAME starts it"]),
        }
        if let (Some(model), Some(answer)) = (&self.try_model, &result.model_reply) {
            table.row(["chat", model, answer]);
        }
        let first = result.models.as_ref().ok().and_then(|models| models.first());
        let model = self.try_model.as_ref().or(first).map_or("MODEL", String::as_str);
        let key = seeded.key.as_ref().map_or("$KEY", |key| key.plaintext().expose_secret());
        Ok(format!(
            "\n{table}\nTry it:\n  curl {url}/v1/chat/completions -H \"Authorization: Bearer {key}\" -H 'Content-Type: \
             application/json' -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
        ))
    }
}

/// Waits for all tasks. The first task that ends stops the others; the first error is returned.
async fn join(
    mut tasks: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
    accounts: &Accounts,
) -> Result<(), Error> {
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        stop.cancel();
        let ended = ended.unwrap_or_else(|error| Err(error.into()));
        result = result.and(ended);
    }
    accounts.close().await;
    Ok(result?)
}
