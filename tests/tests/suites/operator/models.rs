//! The life of an `OllamaModel`, which a real Ollama pulls from a real registry.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use paddock_crds::{ApiUser, BackendState, HasConditions as _, ModelOrigin, OllamaModel};
use paddock_tests::{
    dns_server::DnsServer,
    eventually::eventually,
    fake_ollama::{FakeOllama, Script},
    ollama::Ollama,
    registry::{Fault, Registry},
    story::story,
};
use serde_json::{Value, json};

use super::{ClusterFixture, EVENT_TIMEOUT};

fn spec(model: &str) -> Value {
    json!({"model": model, "insecureRegistry": true})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_with_progress() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 3_000_000, 1)?;
        // Slow enough for a progress report, which comes every 5 s.
        registry.set_fault(Some(Fault::Throttle(250_000)));
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.start().await?;
        cluster.create::<OllamaModel>("noise", spec(&model)).await?;
        cluster.wait_for_ready::<OllamaModel>("noise", "False", "Pulling").await?;
        let seen = eventually("progress", EVENT_TIMEOUT, async || {
            let progress = cluster.api::<OllamaModel>().get("noise").await?.status.and_then(|status| status.progress);
            let progress = progress.context("none yet")?;
            ensure!(progress.percent > 0, "{progress:?}");
            Ok(progress)
        })
        .await?;
        ensure!(seen.percent < 100 && seen.completed_bytes <= seen.total_bytes, "{seen:?}");
        registry.set_fault(None);
        let object = cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;
        let status = object.status.context("a status")?;
        assert_eq!(status.origin, Some(ModelOrigin::Pulled));
        assert_eq!((status.ready_backends, status.progress.context("progress")?.percent), (Some(1), 100));
        ensure!(status.digest.is_some_and(|digest| digest.starts_with("sha256:")));
        assert_eq!(cluster.audit_events().await?, ["model_pulled"]);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_model_is_removed_with_its_last_object() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 10_000, 1)?;
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let operator = launch.clone().start().await?;
        cluster.create::<OllamaModel>("noise", spec(&model)).await?;
        cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;

        // After a restart the operator still knows that it pulled the model.
        let versions = cluster.resource_versions().await?;
        drop(operator);
        let _operator = launch.start().await?;
        cluster.create::<ApiUser>("proof", json!({"email": "proof@example.com"})).await?;
        cluster.wait_for_ready::<ApiUser>("proof", "True", "Applied").await?;
        let after = cluster.resource_versions().await?;
        ensure!(versions.iter().all(|version| after.contains(version)), "{versions:?} {after:?}");

        cluster.create::<OllamaModel>("same", spec(&model)).await?;
        cluster.wait_for_ready::<OllamaModel>("same", "True", "Available").await?;
        cluster.delete::<OllamaModel>("noise").await?;
        ensure!(!ollama.models().await?.is_empty(), "another object names the model");
        cluster.delete::<OllamaModel>("same").await?;
        ensure!(ollama.models().await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pull_is_retried() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 10_000, 2)?;
        registry.set_fault(Some(Fault::Manifests(StatusCode::INTERNAL_SERVER_ERROR)));
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.start().await?;
        cluster.create::<OllamaModel>("noise", spec(&model)).await?;
        cluster.wait_for_ready::<OllamaModel>("noise", "False", "PullFailed").await?;
        registry.set_fault(None);
        cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_a_new_byte_is_stalled_and_tried_again() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 3_000_000, 4)?;
        registry.set_fault(Some(Fault::Stall));
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.env("PULL_STALL_TIMEOUT", "3s").start().await?;
        cluster.create::<OllamaModel>("noise", spec(&model)).await?;
        let object = cluster.wait_for_ready::<OllamaModel>("noise", "False", "PullStalled").await?;
        let status = object.status.context("a status")?;
        let pulled = status.condition("Pulled").context("a condition")?;
        ensure!(pulled.reason == "PullStalled" && pulled.message.contains(" of "), "{pulled:?}");
        ensure!(status.condition("Stalled").is_none() && status.condition("Reconciling").is_some(), "{status:?}");
        registry.set_fault(None);
        cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_object_does_not_hold_up_a_right_one_for_the_same_model() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 10_000, 5)?;
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.start().await?;
        // The registry has no TLS.
        cluster.create::<OllamaModel>("wrong", json!({"model": model})).await?;
        cluster.wait_for_ready::<OllamaModel>("wrong", "False", "PullFailed").await?;
        cluster.create::<OllamaModel>("right", spec(&model)).await?;
        cluster.wait_for_ready::<OllamaModel>("right", "True", "Available").await?;
        cluster.wait_for_ready::<OllamaModel>("wrong", "True", "Available").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_removed_behind_our_back_is_pulled_again() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let (model, _) = registry.add_noise("library/noise:1", 10_000, 6)?;
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.start().await?;
        cluster.create::<OllamaModel>("noise", spec(&model)).await?;
        cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;
        ollama.delete(&model).await?;
        ensure!(ollama.models().await?.is_empty());
        eventually("the model to be there again", 2 * EVENT_TIMEOUT, async || {
            ensure!(!ollama.models().await?.is_empty(), "still removed");
            Ok(())
        })
        .await?;
        cluster.wait_for_ready::<OllamaModel>("noise", "True", "Available").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_another_registry_is_not_pulled() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<OllamaModel>("elsewhere", json!({"model": "registry.example/library/noise:1"})).await?;
        cluster.wait_for_ready::<OllamaModel>("elsewhere", "False", "RegistryNotAllowed").await?;
        cluster.delete::<OllamaModel>("elsewhere").await?;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_model_is_adopted_and_kept() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (ollama, registry) = (Ollama::empty().await?, Registry::start().await?);
        let launch = cluster.launch()?.ollama(ollama.url()).env("MODEL_REGISTRIES", &registry.url());
        let _operator = launch.start().await?;
        let (theirs, _) = registry.add_noise("library/theirs:1", 10_000, 3)?;
        ollama.pull(&theirs, true).await?;
        cluster.create::<OllamaModel>("theirs", spec(&theirs)).await?;
        let object = cluster.wait_for_ready::<OllamaModel>("theirs", "True", "Available").await?;
        assert_eq!(object.status.context("a status")?.origin, Some(ModelOrigin::Adopted));
        cluster.delete::<OllamaModel>("theirs").await?;
        ensure!(ollama.models().await?.iter().any(|name| name.contains("theirs")));
        Ok(())
    })
    .await;
}

/// Waits until the backend is asked to pull, and gives it the model.
async fn finish_pull(fake: &FakeOllama, model: &str) -> Result<()> {
    eventually("a pull", EVENT_TIMEOUT, async || {
        ensure!(!fake.requests("/api/pull").is_empty(), "none yet");
        Ok(())
    })
    .await?;
    fake.add_model(model);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_to_every_backend_and_to_one_that_appears_later() {
    story(async {
        const MODEL: &str = "smollm2:135m";
        const HOST: &str = "ollama.models.svc";
        let cluster = ClusterFixture::start().await?;
        let addresses: [IpAddr; 3] = [1, 2, 3].map(|last| [127, 0, 0, last].into());
        let mut fakes: Vec<FakeOllama> = Vec::new();
        for address in addresses {
            let port = fakes.first().map_or(0, FakeOllama::port);
            let fake = FakeOllama::start_at((address, port).into(), &[]).await?;
            fake.script("/api/pull", Script::ndjson([json!({"status": "success"})]));
            fakes.push(fake);
        }
        let port = fakes[0].port();
        let dns = DnsServer::start(HOST, &addresses[..2]).await?;
        let launch = cluster.launch()?.ollama(&format!("http://{HOST}:{port}")).env("OLLAMA_DISCOVERY", "dns");
        let _operator = launch.env("OLLAMA_DNS_SERVER", &dns.address().to_string()).start().await?;
        let wait_for_states = async |expected: &[(IpAddr, BackendState)]| {
            let name = |address: &IpAddr| format!("http://{address}:{port}");
            let expected: BTreeMap<_, _> = expected.iter().map(|(address, state)| (name(address), *state)).collect();
            eventually("the state of each backend", EVENT_TIMEOUT, async || {
                let status = cluster.api::<OllamaModel>().get("smollm2").await?.status.context("a status")?;
                let found: BTreeMap<_, _> = status.backends.into_iter().map(|b| (b.name, b.state)).collect();
                ensure!(found == expected, "{found:?}");
                Ok(())
            })
            .await
        };
        let ready = addresses.map(|address| (address, BackendState::Ready));
        cluster.create::<OllamaModel>("smollm2", json!({"model": MODEL})).await?;
        finish_pull(&fakes[0], MODEL).await?;
        wait_for_states(&[ready[0], (addresses[1], BackendState::Pulling)]).await?;
        finish_pull(&fakes[1], MODEL).await?;
        wait_for_states(&ready[..2]).await?;
        cluster.wait_for_ready::<OllamaModel>("smollm2", "True", "Available").await?;
        ensure!(fakes[2].all_requests().is_empty(), "nobody knows it yet");
        dns.set(&addresses);
        wait_for_states(&[ready[0], ready[1], (addresses[2], BackendState::Pulling)]).await?;
        finish_pull(&fakes[2], MODEL).await?;
        wait_for_states(&ready).await?;
        dns.set(&addresses[1..]);
        wait_for_states(&ready[1..]).await?;
        Ok(())
    })
    .await;
}
