//! The servers that `paddock-tests up` and `exec` start.

use anyhow::Result;

use crate::{
    kubernetes::Kubernetes,
    ollama::Ollama,
    postgres::{Durability, Postgres},
    shared_servers::SharedServer,
    testbed::Missing,
};

/// Running servers. Dropping them stops them.
#[derive(Default)]
pub struct Servers {
    postgres: Option<Postgres>,
    database: Option<String>,
    kubernetes: Option<Kubernetes>,
    ollama: Option<Ollama>,
    missing: Vec<Missing>,
}

impl Servers {
    /// Starts the `wanted` servers at once. Those that the testbed lacks are left out and named in
    /// [`Servers::missing`].
    ///
    /// Errors: an installed server does not start.
    pub async fn start(wanted: &[SharedServer]) -> Result<Self> {
        let (postgres, kubernetes, ollama) = tokio::join!(
            start_if(wanted.contains(&SharedServer::Postgres), Postgres::start(Durability::Relaxed)),
            start_if(wanted.contains(&SharedServer::Kubernetes), Kubernetes::start()),
            start_if(wanted.contains(&SharedServer::Ollama), Ollama::with_models()),
        );
        let mut servers = Self::default();
        servers.postgres = servers.unless_missing(postgres)?;
        servers.kubernetes = servers.unless_missing(kubernetes)?;
        servers.ollama = servers.unless_missing(ollama)?;
        if let Some(postgres) = &servers.postgres {
            servers.database = Some(postgres.empty_database().await?);
        }
        Ok(servers)
    }

    /// The started server. A missing part is noted instead of returned as an error.
    fn unless_missing<T>(&mut self, outcome: Option<Result<T>>) -> Result<Option<T>> {
        match outcome {
            None => Ok(None),
            Some(Ok(server)) => Ok(Some(server)),
            Some(Err(error)) => match error.downcast_ref::<Missing>() {
                Some(&missing) => {
                    self.missing.push(missing);
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }

    /// The wanted parts that are not installed.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The variables by which test processes find these servers.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(postgres) = &self.postgres {
            variables.extend(SharedServer::Postgres.variables(postgres.url(), postgres.log()));
        }
        if let Some(kubernetes) = &self.kubernetes {
            let path = kubernetes.kubeconfig().display().to_string();
            variables.extend(SharedServer::Kubernetes.variables(&path, kubernetes.log()));
        }
        if let Some(ollama) = &self.ollama {
            variables.extend(SharedServer::Ollama.variables(ollama.url(), ollama.log()));
        }
        variables
    }

    /// The variables by which Paddock and other programs find these servers. The database is empty.
    #[must_use]
    pub fn exports(&self) -> Vec<(&'static str, String)> {
        let kubeconfig = self.kubernetes.as_ref().map(|k| k.kubeconfig().display().to_string());
        let ollama = self.ollama.as_ref().map(|o| o.url().to_owned());
        [("KUBECONFIG", kubeconfig), ("DATABASE_URL", self.database.clone()), ("OLLAMA_BASE_URL", ollama)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

async fn start_if<T>(wanted: bool, start: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    if wanted { Some(start.await) } else { None }
}
