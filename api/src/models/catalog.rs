//! Every model with its state on every backend.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use paddock_accounts::types::ManagedBy;
use paddock_store::error_chain;

use super::{Models, backend::BackendModel, snapshot::PullSnapshot};
use crate::http::deadline::{DbError, with_db_timeout};

/// The models of all backends.
pub(crate) struct Catalog {
    /// The URL of each backend, and the error if the backend did not respond.
    pub(crate) backends: Vec<(String, Option<String>)>,
    /// The models by canonical name.
    pub(crate) models: BTreeMap<String, CatalogModel>,
}

/// A model.
#[derive(Default)]
pub(crate) struct CatalogModel {
    /// The objects that own the model.
    pub(crate) managed_by: Vec<ManagedBy>,
    /// The pull that is queued or running.
    pub(crate) pull: Option<PullSnapshot>,
    /// The model on each backend, in the order of the backends; `None` if the backend does not have
    /// the model or did not respond.
    pub(crate) backends: Vec<Option<BackendModel>>,
}

impl Models {
    /// Lists the models that a backend has, that an object owns, or that are being pulled.
    pub(crate) async fn catalog(&self) -> Result<Catalog, DbError> {
        let accounts = &self.0.accounts;
        let clients = self.0.backends.current();
        let lists = join_all(clients.iter().map(|backend| backend.models()));
        let (lists, managed, pulls) = tokio::join!(
            lists,
            with_db_timeout(accounts.models().managed()),
            with_db_timeout(accounts.pulls().unfinished())
        );
        let count = clients.len();
        let mut models = BTreeMap::<String, CatalogModel>::new();
        let mut backends = Vec::with_capacity(count);
        for (index, (backend, list)) in clients.iter().zip(lists).enumerate() {
            let error = match list {
                Ok(list) => {
                    for (name, model) in list {
                        let entry = models.entry(name).or_default();
                        entry.backends.resize(count, None);
                        entry.backends[index] = Some(model);
                    }
                    None
                }
                Err(error) => {
                    tracing::debug!(
                        backend = backend.url,
                        error = error_chain(&error),
                        "cannot list the models of a backend"
                    );
                    Some(error.to_string())
                }
            };
            backends.push((backend.url.clone(), error));
        }
        for managed in managed? {
            models.entry(managed.model).or_default().managed_by.extend(managed.managed_by);
        }
        for job in pulls? {
            let pull = self.0.running.snapshot(job.id).unwrap_or_else(|| PullSnapshot::stored(job));
            let entry = models.entry(pull.job.model.clone()).or_default();
            entry.pull = Some(pull);
        }
        for model in models.values_mut() {
            model.backends.resize(count, None);
        }
        Ok(Catalog { backends, models })
    }
}
