//! The Kubernetes object that owns a row.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The object that owns a user, credential or model. The API does not edit what an object owns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ManagedBy {
    /// The UID of the cluster's `kube-system` namespace.
    pub cluster: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The UID of the object: it tells apart two objects of the same name, one after the other.
    pub uid: String,
}

impl fmt::Display for ManagedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The four columns.
#[derive(sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "the columns' own names")]
pub(crate) struct ManagedColumns {
    managed_cluster: Option<String>,
    managed_namespace: Option<String>,
    managed_name: Option<String>,
    managed_uid: Option<String>,
}

impl From<ManagedColumns> for Option<ManagedBy> {
    fn from(columns: ManagedColumns) -> Self {
        Some(ManagedBy {
            cluster: columns.managed_cluster?,
            namespace: columns.managed_namespace?,
            name: columns.managed_name?,
            uid: columns.managed_uid?,
        })
    }
}
