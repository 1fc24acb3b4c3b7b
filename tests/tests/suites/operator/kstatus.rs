//! What Flux, Argo CD and `kubectl wait` conclude from an object, by the rules of kstatus, at every
//! moment of its life: a watch sees each version of it.

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream::BoxStream};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, WatchEvent, WatchParams},
};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _};
use paddock_tests::{eventually::eventually, story::story};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT, Kind};

/// The statuses of kstatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    InProgress,
    Current,
    Failed,
    Terminating,
}

/// The rules of kstatus for a custom resource.
fn verdict<K: Kind>(object: &K) -> Verdict {
    let meta = object.meta();
    if meta.deletion_timestamp.is_some() {
        return Verdict::Terminating;
    }
    let Some(status) = object.status() else { return Verdict::Current };
    let is = |type_: &str, value: &str| status.condition(type_).is_some_and(|condition| condition.status == value);
    if Some(status.observed_generation()) != meta.generation {
        Verdict::InProgress
    } else if is("Stalled", "True") {
        Verdict::Failed
    } else if is("Reconciling", "True") || is("Ready", "False") || is("Ready", "Unknown") {
        Verdict::InProgress
    } else {
        Verdict::Current
    }
}

/// A version of an object, as the watch has delivered it.
#[derive(Debug)]
struct Version {
    generation: Option<i64>,
    verdict: Verdict,
    is_ready: bool,
}

/// The changes of an object.
type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

/// Watches an object that does not exist yet.
async fn watch<K: Kind + Send + 'static>(cluster: &ClusterFixture, name: &str) -> Result<Events<K>> {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(120);
    Ok(cluster.api::<K>().watch(&params, "0").await?.boxed())
}

/// Collects every version of an object until it is deleted.
async fn collect_versions<K: Kind + Send + 'static>(mut events: Events<K>, name: &str) -> Result<Vec<Version>> {
    let mut versions = Vec::new();
    while let Some(event) = tokio::time::timeout(2 * EVENT_TIMEOUT, events.next()).await.context("a silent watch")? {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let ready = object.status().and_then(|status| status.condition("Ready").cloned());
                versions.push(Version {
                    generation: object.meta().generation,
                    verdict: verdict(&object),
                    is_ready: ready.is_some_and(|ready| {
                        ready.status == "True" && ready.observed_generation == object.meta().generation
                    }),
                });
            }
            WatchEvent::Deleted(object) => {
                ensure!(object.name_any() == name);
                return Ok(versions);
            }
            _ => {}
        }
    }
    anyhow::bail!("the watch ended early: {versions:?}")
}

/// Asserts that no version is Current without being ready, and that within one generation a verdict
/// that says something never returns to `InProgress`.
fn assert_truthful(versions: &[Version]) {
    assert_eq!(versions.first().map(|first| first.verdict), Some(Verdict::InProgress), "{versions:?}");
    let false_current = versions.iter().find(|version| version.verdict == Verdict::Current && !version.is_ready);
    assert!(false_current.is_none(), "{false_current:?}");
    for pair in versions.windows(2) {
        let flaps = pair[0].generation == pair[1].generation
            && pair[0].verdict != Verdict::InProgress
            && pair[1].verdict == Verdict::InProgress;
        assert!(!flaps, "{versions:?}");
    }
    assert_eq!(versions.last().map(|last| last.verdict), Some(Verdict::Terminating), "{versions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kstatus_is_right_about_every_version_of_a_user_and_a_key() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let (users, keys) = (watch::<ApiUser>(&cluster, "ada").await?, watch::<ApiKey>(&cluster, "ada").await?);
        let life = async {
            cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
            cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
            // Before the key is there: it is not Ready while its user has no role.
            let admin = json!({"spec": {"roles": ["admin"]}});
            cluster.merge_patch::<ApiUser>("ada", admin).await?;
            cluster.wait_for_ready::<ApiUser>("ada", "False", "RoleNotAllowed").await?;
            cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"roles": ["user"]}})).await?;
            cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
            cluster.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
            cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
            cluster.merge_patch::<ApiKey>("ada", json!({"spec": {"label": "another"}})).await?;
            cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
            eventually("the count of keys", EVENT_TIMEOUT, async || {
                let status = cluster.api::<ApiUser>().get("ada").await?.status.context("a status")?;
                ensure!(status.key_count == Some(1), "{status:?}");
                Ok(())
            })
            .await?;
            cluster.api::<ApiUser>().delete("ada", &DeleteParams::default()).await?;
            cluster.api::<ApiKey>().delete("ada", &DeleteParams::default()).await?;
            Ok::<_, anyhow::Error>(())
        };
        let (users, keys, lived) = tokio::join!(collect_versions(users, "ada"), collect_versions(keys, "ada"), life,);
        lived?;
        let users = users?;
        ensure!(users.iter().any(|version| version.verdict == Verdict::Failed), "{users:?}");
        assert_truthful(&users);
        assert_truthful(&keys?);
        Ok(())
    })
    .await;
}
