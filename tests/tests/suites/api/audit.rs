//! The audit log over the API: events, pages, filters, and exports.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Api, contract::Answer};

/// The statements that append `rows` copies of the first row, as a grown log. The API does not
/// check their hashes.
pub(super) fn grow(engine: Engine, rows: usize) -> String {
    let event_id = match engine {
        Engine::Postgres => "gen_random_uuid()",
        Engine::Sqlite => "randomblob(16)",
    };
    format!(
        "INSERT INTO audit_logs (id, event_id, chain_version, event_type, occurred_at, user_id, credential_id, actor, \
         target, detail, change, prev_hash, hash) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT h.position + i, {event_id}, 1, 'model_pulled', a.occurred_at, 7, 8, 'system:growth', \
         '=1+' || i, 'line 1, \"quoted\"', a.change, a.hash, a.hash \
         FROM n, audit_head h, audit_logs a WHERE a.id = 1; UPDATE audit_head SET position = position + {rows}"
    )
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_who_did_what_from_where(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let ada = json!({"email": "ada@example.com"});
        let create =
            api.admin().post("/users").json(&ada).header("x-request-id", "story-7").header("user-agent", "story/1");
        let user = create.expect(201).await?.id("id")?;
        let event = newest(&api).await?;
        assert_eq!((&event["event_type"], &event["user_id"]), (&json!("user_created"), &json!(user)));
        assert_eq!((&event["request_id"], &event["user_agent"]), (&json!("story-7"), &json!("story/1")));
        assert_eq!((&event["ip"], &event["target"]), (&json!("127.0.0.1"), &json!("ada@example.com")));
        ensure!(event["actor"].as_str().is_some_and(|actor| actor.starts_with("key:")), "{event}");
        assert_eq!(event["change"]["after"]["email"], "ada@example.com");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_api_is_recorded(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, key) = api.plain_user().await?;
        api.by(&key).get("/audit").expect(403).await?;
        api.anonymous().get("/audit").expect(401).await?;
        let denied = newest(&api).await?;
        assert_eq!((&denied["event_type"], &denied["target"]), (&json!("access_denied"), &json!("GET /audit")));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_gateway_is_recorded(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, key) = api.plain_user().await?;
        let cloud = json!({"model": "gpt-oss:120b-cloud", "messages": []});
        let chat = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&key);
        assert_eq!(chat.json(&cloud).send().await?.status(), 403);
        let denied = newest(&api).await?;
        assert_eq!((&denied["event_type"], &denied["target"]), (&json!("access_denied"), &json!("POST /api/chat")));
        Ok(())
    })
    .await;
}

/// The newest event.
async fn newest(api: &Api) -> Result<Value> {
    let events = api.admin().get("/audit").query(&[("limit", 1)]).expect(200).await?;
    Ok(events.json[0].clone())
}

fn ids(json: &Value) -> Result<Vec<i64>> {
    Ok(json.as_array().context("a list")?.iter().filter_map(|event| event["id"].as_i64()).collect())
}

/// The ids that a query lists.
async fn listed(api: &Api, query: &[(&str, &str)]) -> Result<Vec<i64>> {
    ids(&api.admin().get("/audit").query(query).expect(200).await?.json)
}

/// A log of five new users, and their ids.
async fn five_users(engine: Engine) -> Result<(Api, Vec<i64>)> {
    let api = Api::start(engine).await?;
    let mut users = Vec::new();
    for _ in 0..5 {
        users.push(api.user(json!({})).await?);
    }
    Ok((api, users))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other(#[case] engine: Engine) {
    story(async {
        let (api, _) = five_users(engine).await?;
        let whole = listed(&api, &[]).await?;
        ensure!(whole.is_sorted_by(|a, b| a > b) && whole.last() == Some(&1), "{whole:?}");
        let mut pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut query = vec![("limit", "2".to_owned())];
            if !cursor.is_empty() {
                query.push(("cursor", cursor.clone()));
            }
            let page = api.admin().get("/audit").query(&query).expect(200).await?;
            pages.extend(ids(&page.json)?);
            page.header("x-next-cursor").clone_into(&mut cursor);
            if cursor.is_empty() {
                break;
            }
        }
        assert_eq!(pages, whole);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_the_list(#[case] engine: Engine) {
    story(async {
        let (api, users) = five_users(engine).await?;
        assert_eq!(listed(&api, &[("user_id", &users[2].to_string())]).await?.len(), 1);
        assert_eq!(listed(&api, &[("event_type", "user_created")]).await?.len(), 5);
        let actor = newest(&api).await?["actor"].as_str().context("an actor")?.to_owned();
        assert_eq!(listed(&api, &[("actor", &actor)]).await?.len(), 5);
        let (key, _) = api.key(users[0], json!({})).await?;
        assert_eq!(listed(&api, &[("credential_id", &key.to_string())]).await?.len(), 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn since_and_until_divide_the_list(#[case] engine: Engine) {
    story(async {
        let (api, _) = five_users(engine).await?;
        let created = api.admin().get("/audit").query(&[("event_type", "user_created")]).expect(200).await?;
        let at = created.json[2]["occurred_at"].as_str().context("a time")?;
        let (since, until) = (listed(&api, &[("since", at)]).await?, listed(&api, &[("until", at)]).await?);
        assert_eq!([since, until].concat(), listed(&api, &[]).await?);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_named(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for (name, value) in [
            ("limit", "0"),
            ("limit", "501"),
            ("event_type", "nothing"),
            ("since", "yesterday"),
            ("since", "-004800-01-01T00:00:00Z"),
            ("until", "-004800-01-01T00:00:00Z"),
            ("cursor", "x"),
            ("credential_id", "x"),
            ("offset", "1"),
        ] {
            let refused = api.admin().get("/audit").query(&[(name, value)]).expect(422).await?;
            assert_eq!(refused.pointers(), [format!("?{name}")]);
        }
        let backwards = [("since", "2026-01-02T00:00:00Z"), ("until", "2026-01-01T00:00:00Z")];
        api.admin().get("/audit").query(&backwards).expect(422).await?;
        Ok(())
    })
    .await;
}

/// The number of rows that the exports have besides a few others: several pages.
const GROWTH: usize = 2345;

/// A grown log.
async fn grown(engine: Engine) -> Result<Api> {
    let api = Api::start(engine).await?;
    api.database()?.execute(&grow(engine, GROWTH)).await?;
    api.user(json!({})).await?;
    Ok(api)
}

/// All events that the list shows, oldest first.
async fn all_events(api: &Api) -> Result<Vec<Value>> {
    let mut listed = Vec::new();
    let mut cursor = i64::MAX;
    while cursor > 1 {
        let query = [("limit", 500), ("cursor", cursor)];
        let page = api.admin().get("/audit").query(&query).expect(200).await?;
        listed.extend(page.json.as_array().context("a list")?.clone());
        cursor = listed.last().and_then(|event| event["id"].as_i64()).context("an id")?;
    }
    listed.reverse();
    Ok(listed)
}

async fn export(api: &Api, query: &[(&str, &str)]) -> Result<Answer> {
    api.admin().get("/audit/export").query(query).expect(200).await
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_row_as_ndjson(#[case] engine: Engine) {
    story(async {
        let api = grown(engine).await?;
        let listed = all_events(&api).await?;
        let answer = export(&api, &[]).await?;
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        assert_eq!(answer.header("cache-control"), "no-store");
        let disposition = answer.header("content-disposition");
        ensure!(disposition.starts_with("attachment; filename=\"paddock-audit-20"), "{disposition}");
        ensure!(disposition.ends_with(".ndjson\""), "{disposition}");
        let lines: Vec<Value> = answer.body.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(lines.len() > GROWTH && lines == listed, "{} lines, {} listed", lines.len(), listed.len());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_row_as_csv_without_formulas(#[case] engine: Engine) {
    story(async {
        let api = grown(engine).await?;
        let listed = all_events(&api).await?;
        let answer = export(&api, &[("format", "csv")]).await?;
        assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
        ensure!(answer.header("content-disposition").ends_with(".csv\""));
        let mut table = csv::Reader::from_reader(answer.body.as_bytes());
        let names = table.headers()?.clone();
        let mut rows = 0;
        for (record, event) in table.records().zip(&listed) {
            let record = record?;
            for (name, cell) in names.iter().zip(&record) {
                let original = match &event[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let is_formula = original.starts_with(['=', '+', '-', '@', '\'']);
                assert_eq!(cell, if is_formula { format!("'{original}") } else { original }, "{name} of {event}");
            }
            rows += 1;
        }
        assert_eq!(rows, listed.len());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_an_export(#[case] engine: Engine) {
    story(async {
        let api = grown(engine).await?;
        for (query, lines) in [
            (&[("format", "ndjson"), ("event_type", "model_pulled"), ("actor", "system:growth")][..], GROWTH),
            (&[("event_type", "user_created"), ("since", "2020-01-01T00:00:00Z")], 1),
            // The heading.
            (&[("format", "csv"), ("user_id", "999999")], 1),
        ] {
            assert_eq!(export(&api, query).await?.body.lines().count(), lines, "{query:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_rejects_wrong_parameters(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for (name, value) in [("format", "xml"), ("limit", "5"), ("cursor", "5"), ("since", "yesterday")] {
            let refused = api.admin().get("/audit/export").query(&[(name, value)]).expect(422).await?;
            assert_eq!(refused.pointers(), [format!("?{name}")]);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn only_admins_export(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (_, key) = api.plain_user().await?;
        api.by(&key).get("/audit/export").expect(403).await?;
        api.anonymous().get("/audit/export").expect(401).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_when_its_client_leaves(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        // More rows than the buffers between server and client hold.
        api.database()?.execute(&grow(engine, 60_000)).await?;
        let url = format!("{}/audit/export", api.contract.url);
        let mut answer = reqwest::Client::new().get(url).bearer_auth(&api.admin).send().await?.error_for_status()?;
        answer.chunk().await?.context("a piece")?;
        drop(answer);
        // A running export would hold up the shutdown.
        api.stop.cancel();
        tokio::time::timeout(Duration::from_secs(4), api.served).await???;
        Ok(())
    })
    .await;
}
