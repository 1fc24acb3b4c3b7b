//! The models of Kubernetes objects.

use std::{convert::Infallible, str::FromStr};

use paddock_store::{
    Conn, Mutation,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    statements, stored_as_text, with_conn,
};
use scoped_futures::ScopedFutureExt;
use serde::Serialize;

use super::ManagedResources;
use crate::{error::Error, types::ManagedBy};

statements! {
    BY_OWNER = "SELECT id, model, origin, digest, size_bytes, managed_uid FROM models \
                WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
    OTHERS = "SELECT count(*) FROM models WHERE model = $1 AND id <> $2";
    PULLED_BEFORE = "SELECT count(*) FROM models WHERE model = $1 AND origin = 'pulled'";
    INSERT = "INSERT INTO models (model, origin, digest, size_bytes, managed_cluster, managed_namespace, managed_name, \
              managed_uid, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) RETURNING id";
    UPDATE = "UPDATE models SET model = $2, origin = $3, digest = $4, size_bytes = $5, managed_uid = $6, updated_at = $7 \
              WHERE id = $1";
    INHERIT = "UPDATE models SET origin = 'pulled', updated_at = $2 WHERE model = $1";
    DELETE = "DELETE FROM models WHERE id = $1";
}

/// How a model came into Ollama.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelSource {
    /// Paddock pulled it.
    Pulled,
    /// It was there before.
    Adopted,
}

impl ModelSource {
    /// As it is stored.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Adopted => "adopted",
        }
    }
}

impl FromStr for ModelSource {
    type Err = Infallible;

    /// An unknown source of a newer version counts as adopted, so that the model is never deleted here.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == Self::Pulled.text() { Self::Pulled } else { Self::Adopted })
    }
}

stored_as_text!([] ModelSource, |source| source.text().to_owned(), |text| Ok(text.parse()?));

/// The model of an object, as Ollama has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// The canonical name.
    pub model: String,
    /// How it came.
    pub origin: ModelSource,
    /// The digest of its manifest, `sha256:..`.
    pub digest: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    model: String,
    origin: ModelSource,
    digest: Option<String>,
    size_bytes: Option<i64>,
    managed_uid: Option<String>,
}

/// What to do when an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is recorded for the object.
    Gone,
    /// Another object names the model, or Paddock did not pull it: it stays in Ollama.
    Keep,
    /// This is the last object that names a model which Paddock pulled: it may be deleted from Ollama.
    Delete,
}

impl ManagedResources<'_> {
    /// Finds the model of an object.
    pub async fn find_model(self, owner: &ManagedBy) -> Result<Option<Model>, Error> {
        let row = by_owner(self.accounts.reader().await?.conn(), owner).await?;
        Ok(row.map(|row| Model {
            model: row.model,
            origin: row.origin,
            digest: row.digest,
            size_bytes: row.size_bytes,
        }))
    }

    /// Records that Ollama has an object's model now. The same as before: nothing changes. A model that was pulled for
    /// another object counts as pulled for this one too.
    pub async fn record_model(self, context: &AuditContext, owner: &ManagedBy, model: Model) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                let model = &model;
                async move {
                    let before = by_owner(tx.conn(), owner).await?;
                    let mut after = model.clone();
                    if after.origin == ModelSource::Adopted {
                        let pulled: i64 = with_conn!(tx.conn(), |c| sqlx::query_scalar(PULLED_BEFORE)
                            .bind(&after.model)
                            .fetch_one(c)
                            .await?);
                        if pulled > 0 {
                            after.origin = ModelSource::Pulled;
                        }
                    }
                    let mut change = Change::default();
                    let was = before.as_ref();
                    change.field("model", was.map(|row| &row.model), Some(&after.model));
                    change.field("origin", was.map(|row| &row.origin), Some(&after.origin));
                    change.field("digest", was.and_then(|row| row.digest.as_ref()), after.digest.as_ref());
                    change.field("size_bytes", was.and_then(|row| row.size_bytes.as_ref()), after.size_bytes.as_ref());
                    change.field("uid", was.and_then(|row| row.managed_uid.as_ref()), Some(&owner.uid));
                    if change.is_empty() {
                        return Ok(Mutation::Unchanged(()));
                    }
                    store(tx.conn(), before.map(|row| row.id), &after, owner, self.accounts.now()).await?;
                    let event_type = match model.origin {
                        ModelSource::Adopted => EventType::ModelAdopted,
                        ModelSource::Pulled => EventType::ModelPulled,
                    };
                    Ok(Mutation::changed((), Event::new(event_type).target(after.model.as_str()).change(change)))
                }
                .scope_boxed()
            })
            .await
    }

    /// Tells what the deletion of an object means for its model in Ollama. A row of another UID, or of
    /// another model, does not count.
    pub async fn plan_model_removal(self, owner: &ManagedBy, model: &str) -> Result<Removal, Error> {
        let Some(row) = by_owner(self.accounts.reader().await?.conn(), owner).await? else {
            return Ok(Removal::Gone);
        };
        if row.managed_uid.as_ref() != Some(&owner.uid) {
            return Ok(Removal::Gone);
        }
        if row.model != model {
            return Ok(Removal::Keep);
        }
        let mut reader = self.accounts.reader().await?;
        let others: i64 = with_conn!(reader.conn(), |c| sqlx::query_scalar(OTHERS)
            .bind(&row.model)
            .bind(row.id)
            .fetch_one(c)
            .await?);
        Ok(if others == 0 && row.origin != ModelSource::Adopted { Removal::Delete } else { Removal::Keep })
    }

    /// Forgets the model of an object. `detail` is for the audit event: what happened to it in Ollama.
    pub async fn forget_model(self, context: &AuditContext, owner: &ManagedBy, detail: &str) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                async move {
                    let Some(row) = by_owner(tx.conn(), owner).await? else { return Ok(Mutation::Unchanged(())) };
                    if row.managed_uid.as_ref() != Some(&owner.uid) {
                        return Ok(Mutation::Unchanged(()));
                    }
                    with_conn!(tx.conn(), |c| sqlx::query(DELETE).bind(row.id).execute(c).await.map(|_| ()))?;
                    if row.origin == ModelSource::Pulled {
                        // The other objects that name the model inherit the right to delete it.
                        let now = self.accounts.now();
                        with_conn!(tx.conn(), |c| sqlx::query(INHERIT)
                            .bind(&row.model)
                            .bind(now)
                            .execute(c)
                            .await
                            .map(|_| ()))?;
                    }
                    Ok(Mutation::changed((), Event::new(EventType::ModelDeleted).target(row.model).detail(detail)))
                }
                .scope_boxed()
            })
            .await
    }
}

async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<Row>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?))
}

async fn store(conn: Conn<'_>, id: Option<i64>, model: &Model, owner: &ManagedBy, now: Timestamp) -> Result<(), Error> {
    with_conn!(conn, |c| match id {
        Some(id) => sqlx::query(UPDATE)
            .bind(id)
            .bind(&model.model)
            .bind(model.origin)
            .bind(&model.digest)
            .bind(model.size_bytes)
            .bind(&owner.uid)
            .bind(now)
            .execute(c)
            .await
            .map(|_| ()),
        None => sqlx::query(INSERT)
            .bind(&model.model)
            .bind(model.origin)
            .bind(&model.digest)
            .bind(model.size_bytes)
            .bind(&owner.cluster)
            .bind(&owner.namespace)
            .bind(&owner.name)
            .bind(&owner.uid)
            .bind(now)
            .execute(c)
            .await
            .map(|_| ()),
    })?;
    Ok(())
}
