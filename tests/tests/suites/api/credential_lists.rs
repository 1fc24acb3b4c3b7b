//! Lists of keys: search, filters, order, and what each key shows.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

/// A query, and the labels that it selects.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// The labels of the listed keys, in their order, and the total in the header.
async fn labels(api: &Api, query: &[(&str, &str)]) -> Result<(Vec<String>, i64)> {
    let listed = api.admin().get("/credentials").query(query).expect(200).await?;
    let keys = listed.json.as_array().context("a list")?;
    let labels = keys.iter().map(|key| key["label"].as_str().unwrap_or_default().to_owned()).collect();
    Ok((labels, listed.header("x-total-count").parse()?))
}

/// Three keys of two users: `beta` is rotated, and `gamma` is revoked.
async fn prepare(api: &Api) -> Result<(i64, Vec<i64>)> {
    let ada = json!({"email": "ada@example.com", "roles": ["user"]});
    let ada = api.admin().post("/users").json(&ada).expect(201).await?.id("id")?;
    let bob = json!({"email": "bob@example.com", "roles": ["user"]});
    let bob = api.admin().post("/users").json(&bob).expect(201).await?.id("id")?;
    let alpha =
        json!({"label": "alpha", "scopes": ["chat"], "models": ["smollm2"], "expires_at": "2090-01-01T00:00:00Z"});
    let (alpha, _) = api.key(ada, alpha).await?;
    let (beta, _) = api.key(ada, json!({"label": "Beta", "scopes": ["embed"]})).await?;
    let (gamma, _) = api.key(bob, json!({"label": "gamma", "expires_at": "2080-01-01T00:00:00Z"})).await?;
    api.admin().post(format!("/credentials/{beta}/rotate")).expect(200).await?;
    api.admin().post(format!("/credentials/{gamma}/revoke")).expect(204).await?;
    api.database()?.execute(&format!("UPDATE credentials SET last_used_at = created_at WHERE id = {beta}")).await?;
    Ok((ada, vec![alpha, beta, gamma]))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_filter_selects_its_keys(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (ada, keys) = prepare(&api).await?;
        api.manage("credentials", keys[0]).await?;
        let ada = ada.to_string();
        let ids = format!("{},{}", keys[2], keys[0]);
        let cases: [Case; 17] = [
            (&[("id", &ids)], &["gamma", "alpha"]),
            (&[("id", &ids), ("user_id", &ada)], &["alpha"]),
            (&[("q", "ALPH")], &["alpha"]),
            (&[("q", "bob@")], &["gamma"]),
            (&[("q", "%")], &[]),
            (&[("state", "active"), ("user_id", &ada)], &["alpha"]),
            (&[("state", "retiring")], &["Beta"]),
            (&[("state", "active,retiring"), ("user_id", &ada)], &["Beta", "alpha"]),
            (&[("state", "revoked")], &["gamma"]),
            (&[("state", "expired")], &[]),
            (&[("scope", "embed"), ("user_id", &ada)], &["Beta"]),
            (&[("model", "SMOLLM2")], &["alpha"]),
            (&[("expires_before", "2085-01-01T00:00:00Z")], &["gamma"]),
            (&[("never_used", "true"), ("user_id", &ada)], &["alpha"]),
            (&[("never_used", "false"), ("user_id", &ada)], &["Beta"]),
            (&[("managed_by", "kubernetes")], &["alpha"]),
            (&[("managed_by", "api"), ("user_id", &ada)], &["Beta"]),
        ];
        for (query, expected) in cases {
            assert_eq!(labels(&api, query).await?.0, expected, "{query:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_finds_its_key_after_a_rotation_too(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (id, first) = api.key(1, json!({"label": "ci"})).await?;
        api.admin().post(format!("/credentials/{id}/rotate")).json(&json!({"grace_seconds": 0})).expect(200).await?;
        let prefix: String = first.chars().take(14).collect();
        assert_eq!(labels(&api, &[("q", &prefix)]).await?.0, ["ci"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_column_sorts_in_both_directions_and_keys_without_a_value_come_last(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        prepare(&api).await?;
        let of_users = |sort: &'static str| {
            let api = &api;
            async move {
                let found = labels(api, &[("sort", sort), ("q", "@example.com")]).await?.0;
                anyhow::Ok(found.into_iter().filter(|label| label != "bootstrap").collect::<Vec<_>>())
            }
        };
        for (sort, expected) in [
            ("id", ["alpha", "Beta", "gamma"]),
            ("-created_at", ["gamma", "Beta", "alpha"]),
            ("label", ["alpha", "Beta", "gamma"]),
            ("-label", ["gamma", "Beta", "alpha"]),
            ("owner", ["Beta", "alpha", "gamma"]),
            ("-owner", ["gamma", "Beta", "alpha"]),
            ("scopes", ["alpha", "gamma", "Beta"]),
            ("models", ["alpha", "gamma", "Beta"]),
            ("state", ["alpha", "Beta", "gamma"]),
            ("-state", ["gamma", "Beta", "alpha"]),
            ("last_used_at", ["Beta", "gamma", "alpha"]),
            ("-last_used_at", ["Beta", "gamma", "alpha"]),
            ("expires_at", ["gamma", "alpha", "Beta"]),
            ("-expires_at", ["alpha", "gamma", "Beta"]),
        ] {
            assert_eq!(of_users(sort).await?, expected, "{sort}");
        }
        let refused = api.admin().get("/credentials").query(&[("sort", "hash")]).expect(422).await?;
        assert_eq!(refused.pointers(), ["?sort"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_total_counts_the_matching_keys_of_all_pages(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (ada, _) = prepare(&api).await?;
        for number in 0..5 {
            api.key(ada, json!({"label": format!("job {number}")})).await?;
        }
        let (first, total) = labels(&api, &[("q", "job"), ("limit", "2"), ("sort", "label")]).await?;
        assert_eq!((first, total), (vec!["job 0".to_owned(), "job 1".to_owned()], 5));
        let (last, total) = labels(&api, &[("q", "job"), ("limit", "2"), ("offset", "4"), ("sort", "label")]).await?;
        assert_eq!((last, total), (vec!["job 4".to_owned()], 5));
        assert_eq!(labels(&api, &[("q", "job"), ("limit", "2"), ("offset", "9")]).await?, (Vec::new(), 5));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_shows_both_secrets_and_when_the_old_one_ends(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let user = api.user(json!({"roles": ["user"]})).await?;
        let (id, old) = api.key(user, json!({})).await?;
        let shown = async || api.admin().get(format!("/credentials/{id}")).expect(200).await;
        let before = shown().await?.json;
        assert_eq!((&before["state"], before["versions"].as_array().map(Vec::len)), (&json!("active"), Some(1)));
        assert_eq!(before["versions"][0]["ends_at"], Value::Null);
        api.admin().post(format!("/credentials/{id}/rotate")).expect(200).await?;
        let after = shown().await?.json;
        assert_eq!(after["state"], "retiring");
        let states = after["versions"].as_array().context("versions")?.iter().map(|version| &version["state"]);
        assert_eq!(states.collect::<Vec<_>>(), ["retiring", "active"]);
        let prefix = after["versions"][0]["prefix"].as_str().context("a prefix")?;
        ensure!(old.starts_with(prefix) && after["versions"][0]["ends_at"].is_string(), "{after}");
        assert_eq!(after["prefix"], after["versions"][1]["prefix"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_its_owner_and_tells_why_it_is_of_no_use(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let nobody = json!({"email": "nobody@example.com", "models": []});
        let user = api.admin().post("/users").json(&nobody).expect(201).await?;
        assert_eq!(codes(&user.json), ["no_role", "no_models"]);
        let asked = json!({"user_id": user.id("id")?, "models": []});
        let issued = api.admin().post("/credentials").json(&asked).expect(201).await?;
        let expected = ["no_models", "owner_no_role", "owner_no_models"];
        assert_eq!(codes(&issued.json), expected);
        let path = format!("/credentials/{}", issued.id("credential_id")?);
        let shown = api.admin().get(&path).expect(200).await?;
        assert_eq!((&shown.json["user_email"], codes(&shown.json)), (&json!("nobody@example.com"), expected.to_vec()));
        api.admin().post(format!("{path}/revoke")).expect(204).await?;
        assert_eq!(codes(&api.admin().get(&path).expect(200).await?.json), [""; 0]);
        Ok(())
    })
    .await;
}

/// The codes of the hints.
fn codes(shown: &Value) -> Vec<&str> {
    let hints = shown["hints"].as_array().map(Vec::as_slice).unwrap_or_default();
    hints.iter().filter_map(|hint| hint["code"].as_str()).collect()
}
