//! The life of an `OllamaModel`, pulled by a real Ollama from a real registry.

use anyhow::{Context as _, ensure};
use http::StatusCode;
use paddock_crds::{ApiUser, ModelOrigin, OllamaModel};
use paddock_tests::eventually::eventually;
use paddock_tests::ollama::Ollama;
use paddock_tests::registry::{Fault, Registry};
use paddock_tests::story::story;
use serde_json::{Value, json};

use super::{PATIENCE, Stage};

fn spec(model: &str) -> Value {
    json!({"model": model, "insecureRegistry": true})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_with_progress_and_removed_with_its_last_object() {
    story(async {
        let stage = Stage::set().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 3_000_000, 1)?;
        // Slow enough to be seen under way: progress is told every 5 s.
        registry.fault(Some(Fault::Throttle(250_000)));
        let launch = stage.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let operator = launch.clone().start().await?;
        stage.create::<OllamaModel>("noise", spec(&model)).await?;
        stage.becomes::<OllamaModel>("noise", "False", "Pulling").await?;
        let seen = eventually("progress", PATIENCE, async || {
            let progress = stage.api::<OllamaModel>().get("noise").await?.status.and_then(|status| status.progress);
            let progress = progress.context("none yet")?;
            ensure!(progress.percent > 0, "{progress:?}");
            Ok(progress)
        })
        .await?;
        ensure!(seen.percent < 100 && seen.completed_bytes <= seen.total_bytes, "{seen:?}");
        registry.fault(None);
        let object = stage.becomes::<OllamaModel>("noise", "True", "Available").await?;
        let status = object.status.context("a status")?;
        assert_eq!(status.origin, Some(ModelOrigin::Pulled));
        assert_eq!((status.ready_backends, status.progress.context("progress")?.percent), (Some(1), 100));
        ensure!(status.digest.is_some_and(|digest| digest.starts_with("sha256:")));
        assert_eq!(stage.audit().await?, ["model_pulled"]);

        // After a restart it is still known to be ours.
        let versions = stage.versions().await?;
        drop(operator);
        let _operator = launch.start().await?;
        stage.create::<ApiUser>("proof", json!({"email": "proof@example.com"})).await?;
        stage.becomes::<ApiUser>("proof", "True", "Applied").await?;
        let after = stage.versions().await?;
        ensure!(versions.iter().all(|version| after.contains(version)), "{versions:?} {after:?}");

        stage.create::<OllamaModel>("same", spec(&model)).await?;
        stage.becomes::<OllamaModel>("same", "True", "Available").await?;
        stage.delete::<OllamaModel>("noise").await?;
        ensure!(!ollama.models().await?.is_empty(), "another object names the model");
        stage.delete::<OllamaModel>("same").await?;
        ensure!(ollama.models().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_pull_is_repeated_and_a_forbidden_one_is_not_begun() {
    story(async {
        let stage = Stage::set().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 10_000, 2)?;
        registry.fault(Some(Fault::Manifests(StatusCode::INTERNAL_SERVER_ERROR)));
        let launch = stage.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.start().await?;
        stage.create::<OllamaModel>("noise", spec(&model)).await?;
        stage.becomes::<OllamaModel>("noise", "False", "PullFailed").await?;
        registry.fault(None);
        stage.becomes::<OllamaModel>("noise", "True", "Available").await?;

        stage.create::<OllamaModel>("elsewhere", json!({"model": "registry.example/library/noise:1"})).await?;
        stage.becomes::<OllamaModel>("elsewhere", "False", "RegistryNotAllowed").await?;
        stage.delete::<OllamaModel>("elsewhere").await?;

        // What was there before stays when the object goes.
        let (theirs, _) = registry.add_noise("library/theirs:1", 10_000, 3)?;
        ollama.pull(&theirs, true).await?;
        stage.create::<OllamaModel>("theirs", spec(&theirs)).await?;
        let object = stage.becomes::<OllamaModel>("theirs", "True", "Available").await?;
        assert_eq!(object.status.context("a status")?.origin, Some(ModelOrigin::Adopted));
        stage.delete::<OllamaModel>("theirs").await?;
        ensure!(ollama.models().await?.iter().any(|name| name.contains("theirs")));
        Ok(())
    })
    .await;
}
