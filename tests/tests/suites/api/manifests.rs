//! Users, keys and models as Kubernetes objects: a real API server accepts them.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, kubernetes::Kubernetes, process::run, reaper, story::story};
use rstest::rstest;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Api, MODEL};

/// The exported objects.
async fn exported(api: &Api, kind: &str, query: &[(&str, &str)]) -> Result<(String, Vec<Value>)> {
    let answer = api.admin().get(format!("/manifests/{kind}")).query(query).expect(200).await?;
    ensure!(answer.header("content-disposition").ends_with(".yaml\""), "{answer}");
    let documents = serde_yaml_ng::Deserializer::from_str(&answer.body);
    let objects = documents.map(Value::deserialize).collect::<Result<Vec<_>, _>>()?;
    Ok((answer.body.clone(), objects.into_iter().filter(|object| !object.is_null()).collect()))
}

/// A user with everything that an object can declare, and a key of it.
async fn prepare(api: &Api) -> Result<(i64, i64)> {
    let ada = json!({
        "email": "Ada.Lovelace@example.com", "display_name": "Ada: \"the\" first", "roles": ["user"],
        "models": ["*", "!team/*"], "limits": {"requests_per_minute": 7, "tokens_per_day": 0}
    });
    let user = api.admin().post("/users").json(&ada).expect(201).await?.id("id")?;
    let key = json!({
        "label": "Night job", "scopes": ["chat", "models:read"], "models": ["smollm2"],
        "expires_at": "2090-01-01T00:00:00Z", "limits": {"max_concurrent": 2}, "priority": "batch"
    });
    Ok((user, api.key(user, key).await?.0))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_accepts_every_exported_object(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, key) = prepare(&api).await?;
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        let folder = reaper::scratch_dir("manifests")?;
        for (kind, name) in [
            ("users", format!("apiuser.paddock.dev/ada-lovelace-{user}")),
            ("keys", format!("apikey.paddock.dev/night-job-{key}")),
            ("models", "ollamamodel.paddock.dev/smollm2-135m".to_owned()),
        ] {
            let (yaml, _) = exported(&api, kind, &[("namespace", &namespace)]).await?;
            let file = folder.path().join(format!("{kind}.yaml"));
            std::fs::write(&file, &yaml)?;
            let applied = run(cluster.kubectl(&namespace)?.args(["apply", "--dry-run=server", "-f"]).arg(&file))
                .with_context(|| yaml.clone())?;
            ensure!(applied.contains(&name), "{name} in {applied}: {yaml}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn objects_declare_what_the_api_shows_and_no_secret(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, key) = prepare(&api).await?;
        let (_, users) = exported(&api, "users", &[("id", &user.to_string())]).await?;
        let spec = &users[0]["spec"];
        assert_eq!((&spec["email"], &spec["roles"]), (&json!("ada.lovelace@example.com"), &json!(["user"])));
        assert_eq!(spec["limits"], json!({"requestsPerMinute": 7, "tokensPerDay": 0}));
        assert_eq!((&spec["adoptionPolicy"], &spec["deletionPolicy"]), (&json!("IfUnmanaged"), &json!("Retain")));

        let (text, keys) = exported(&api, "keys", &[("id", &key.to_string())]).await?;
        let spec = &keys[0]["spec"];
        assert_eq!(spec["userRef"]["name"], users[0]["metadata"]["name"]);
        assert_eq!((&spec["label"], &spec["scopes"]), (&json!("Night job"), &json!(["chat", "models:read"])));
        assert_eq!(spec["models"], json!(["registry.ollama.ai/library/smollm2:*"]));
        assert_eq!(spec["priority"], "batch");
        ensure!(spec["expiresAt"].as_str().is_some_and(|at| at.starts_with("2090-01-01T00:00:00")), "{spec}");
        ensure!(!text.contains("pdk_") && !text.contains("argon2"), "{text}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_owns_and_what_has_ended_is_left_out(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, key) = prepare(&api).await?;
        let (revoked, _) = api.key(user, json!({})).await?;
        api.admin().post(format!("/credentials/{revoked}/revoke")).expect(204).await?;
        let (_, none) = exported(&api, "keys", &[("id", &revoked.to_string())]).await?;
        assert_eq!(none, Vec::<Value>::new());
        api.manage("users", user).await?;
        // The reference of its key is to the object that owns the user.
        let (_, keys) = exported(&api, "keys", &[("id", &key.to_string()), ("namespace", "other")]).await?;
        assert_eq!(keys[0]["spec"]["userRef"], json!({"name": "ci", "namespace": "team-a"}));
        let (_, users) = exported(&api, "users", &[]).await?;
        assert_eq!(users.len(), 1, "only the first admin: {users:?}");
        let refused = api.admin().get("/manifests/users").query(&[("id", user)]).expect(409).await?;
        assert_eq!(refused.problem(), "managed");
        for path in ["/manifests/users", "/manifests/keys"] {
            api.admin().get(path).query(&[("id", "100000")]).expect(404).await?;
            let refused = api.admin().get(path).query(&[("namespace", "Team A")]).expect(422).await?;
            assert_eq!(refused.pointers(), ["?namespace"]);
        }
        let (_, models) = exported(&api, "models", &[("model", MODEL)]).await?;
        assert_eq!(models[0]["spec"]["model"], format!("registry.ollama.ai/library/{MODEL}"));
        api.admin().get("/manifests/models").query(&[("model", "nothing")]).expect(404).await?;
        Ok(())
    })
    .await;
}
