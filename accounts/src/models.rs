//! The models that Kubernetes objects care for.

use std::{convert::Infallible, str::FromStr};

use scoped_futures::ScopedFutureExt;
use serde::Serialize;

use crate::{
    Accounts,
    audit::{Change, Event, EventType},
    clock::Time,
    context::Context,
    error::Error,
    managed::ManagedBy,
    store::{Conn, Outcome, on, statements},
};

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
pub enum Origin {
    /// We had it pulled.
    Pulled,
    /// It was there.
    Adopted,
    /// We had it built.
    Built,
}

impl Origin {
    /// As it is stored.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Adopted => "adopted",
            Self::Built => "built",
        }
    }
}

impl FromStr for Origin {
    type Err = Infallible;

    /// An origin that only a newer version knows counts as not ours, so that the model is never deleted here.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok([Self::Pulled, Self::Built].into_iter().find(|origin| origin.text() == text).unwrap_or(Self::Adopted))
    }
}

/// What an object's model is, as Ollama has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// The canonical name.
    pub model: String,
    /// How it came.
    pub origin: Origin,
    /// The digest of its manifest, `sha256:..`.
    pub digest: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    model: String,
    origin: Origin,
    digest: Option<String>,
    size_bytes: Option<i64>,
    managed_uid: Option<String>,
}

/// What remains to be done when an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is recorded for the object.
    Gone,
    /// Another object names the model, or we did not bring it: it stays in Ollama.
    Keep,
    /// The last object that names a model that we brought: it may be deleted from Ollama.
    Delete,
}

impl Accounts {
    /// What is recorded for an object.
    pub async fn model(&self, owner: &ManagedBy) -> Result<Option<Model>, Error> {
        let row = by_owner(self.reader().await?.conn(), owner).await?;
        Ok(row.map(|row| Model {
            model: row.model,
            origin: row.origin,
            digest: row.digest,
            size_bytes: row.size_bytes,
        }))
    }

    /// Records that Ollama has an object's model now. The same as before: nothing changes. A model that was pulled for
    /// another object counts as pulled for this one too.
    pub async fn record_model(&self, context: &Context, owner: &ManagedBy, model: Model) -> Result<(), Error> {
        self.write(context, |tx| {
            let model = &model;
            async move {
                let before = by_owner(tx.conn(), owner).await?;
                let mut after = model.clone();
                if after.origin == Origin::Adopted {
                    let pulled: i64 =
                        on!(tx.conn(), |c| sqlx::query_scalar(PULLED_BEFORE).bind(&after.model).fetch_one(c).await?);
                    if pulled > 0 {
                        after.origin = Origin::Pulled;
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
                    return Ok(Outcome::Unchanged(()));
                }
                store(tx.conn(), before.map(|row| row.id), &after, owner, self.now()).await?;
                let event_type = match model.origin {
                    Origin::Adopted => EventType::ModelAdopted,
                    Origin::Pulled | Origin::Built => EventType::ModelPulled,
                };
                Ok(Outcome::changed((), Event::new(event_type).target(after.model.as_str()).change(change)))
            }
            .scope_boxed()
        })
        .await
    }

    /// What deleting an object that names this model means for Ollama. What is recorded for another life of the object, or
    /// for another model, is none of its business.
    pub async fn model_removal(&self, owner: &ManagedBy, model: &str) -> Result<Removal, Error> {
        let Some(row) = by_owner(self.reader().await?.conn(), owner).await? else {
            return Ok(Removal::Gone);
        };
        if row.managed_uid.as_ref() != Some(&owner.uid) {
            return Ok(Removal::Gone);
        }
        if row.model != model {
            return Ok(Removal::Keep);
        }
        let mut reader = self.reader().await?;
        let others: i64 =
            on!(reader.conn(), |c| sqlx::query_scalar(OTHERS).bind(&row.model).bind(row.id).fetch_one(c).await?);
        Ok(if others == 0 && row.origin != Origin::Adopted { Removal::Delete } else { Removal::Keep })
    }

    /// Forgets an object's model. `detail` says what became of it in Ollama.
    pub async fn forget_model(&self, context: &Context, owner: &ManagedBy, detail: &str) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                let Some(row) = by_owner(tx.conn(), owner).await? else { return Ok(Outcome::Unchanged(())) };
                if row.managed_uid.as_ref() != Some(&owner.uid) {
                    return Ok(Outcome::Unchanged(()));
                }
                on!(tx.conn(), |c| sqlx::query(DELETE).bind(row.id).execute(c).await.map(|_| ()))?;
                if row.origin == Origin::Pulled {
                    // Whoever still names the model is now the one by whose going it may go.
                    let now = self.now();
                    on!(tx.conn(), |c| sqlx::query(INHERIT).bind(&row.model).bind(now).execute(c).await.map(|_| ()))?;
                }
                Ok(Outcome::changed((), Event::new(EventType::ModelDeleted).target(row.model).detail(detail)))
            }
            .scope_boxed()
        })
        .await
    }
}

async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<Row>, Error> {
    Ok(on!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?))
}

async fn store(conn: Conn<'_>, id: Option<i64>, model: &Model, owner: &ManagedBy, now: Time) -> Result<(), Error> {
    on!(conn, |c| match id {
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
