//! The set of servers that `paddock-tests up` and `exec` start.

use anyhow::Result;

use crate::kubernetes::Kubernetes;
use crate::ollama::Ollama;
use crate::postgres::{Durability, Postgres};
use crate::shared::Shared;
use crate::testbed::Missing;

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
    /// Starts `wanted`, all at once. One whose part the testbed lacks is left out and named in [`Servers::missing`].
    ///
    /// Errors: a server that is there and does not start.
    pub async fn start(wanted: &[Shared]) -> Result<Self> {
        let (postgres, kubernetes, ollama) = tokio::join!(
            maybe(wanted.contains(&Shared::Postgres), Postgres::start(Durability::Relaxed)),
            maybe(wanted.contains(&Shared::Kubernetes), Kubernetes::start()),
            maybe(wanted.contains(&Shared::Ollama), Ollama::with_models()),
        );
        let mut servers = Self::default();
        servers.postgres = servers.keep(postgres)?;
        servers.kubernetes = servers.keep(kubernetes)?;
        servers.ollama = servers.keep(ollama)?;
        if let Some(postgres) = &servers.postgres {
            servers.database = Some(postgres.empty_database().await?);
        }
        Ok(servers)
    }

    fn keep<T>(&mut self, outcome: Option<Result<T>>) -> Result<Option<T>> {
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

    /// What was wanted and is not installed.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The variables by which test processes find these servers.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(postgres) = &self.postgres {
            variables.extend(Shared::Postgres.variables(postgres.url(), postgres.log()));
        }
        if let Some(kubernetes) = &self.kubernetes {
            let path = kubernetes.kubeconfig().display().to_string();
            variables.extend(Shared::Kubernetes.variables(&path, kubernetes.log()));
        }
        if let Some(ollama) = &self.ollama {
            variables.extend(Shared::Ollama.variables(ollama.url(), ollama.log()));
        }
        variables
    }

    /// The variables by which everything else finds these servers, Paddock first of all. The database is an empty one.
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

async fn maybe<T>(wanted: bool, start: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    if wanted { Some(start.await) } else { None }
}
