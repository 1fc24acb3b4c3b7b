//! `paddock run`

mod browser;
mod check;
mod report;

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use paddock_accounts::{
    Accounts,
    bootstrap::{Seed, Seeded},
    passwords::DEV_PASSWORD,
};
use paddock_api::WebUi;
use paddock_ollama::BackendSource;
use paddock_operator::{Cluster, OnLostLease};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    check::{CheckResult, StartupCheck, ui_url},
    report::Report,
};
use super::{hint, print, seed::print_or_revoke};
use crate::{
    config::{self, Database},
    dev_password,
    error::Error,
    listener, logging, probes, server,
    settings::{Environment, Settings},
    signals,
};

/// Run everything on this machine: database, first admin, API, gateway, web UI, and with --operator
/// the operator.
///
/// Migrates the database, creates the first admin, serves the API, the gateway and the web UI,
/// checks that they answer, and prints the addresses. Without any settings it uses the SQLite file paddock.db in
/// this folder, and listens on the first free port from 8080 to 8083, for this machine only.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Run {
    /// dev (or local) or prod; overrides --environment. With dev, the first admin's password is
    /// `admin` unless it is set
    #[arg(long, value_name = "NAME", ignore_case = true)]
    env: Option<Environment>,
    /// Do not serve the API, the gateway and the web UI: prepare the database and the first admin,
    /// and with --operator run the operator; without it the command then ends
    #[arg(long, conflicts_with_all = ["open_browser", "try_model"])]
    no_backend: bool,
    /// Do not serve the web UI
    #[arg(long, conflicts_with = "open_browser")]
    no_frontend: bool,
    /// Open the web UI in the browser of this machine
    #[arg(long)]
    open_browser: bool,
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
        api.web_ui = if self.no_frontend { WebUi::Off } else { WebUi::Served };
        api.connections.max =
            config::max_connections(&self.settings.serve, &self.settings.database, &database.options)?;
        api.usage_spool_dir = Some(config::usage_spool_dir(&self.settings.serve, &database.options, environment)?);
        let ollama = api.ollama.clone();
        let metrics_addr = config::metrics_addr(&self.settings.metrics, environment);
        let listener = if self.no_backend { None } else { Some(self.bind(environment, &seed).await?) };
        let addr = match &listener {
            Some(listener) => listener.local_addr()?,
            None => config::listen_addr(&self.settings.serve.listen, environment),
        };
        let operator = self.operator(addr, environment).await?;
        paddock_store::migrate(&database.options).await?;
        let accounts = database.open().await?;
        let probes = match (&listener, &operator) {
            (None, None) => None,
            _ => Some(probes::bind(metrics_addr, environment).await?),
        };
        let recorder = probes::install_metrics()?;
        let stop = signals::shutdown()?;

        let seeded = self.create_first_admin(&accounts, &seed).await?;
        if listener.is_some() {
            api.only_local_hosts = dev_password::require_local_hosts(&accounts, addr, environment).await?;
        }
        config::raise_fd_limit();

        let metrics = probes.as_ref().map(TcpListener::local_addr).transpose()?;
        let served = listener.is_some().then_some(addr);
        let cluster = operator.as_ref().map(|operator| operator.kube.cluster_url.to_string());
        let parts = Parts { api: listener.map(|listener| (listener, api)), operator, probes };
        let tasks = parts.start(&accounts, &ollama, recorder, &stop);
        let check = StartupCheck {
            accounts: &accounts,
            ollama: &ollama,
            seeded: &seeded,
            password: seeded.password.as_ref().or(seed.password.as_ref()),
            model: self.try_model.as_deref(),
        };
        match stop.run_until_cancelled(check.run(served)).await {
            Some(Ok(result)) => {
                let report = self.report(&result, &seeded, &seed, cluster.as_deref(), metrics, &database)?;
                print(&report)?;
                self.open_browser(&result);
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

    /// Creates the first admin if there is none, and prints the new secrets: before any step that may
    /// fail or block, because they exist nowhere else.
    async fn create_first_admin(&self, accounts: &Accounts, seed: &Seed) -> Result<Seeded, Error> {
        let seeded = if self.env == Some(Environment::Local) && dev_password::is_requested(seed) {
            accounts.seed_for_development(seed).await?
        } else {
            accounts.seed(seed).await?
        };
        print_or_revoke(accounts, &seeded).await?;
        Ok(seeded)
    }

    /// With `--open-browser`, opens the web UI. A failure is only a hint.
    fn open_browser(&self, result: &CheckResult) {
        let Some(api) = result.api.as_ref().filter(|_| self.open_browser) else { return };
        let url = ui_url(api.addr);
        if let Err(error) = browser::open(&url) {
            hint(&format!("{error:#}: open {url} in a browser"));
        }
    }

    fn report(
        &self,
        result: &CheckResult,
        seeded: &Seeded,
        seed: &Seed,
        cluster: Option<&str>,
        metrics: Option<SocketAddr>,
        database: &Database,
    ) -> Result<String, Error> {
        let urls = config::ollama_urls(&self.settings.ollama, config::environment(&self.settings.common)?)?;
        let ollama: Vec<_> = urls.iter().map(|url| url.as_str().trim_end_matches('/')).collect();
        let file = database.options.sqlite_file()?;
        let report = Report {
            result,
            seeded,
            database: file.map_or_else(|| "PostgreSQL".to_owned(), |file| file.display().to_string()),
            metrics,
            has_frontend: !self.no_frontend,
            cluster,
            ollama: &ollama.join(", "),
            has_dev_password: dev_password::is_requested(seed),
            rate_limit_per_minute: self.settings.serve.rate_limit_per_minute,
            tried_model: self.try_model.as_deref(),
        };
        Ok(report.text())
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
        if dev_password::is_requested(seed) && !addr.ip().to_canonical().is_loopback() {
            return Err(Error::config(format!(
                "LISTEN_ADDR {addr} can be reached from other machines, and ADMIN_BOOTSTRAP_PASSWORD is `{DEV_PASSWORD}`: set \
                 another password, or listen on 127.0.0.1"
            )));
        }
        if settings.listen_addr.is_some() || settings.port.is_some() {
            return server::bind(addr).await;
        }
        for port in config::DEFAULT_PORT..config::DEFAULT_PORT + 4 {
            match listener::bind(SocketAddr::new(addr.ip(), port)).await {
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
        server::operator_config(
            access,
            &settings.operator,
            &settings.ollama,
            settings.serve.drain,
            public_url,
            // The gateway goes on while the operator waits.
            OnLostLease::StandBy,
        )
        .map(Some)
    }
}

/// The parts to serve.
struct Parts {
    api: Option<(TcpListener, paddock_api::Config)>,
    operator: Option<paddock_operator::Config>,
    /// The metrics listener; `None` if nothing is served.
    probes: Option<TcpListener>,
}

impl Parts {
    /// Starts each part in a task of its own.
    fn start(
        self,
        accounts: &Accounts,
        ollama: &BackendSource,
        recorder: PrometheusHandle,
        stop: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let mut checks = Vec::new();
        let mut tasks = JoinSet::new();
        if let Some(operator) = self.operator {
            let readiness = paddock_operator::Readiness::default();
            checks.push(server::operator_health(readiness.clone()));
            tasks.spawn(server::run_operator(operator, accounts.clone(), ollama.clone(), stop.clone(), readiness));
        }
        if let Some((listener, api)) = self.api {
            checks.push(server::api_health(api.readiness.clone()));
            let (accounts, stop) = (accounts.clone(), stop.clone());
            tasks.spawn(
                async move { paddock_api::serve(listener, api, accounts, stop).await.context("the API failed") },
            );
        }
        if let Some(listener) = self.probes {
            tasks.spawn(probes::serve(listener, recorder, checks, accounts.clone(), stop.clone()));
        }
        tasks
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
