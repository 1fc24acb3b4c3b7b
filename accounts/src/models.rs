//! Models as the API sees them: the objects that own them, and the record of a deletion.

use paddock_store::{
    Conn,
    audit::{Event, EventType},
    context::AuditContext,
    statements, with_conn,
};

use crate::{
    accounts::Accounts,
    error::Error,
    types::{ManagedBy, ManagedColumns},
};

statements! {
    MANAGED = "SELECT model, managed_cluster, managed_namespace, managed_name, managed_uid FROM models \
               WHERE managed_uid IS NOT NULL ORDER BY model, managed_namespace, managed_name, managed_cluster";
    MANAGED_OF_MODEL = "SELECT model, managed_cluster, managed_namespace, managed_name, managed_uid FROM models \
                        WHERE managed_uid IS NOT NULL AND model = $1 ORDER BY managed_namespace, managed_name LIMIT 1";
}

/// A model that a Kubernetes object owns. Several objects may own the same model.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ManagedModel {
    /// The canonical name of the model.
    pub model: String,
    /// The object.
    #[sqlx(flatten, try_from = "ManagedColumns")]
    pub managed_by: Option<ManagedBy>,
}

/// The operations on models.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on models.
    #[must_use]
    pub fn models(&self) -> Models<'_> {
        Models { accounts: self }
    }
}

impl Models<'_> {
    /// Lists the models that Kubernetes objects own, in order of their names.
    pub async fn managed(self) -> Result<Vec<ManagedModel>, Error> {
        Ok(with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(MANAGED).fetch_all(c).await?))
    }

    /// Fails with [`Error::Managed`] if a Kubernetes object owns the model.
    pub async fn check_unmanaged(self, model: &str) -> Result<(), Error> {
        check_unmanaged(self.accounts.reader().await?.conn(), model).await
    }

    /// Records that a model is deleted, before Ollama deletes it: a deletion cannot be undone, so it
    /// must not happen without its record. Fails with [`Error::Managed`] if a Kubernetes object owns
    /// the model.
    pub async fn record_deletion(self, context: &AuditContext, model: &str) -> Result<(), Error> {
        let mut tx = self.accounts.begin(context).await?;
        check_unmanaged(tx.conn(), model).await?;
        Ok(tx.commit(Event::new(EventType::ModelDeleted).target(model)).await?)
    }

    /// Records that a recorded deletion failed.
    pub async fn record_failed_deletion(self, context: &AuditContext, model: &str, reason: &str) -> Result<(), Error> {
        let tx = self.accounts.begin(context).await?;
        Ok(tx.commit(Event::new(EventType::ModelDeletionFailed).target(model).detail(reason)).await?)
    }
}

async fn check_unmanaged(conn: Conn<'_>, model: &str) -> Result<(), Error> {
    let managed: Option<ManagedModel> =
        with_conn!(conn, |c| sqlx::query_as(MANAGED_OF_MODEL).bind(model).fetch_optional(c).await?);
    match managed.and_then(|managed| managed.managed_by) {
        Some(owner) => Err(Error::Managed { kind: "OllamaModel", owner }),
        None => Ok(()),
    }
}
