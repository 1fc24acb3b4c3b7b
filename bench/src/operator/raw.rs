//! The writes that the operator makes for a key, made by a loop without logic: the object, its
//! finalizer, the Secret, the status and an event.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use paddock_crds::{ApiKey, FINALIZER};
use serde_json::json;

use super::cluster::Cluster;
use crate::load::Measure;

/// How many keys are written at a time: as many as the operator reconciles.
const WRITERS: usize = 8;
/// About as long as a key and as the status of one.
const TEXT: &str = "pdk_0123456789_0123456789012345678901234567890123456789012012345";

pub(super) async fn measure(cluster: &Cluster, name: &str, keys: usize) -> Result<Measure> {
    let began = Instant::now();
    let each = (0..keys).map(async |n| {
        let began = Instant::now();
        write_key(cluster, &format!("{name}-{n}")).await?;
        Ok::<_, anyhow::Error>(began.elapsed())
    });
    let latencies = stream::iter(each).buffer_unordered(WRITERS).try_collect().await?;
    let measure = Measure::of(latencies, began.elapsed());
    remove(cluster).await?;
    Ok(measure)
}

async fn write_key(cluster: &Cluster, name: &str) -> Result<()> {
    let namespace = &cluster.unwatched;
    let keys: Api<ApiKey> = Api::namespaced(cluster.client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let (post, apply) = (PostParams::default(), PatchParams::apply("bench").force());
    let mut object = json!({"apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": name}});
    let identity = object.clone();
    object["spec"] = json!({"userRef": {"name": "ada-0"}});
    let created = keys.create(&post, &serde_json::from_value(object)?).await?;
    let mut finalizer = identity.clone();
    finalizer["metadata"]["finalizers"] = json!([FINALIZER]);
    keys.patch(name, &apply, &Patch::Apply(&finalizer)).await?;

    let owner = json!({
        "apiVersion": "paddock.dev/v1alpha1", "kind": "ApiKey", "name": name, "uid": created.metadata.uid, "controller": true,
    });
    let entries = ["api-key", "key-id", "base-url", "expires-at", "OLLAMA_HOST", "OLLAMA_API_KEY", "OPENAI_BASE_URL"];
    let entries = entries.into_iter().chain(["OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"]);
    let secret = json!({
        "metadata": {"name": format!("{name}-apikey"), "ownerReferences": [owner]},
        "stringData": entries.map(|entry| (entry.to_owned(), json!(TEXT))).collect::<serde_json::Map<_, _>>(),
    });
    secrets.create(&post, &serde_json::from_value(secret)?).await?;

    let now = "2026-01-01T00:00:00Z";
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "Issued", "message": TEXT, "observedGeneration": 1, "lastTransitionTime": now});
    let mut status = identity;
    status["status"] = json!({
        "observedGeneration": 1, "credentialId": 1, "prefix": "pdk_0123456789", "secretName": format!("{name}-apikey"),
        "secretVersions": [{"id": 1, "prefix": "pdk_0123456789", "state": "Active"}], "issuedAt": now,
        "conditions": [condition("Ready"), condition("SecretSynced")],
    });
    keys.patch_status(name, &apply, &Patch::Apply(&status)).await?;

    let event = json!({
        "metadata": {"generateName": "bench-"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reason": "Issued", "note": TEXT, "action": "Reconcile", "reportingController": "paddock.dev/bench",
        "reportingInstance": "bench", "regarding": {"kind": "ApiKey", "name": name, "namespace": namespace},
    });
    events.create(&post, &serde_json::from_value(event)?).await?;
    Ok(())
}

/// Removes the keys. Without an operator, nothing removes their finalizers.
async fn remove(cluster: &Cluster) -> Result<()> {
    let keys: Api<ApiKey> = Api::namespaced(cluster.client.clone(), &cluster.unwatched);
    let names = keys.list_metadata(&kube::api::ListParams::default()).await?.items.into_iter();
    let bare = json!({"metadata": {"finalizers": null}});
    let all = names
        .filter_map(|key| key.metadata.name)
        .map(async |name| keys.patch(&name, &PatchParams::default(), &Patch::Merge(&bare)).await.map(|_| ()));
    stream::iter(all).buffer_unordered(WRITERS).try_collect::<()>().await?;
    cluster.delete_all::<ApiKey>(&cluster.unwatched).await
}
