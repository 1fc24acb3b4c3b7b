//! `paddock api`

use clap::Args;

use crate::{
    config::{self, Database},
    dev_password,
    error::Error,
    logging, probes, server,
    settings::{CommonSettings, DatabaseSettings, MetricsSettings, OllamaSettings, ServeSettings},
    signals,
};

/// Serve the API and the gateway.
///
/// The database must exist and be up to date (`paddock migrate`). The server reconnects by itself
/// after a database outage. On SIGTERM it lets open streams finish for up to DRAIN_TIMEOUT.
#[derive(Args)]
pub(crate) struct Api {
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    ollama: OllamaSettings,
}

impl Api {
    pub(crate) async fn execute(self) -> Result<(), Error> {
        let environment = config::environment(&self.common)?;
        logging::init_with_traces(&self.common, &self.metrics, environment)?;
        let database = Database::resolve(&self.database, environment)?;
        let mut api = server::api_config(&self.serve, &self.ollama, environment)?;
        api.connections.max = config::max_connections(&self.serve, &self.database, &database.options)?;
        api.usage_spool_dir = Some(config::usage_spool_dir(&self.serve, &database.options, environment)?);
        let metrics_addr = config::metrics_addr(&self.metrics, environment);
        let listener = server::bind(config::listen_addr(&self.serve.listen, environment)).await?;
        let accounts = database.open_or_wait().await?;
        api.only_local_hosts =
            dev_password::require_local_hosts(&accounts, listener.local_addr()?, environment).await?;
        let probes_listener = probes::bind(metrics_addr, environment).await?;
        let metrics = probes::install_metrics()?;
        let stop = signals::shutdown()?;
        config::raise_fd_limit();
        tracing::info!(address = %probes_listener.local_addr()?, "listening for metrics and probes");
        let checks = vec![server::api_health(api.readiness.clone())];
        let probes = tokio::spawn(probes::serve(probes_listener, metrics, checks, accounts.clone(), stop.clone()));
        let result = paddock_api::serve(listener, api, accounts.clone(), stop.clone()).await;
        stop.cancel();
        accounts.close().await;
        probes.await.map_err(anyhow::Error::from)??;
        result.map_err(anyhow::Error::from)?;
        Ok(())
    }
}
