//! `OllamaModel`: a model that every Ollama behind Paddock should have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::conditions::has_conditions;

/// A model that every Ollama behind Paddock should have.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "paddock.dev",
    version = "v1alpha1",
    kind = "OllamaModel",
    plural = "ollamamodels",
    shortname = "om",
    category = "paddock",
    namespaced,
    status = "OllamaModelStatus",
    derive = "PartialEq",
    doc = "A model that every Ollama behind Paddock should have; pulled where it is missing.",
    validation = Rule::new("size(self.metadata.name) <= 200").message("metadata.name may have at most 200 characters"),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Progress", type_ = "integer", json_path = ".status.progress.percent"),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.sizeBytes"),
    printcolumn(name = "Backends", type_ = "integer", json_path = ".status.readyBackends"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct OllamaModelSpec {
    /// Name of the model with its tag, such as `smollm2:135m` or
    /// `registry.example.com:5000/library/smollm2:135m`. The operator's `MODEL_REGISTRIES` must
    /// list its registry. Cannot be changed.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("model cannot be changed; create another OllamaModel"),
        validation = Rule::new(r"self.matches(r'^([^\s/]+/)*[^\s/:]+:[^\s/:]+$')")
            .message("model needs a name and a tag without blanks: add a tag, such as tinyllama:latest")
    )]
    pub model: String,
    /// Pull over plain HTTP, or without verifying the registry's certificate. Accepted only if the
    /// operator's `MODEL_REGISTRIES` lists the registry as `http://`.
    #[serde(default)]
    pub insecure_registry: bool,
    /// What happens to the model when this object is deleted.
    #[serde(default)]
    pub deletion_policy: ModelDeletionPolicy,
}

/// What happens to the model of a deleted `OllamaModel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ModelDeletionPolicy {
    /// Remove the model from every backend, if Paddock pulled it and no other `OllamaModel` names
    /// it.
    #[default]
    Delete,
    /// Keep the model.
    Retain,
}

/// The state that the operator observed last.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct OllamaModelStatus {
    /// The generation that this status describes; -1 before the first.
    pub observed_generation: i64,
    /// The last value of the annotation `paddock.dev/reconcile-requested-at` that was handled.
    pub last_handled_reconcile_at: Option<String>,
    /// Digest of the model's manifest, as Ollama reports it.
    pub digest: Option<String>,
    /// Size of the model, in bytes.
    pub size_bytes: Option<i64>,
    /// Whether Paddock pulled the model or found it.
    pub origin: Option<ModelOrigin>,
    /// Progress of the pull. Absent if no pull was needed.
    pub progress: Option<Progress>,
    /// State of the model on each backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub backends: Vec<BackendStatus>,
    /// Number of backends that have the model.
    pub ready_backends: Option<i32>,
    /// Conditions: always `Ready` and `Pulled`; `Reconciling` and `Stalled` when they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where the model on the backends comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ModelOrigin {
    /// Paddock pulled it.
    Pulled,
    /// A backend already had it. Paddock will not remove it.
    Adopted,
}

/// Progress of a pull, summed over layers and backends. Never decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Completed, in whole percent.
    pub percent: i32,
    /// Downloaded bytes.
    pub completed_bytes: i64,
    /// Total bytes, as far as the registry has reported them.
    pub total_bytes: i64,
}

/// State of the model on a backend.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The backend, as in the operator's `OLLAMA_BASE_URL`.
    pub name: String,
    /// Whether the backend has the model.
    pub state: BackendState,
    /// Digest of the manifest on this backend.
    pub digest: Option<String>,
    /// The last error.
    pub message: Option<String>,
}

/// State of a model on one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackendState {
    /// The backend has the model.
    Ready,
    /// A pull is in progress.
    Pulling,
    /// The last pull failed and will be retried.
    Failed,
    /// The backend does not answer.
    Unreachable,
}

has_conditions!(OllamaModelStatus);
