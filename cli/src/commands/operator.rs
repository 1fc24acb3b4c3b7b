//! `paddock operator`

use clap::Args;
use paddock_operator::OnLostLease;

use crate::{
    config::{self, Database},
    error::Error,
    logging, probes, server,
    settings::{
        CommonSettings, DatabaseSettings, DrainSettings, ListenSettings, MetricsSettings, OllamaSettings,
        OperatorSettings,
    },
    signals,
};

/// Run the Kubernetes operator.
///
/// It turns ApiUser, ApiKey and OllamaModel objects into users, keys in Secrets, and models in
/// Ollama. Several replicas may run; a lease elects the leader. In a pod it uses the pod's service
/// account, elsewhere the kubeconfig.
#[derive(Args)]
pub(crate) struct Operator {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    listen: ListenSettings,
    #[command(flatten)]
    drain: DrainSettings,
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    ollama: OllamaSettings,
    #[command(flatten)]
    settings: OperatorSettings,
    /// The kubeconfig context to use [default: the pod's service account, or the current context]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Operator {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let environment = config::environment(&self.common)?;
        logging::init_with_traces(&self.common, &self.metrics, environment)?;
        let database = Database::resolve(&self.database, environment)?;
        let listen_addr = config::listen_addr(&self.listen, environment);
        let public_url = server::public_url(&self.ollama, listen_addr, environment)?;
        let ollama = config::ollama_source(&self.ollama, environment)?;
        let access = paddock_operator::load_kube_config(&server::cluster(self.context.as_deref()))
            .await
            .map_err(anyhow::Error::from)?;
        let operator =
            server::operator_config(access, &self.settings, &self.ollama, self.drain, public_url, OnLostLease::Exit)?;
        let metrics_addr = config::metrics_addr(&self.metrics, environment);
        let accounts = database.open_or_wait().await?;
        let probes_listener = probes::bind(metrics_addr, environment).await?;
        let metrics = probes::install_metrics()?;
        let stop = signals::shutdown()?;
        config::raise_fd_limit();
        tracing::info!(cluster = %operator.kube.cluster_url, metrics = %probes_listener.local_addr()?, "running the operator");
        let readiness = paddock_operator::Readiness::default();
        let checks = vec![server::operator_health(readiness.clone())];
        let probes = tokio::spawn(probes::serve(probes_listener, metrics, checks, accounts.clone(), stop.clone()));
        let maintenance =
            tokio::spawn(stop.clone().run_until_cancelled_owned(accounts.audit().clone().run_maintenance()));
        // Tells the operator of changes that the API makes.
        let notifications = {
            let accounts = accounts.clone();
            let listening = async move { accounts.authentication().run_cache_invalidation().await };
            tokio::spawn(stop.clone().run_until_cancelled_owned(listening))
        };
        let result = server::run_operator(operator, accounts.clone(), ollama, stop.clone(), readiness).await;
        stop.cancel();
        maintenance.await.map_err(anyhow::Error::from)?;
        notifications.await.map_err(anyhow::Error::from)?;
        accounts.close().await;
        probes.await.map_err(anyhow::Error::from)??;
        Ok(result?)
    }
}
