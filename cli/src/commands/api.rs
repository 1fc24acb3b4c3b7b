//! `paddock api`

use clap::Args;

use crate::{
    config::{self, Database},
    failure::Failure,
    known_password, logging, probes, server,
    settings::{CommonSettings, DatabaseSettings, MetricsSettings, OllamaSettings, ServeSettings},
    signals,
};

/// Serves the API and the gateway. The database must be there and up to date (`paddock migrate`); one that goes away comes
/// back by itself. On SIGTERM open streams may go on for DRAIN_TIMEOUT.
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
    pub(crate) async fn execute(self) -> Result<(), Failure> {
        let environment = config::environment(&self.common)?;
        logging::init_with_traces(&self.common, &self.metrics, environment)?;
        let database = Database::resolve(&self.database, environment)?;
        let mut api = server::api_config(&self.serve, &self.ollama, environment)?;
        api.connections.max = config::max_connections(&self.serve, &self.database, &database.options)?;
        api.usage_spool_dir = Some(config::usage_spool_dir(&self.serve, &database.options, environment)?);
        let metrics_addr = config::metrics_addr(&self.metrics, environment)?;
        let listener = server::bind(config::listen_addr(&self.serve.listen, environment)).await?;
        let accounts = database.open_or_wait().await?;
        api.only_local_hosts = known_password::only_local_hosts(&accounts, listener.local_addr()?, environment).await?;
        let probes_listener = probes::bind(metrics_addr, environment).await?;
        let metrics = probes::gather()?;
        let stop = signals::shutdown()?;
        config::raise_descriptors();
        tracing::info!(address = %listener.local_addr()?, metrics = %probes_listener.local_addr()?, "serving");
        let parts = vec![server::api_missing(api.readiness.clone())];
        let probing = tokio::spawn(probes::serve(probes_listener, metrics, parts, accounts.clone(), stop.clone()));
        let served = paddock_api::serve(listener, api, accounts.clone(), stop.clone()).await;
        stop.cancel();
        accounts.close().await;
        probing.await.map_err(anyhow::Error::from)??;
        served.map_err(anyhow::Error::from)?;
        Ok(())
    }
}
