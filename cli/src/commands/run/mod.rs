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

use self::check::{Check, Started};
use super::{print, seed::tell_here};
use crate::{
    config::{self, Database},
    failure::Failure,
    known_password, logging, probes, server,
    settings::{Environment, Settings},
    signals,
    table::Table,
};

/// Runs everything on this machine: migrates the database, makes the first admin, serves the API and the gateway, checks that
/// they answer, and prints what runs where. With no settings at all it keeps a SQLite file, paddock.db, in this folder, and
/// listens on a free port from 8080 to 8083 of this machine only.
#[derive(Args)]
pub(crate) struct Run {
    /// dev (or local) or prod; outranks --environment. With dev named here the first admin's password is `admin`, unless
    /// another one is set
    #[arg(long, value_name = "NAME", ignore_case = true)]
    env: Option<Environment>,
    /// Run the Kubernetes operator too
    #[arg(long)]
    operator: bool,
    /// The kubeconfig context the operator acts on; it must be named, so that it never acts on one by accident
    #[arg(long, value_name = "NAME", requires = "operator")]
    context: Option<String>,
    /// Ask this model a question through the gateway, to see the whole way work; what comes of it is told, and the server
    /// stays up
    #[arg(long, value_name = "MODEL")]
    try_model: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub(crate) async fn execute(mut self) -> Result<(), Failure> {
        if self.env.is_some() {
            self.settings.common.environment = self.env;
        }
        let environment = config::environment(&self.settings.common)?;
        logging::init_with_traces(&self.settings.common, &self.settings.metrics, environment)?;
        let seed = self.seed(environment)?;
        let database = Database::resolve(&self.settings.database, environment)?;
        let mut api = server::api_config(&self.settings.serve, &self.settings.ollama, environment)?;
        api.connections.most =
            config::max_connections(&self.settings.serve, &self.settings.database, &database.options)?;
        api.usage_spool_dir = Some(config::usage_spool_dir(&self.settings.serve, &database.options, environment)?);
        let ollama = server::ollama_client(&self.settings.ollama, environment)?;
        let metrics_addr = config::metrics_addr(&self.settings.metrics, environment)?;
        let listener = self.listen(environment, &seed).await?;
        let addr = listener.local_addr()?;
        let operator = self.operator(addr, environment).await?;
        paddock_store::migrate(&database.options).await?;
        let accounts = database.open().await?;
        let probes_listener = probes::bind(metrics_addr, environment).await?;
        let metrics = probes::gather()?;
        let stop = signals::shutdown()?;

        let seeded = if self.env == Some(Environment::Local) && known_password::is_asked_for(&seed) {
            accounts.seed_for_development(&seed).await?
        } else {
            accounts.seed(&seed).await?
        };
        // Before anything else can fail or take its time: nobody else knows it.
        tell_here(&accounts, &seeded).await?;
        api.only_local_hosts = known_password::only_local_hosts(&accounts, addr, environment).await?;
        config::raise_descriptors();

        let mut parts = vec![server::api_missing(api.readiness.clone())];
        let mut tasks = JoinSet::new();
        let cluster = operator.as_ref().map(|operator| operator.kube.cluster_url.to_string());
        if let Some(operator) = operator {
            let readiness = paddock_operator::Readiness::default();
            parts.push(server::operator_missing(readiness.clone()));
            tasks.spawn(server::run_operator(operator, accounts.clone(), ollama.clone(), stop.clone(), readiness));
        }
        let metrics_addr = probes_listener.local_addr()?;
        tasks.spawn(probes::serve(probes_listener, metrics, parts, accounts.clone(), stop.clone()));
        let (serving, token) = (accounts.clone(), stop.clone());
        tasks.spawn(async move { paddock_api::serve(listener, api, serving, token).await.context("API") });

        let check = Check {
            accounts: &accounts,
            ollama: &ollama,
            seeded: &seeded,
            password: seeded.password.as_ref().or(seed.password.as_ref()),
            model: self.try_model.as_deref(),
        };
        match stop.run_until_cancelled(check.run(addr)).await {
            Some(Ok(started)) => {
                print(&self.report(&started, metrics_addr, &seeded, cluster.as_deref(), &database)?)?;
            }
            Some(Err(error)) => {
                stop.cancel();
                finish(tasks, &stop, &accounts).await?;
                return Err(error.into());
            }
            None => {}
        }
        finish(tasks, &stop, &accounts).await
    }

    /// In dev the password defaults to one that everybody knows, so that one can sign in at once.
    fn seed(&self, environment: Environment) -> Result<Seed, Failure> {
        let mut seed = config::seed(&self.settings.seed)?;
        let dev = self.env == Some(Environment::Local);
        if dev && environment == Environment::Local && seed.password.is_none() {
            seed.password = Some(DEV_PASSWORD.into());
        }
        Ok(seed)
    }

    /// The address that was asked for; or, where none was, the first free one of four.
    async fn listen(&self, environment: Environment, seed: &Seed) -> Result<TcpListener, Failure> {
        let settings = &self.settings.serve.listen;
        let addr = config::listen_addr(settings, environment);
        if known_password::is_asked_for(seed) && !addr.ip().is_loopback() {
            return Err(Failure::config(format!(
                "LISTEN_ADDR {addr} can be reached from elsewhere, and ADMIN_BOOTSTRAP_PASSWORD is `{DEV_PASSWORD}`: set a \
                 password of your own, or listen on 127.0.0.1"
            )));
        }
        if settings.listen_addr.is_some() || settings.port.is_some() {
            return server::bind(addr).await;
        }
        for port in config::PORT..config::PORT + 4 {
            match TcpListener::bind(SocketAddr::new(addr.ip(), port)).await {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(probes::address_failure("LISTEN_ADDR", addr, &error)),
            }
        }
        Err(Failure::Other(anyhow::anyhow!("ports 8080 to 8083 are in use: set PORT to a free one, or to 0 for any")))
    }

    /// The operator's configuration, if it was asked for.
    async fn operator(
        &self,
        addr: SocketAddr,
        environment: Environment,
    ) -> Result<Option<paddock_operator::Config>, Failure> {
        if !self.operator {
            return Ok(None);
        }
        let cluster = server::cluster(self.context.as_deref());
        if cluster == Cluster::Context(None) {
            return Err(Failure::config(
                "--operator needs --context NAME outside of a pod, so that it never acts on a cluster by accident; `kubectl \
                 config get-contexts` lists them",
            ));
        }
        let settings = &self.settings;
        let public_url = server::public_url(&settings.ollama, addr, environment)?;
        let access = paddock_operator::access(&cluster).await.map_err(anyhow::Error::from)?;
        server::operator_config(access, &settings.operator, &settings.ollama, &settings.serve, public_url).map(Some)
    }

    /// What runs, where, and what is missing with the command that brings it.
    fn report(
        &self,
        started: &Started,
        metrics: SocketAddr,
        seeded: &Seeded,
        cluster: Option<&str>,
        database: &Database,
    ) -> Result<String, Failure> {
        let mut table = Table::new(["part", "where", "state"]);
        let url = format!("http://{}", started.addr);
        let file = database.options.sqlite_file()?;
        let place = file.map_or_else(|| "PostgreSQL".to_owned(), |file| file.display().to_string());
        table.row(["database", &place, "up to date"]);
        table.row(["api, gateway", &url, "ready"]);
        table.row(["docs", &format!("{url}/docs"), "ready"]);
        table.row(["metrics", &format!("http://{metrics}/metrics"), "ready"]);
        table.row(["first admin", seeded.email.as_str(), &started.first_admin]);
        let ollama = config::ollama_url(&self.settings.ollama, config::environment(&self.settings.common)?)?;
        let state = match &started.models {
            Ok(models) if models.is_empty() => "has no model; `ollama pull smollm2:135m` brings one".to_owned(),
            Ok(models) => format!("has {}", models.join(", ")),
            Err(_) => "does not answer; `ollama serve` starts it, or set OLLAMA_BASE_URL".to_owned(),
        };
        table.row(["ollama", ollama.as_str().trim_end_matches('/'), &state]);
        match cluster {
            Some(cluster) => table.row(["operator", cluster, "working"]),
            None => table.row(["operator", "-", "off; --operator --context NAME starts it"]),
        }
        if let (Some(model), Some(answer)) = (&self.try_model, &started.tried) {
            table.row(["chat", model, answer]);
        }
        let first = started.models.as_ref().ok().and_then(|models| models.first());
        let model = self.try_model.as_ref().or(first).map_or("MODEL", String::as_str);
        let key = seeded.key.as_ref().map_or("$KEY", |key| key.plaintext().expose_secret());
        Ok(format!(
            "\n{table}\nTry it:\n  curl {url}/v1/chat/completions -H \"Authorization: Bearer {key}\" -H 'Content-Type: \
             application/json' -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
        ))
    }
}

/// Waits for the parts; the first that ends badly ends the others.
async fn finish(
    mut tasks: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
    accounts: &Accounts,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        stop.cancel();
        let ended = ended.unwrap_or_else(|error| Err(error.into()));
        outcome = outcome.and(ended);
    }
    accounts.close().await;
    Ok(outcome?)
}
