//! The models of Kubernetes objects.

use std::{convert::Infallible, str::FromStr};

use paddock_store::{
    Conn, Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    retry_lost_race, statements, stored_as_text, with_conn,
};
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
    /// The stored text.
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

    /// Parses the stored text. An unknown source of a newer version counts as adopted, so that this
    /// version never deletes the model.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == Self::Pulled.text() { Self::Pulled } else { Self::Adopted })
    }
}

stored_as_text!([] ModelSource, |source| source.text().to_owned(), |text| Ok(text.parse()?));

/// The model of an object, as Ollama lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// The canonical name.
    pub model: String,
    /// How it came into Ollama.
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
    /// The model stays in Ollama: another object names it, or Paddock did not pull it.
    Keep,
    /// The model may be deleted from Ollama: Paddock pulled it, and no other object names it.
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

    /// Records that Ollama now has the model of an object. Does nothing if the same is recorded
    /// already. A model that was pulled for another object counts as pulled for this one too.
    pub async fn record_model(self, context: &AuditContext, owner: &ManagedBy, model: Model) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
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
                return Ok(tx.end_unchanged().await?);
            }
            store(&mut tx, before.map(|row| row.id), &after, owner, self.accounts.now()).await?;
            let event_type = match model.origin {
                ModelSource::Adopted => EventType::ModelAdopted,
                ModelSource::Pulled => EventType::ModelPulled,
            };
            Ok(tx.commit(Event::new(event_type).target(after.model.as_str()).change(change)).await?)
        })
        .await
    }

    /// Decides whether the model of a deleted object is removed from Ollama. Returns
    /// [`Removal::Gone`] if the row belongs to another UID, and [`Removal::Keep`] if the row names
    /// another model.
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

    /// Deletes the record of an object's model. `detail` goes into the audit event: what happened
    /// to the model in Ollama. Does nothing if there is no record, or if it belongs to another UID.
    pub async fn forget_model(self, context: &AuditContext, owner: &ManagedBy, detail: &str) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let Some(row) = by_owner(tx.conn(), owner).await? else { return Ok(tx.end_unchanged().await?) };
            if row.managed_uid.as_ref() != Some(&owner.uid) {
                return Ok(tx.end_unchanged().await?);
            }
            with_conn!(tx.conn(), |c| sqlx::query(DELETE).bind(row.id).execute(c).await.map(|_| ()))?;
            if row.origin == ModelSource::Pulled {
                // The other objects that name the model may delete it from now on.
                let now = self.accounts.now();
                with_conn!(tx.conn(), |c| sqlx::query(INHERIT)
                    .bind(&row.model)
                    .bind(now)
                    .execute(c)
                    .await
                    .map(|_| ()))?;
            }
            Ok(tx.commit(Event::new(EventType::ModelDeleted).target(row.model).detail(detail)).await?)
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

async fn store(tx: &mut Tx, id: Option<i64>, model: &Model, owner: &ManagedBy, now: Timestamp) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| match id {
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
