//! The audit log as the API shows it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::database::Engine;
use serde_json::{Value, json};

use super::{Api, on_both_engines};

/// So many copies of the first row after the last one, as a log has them that has grown: nothing here looks at hashes.
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

on_both_engines! {
    events_say_who_did_what_from_where,
    pages_follow_each_other_and_filters_narrow,
    an_export_has_every_row_in_either_format,
    an_export_ends_with_its_client,
}

async fn events_say_who_did_what_from_where(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let ada = json!({"email": "ada@example.com"});
    let create =
        api.admin("POST /users", 0).json(&ada).header("x-request-id", "story-7").header("user-agent", "story/1");
    let user = create.expect(201).await?.id("id")?;
    let events = api.admin("GET /audit", 0).query(&[("limit", 1)]).expect(200).await?;
    let event = &events.json[0];
    assert_eq!((&event["event_type"], &event["user_id"]), (&json!("user_created"), &json!(user)));
    assert_eq!((&event["request_id"], &event["user_agent"]), (&json!("story-7"), &json!("story/1")));
    assert_eq!((&event["ip"], &event["target"]), (&json!("127.0.0.1"), &json!("ada@example.com")));
    ensure!(event["actor"].as_str().is_some_and(|actor| actor.starts_with("key:")), "{event}");
    assert_eq!(event["change"]["after"]["email"], "ada@example.com");

    let (_, key) = api.plain_user().await?;
    api.by(&key, "GET /audit", 0).expect(403).await?;
    api.anonymous("GET /audit", 0).expect(401).await?;
    let denied = api.admin("GET /audit", 0).query(&[("limit", 1)]).expect(200).await?;
    assert_eq!(denied.json[0]["event_type"], "access_denied");
    assert_eq!(denied.json[0]["target"], "GET /audit");

    // The gateway's refusals of someone known are recorded likewise, in whichever dialect they are told.
    let cloud = json!({"model": "gpt-oss:120b-cloud", "messages": []});
    let chat = reqwest::Client::new().post(format!("{}/api/chat", api.contract.url)).bearer_auth(&key);
    assert_eq!(chat.json(&cloud).send().await?.status(), 403);
    let denied = api.admin("GET /audit", 0).query(&[("limit", 1)]).expect(200).await?;
    assert_eq!(denied.json[0]["event_type"], "access_denied");
    assert_eq!(denied.json[0]["target"], "POST /api/chat");
    Ok(())
}

async fn pages_follow_each_other_and_filters_narrow(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let mut users = Vec::new();
    for _ in 0..5 {
        users.push(api.user(json!({})).await?);
    }
    let ids = |json: &Value| -> Result<Vec<i64>> {
        Ok(json.as_array().context("a list")?.iter().filter_map(|event| event["id"].as_i64()).collect())
    };
    let whole = ids(&api.admin("GET /audit", 0).expect(200).await?.json)?;
    ensure!(whole.is_sorted_by(|a, b| a > b) && whole.last() == Some(&1), "{whole:?}");
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut query = vec![("limit", "2".to_owned())];
        if !cursor.is_empty() {
            query.push(("cursor", cursor.clone()));
        }
        let page = api.admin("GET /audit", 0).query(&query).expect(200).await?;
        pages.extend(ids(&page.json)?);
        page.header("x-next-cursor").clone_into(&mut cursor);
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(pages, whole);

    let of_user = api.admin("GET /audit", 0).query(&[("user_id", users[2])]).expect(200).await?;
    assert_eq!(ids(&of_user.json)?.len(), 1);
    let created = api.admin("GET /audit", 0).query(&[("event_type", "user_created")]).expect(200).await?;
    assert_eq!(ids(&created.json)?.len(), 5);
    let actor = created.json[0]["actor"].as_str().context("an actor")?;
    let by_key = api.admin("GET /audit", 0).query(&[("actor", actor)]).expect(200).await?;
    assert_eq!(ids(&by_key.json)?.len(), 5);
    let (key, _) = api.key(users[0], json!({})).await?;
    let of_key = api.admin("GET /audit", 0).query(&[("credential_id", key)]).expect(200).await?;
    assert_eq!(ids(&of_key.json)?.len(), 1);
    let whole = ids(&api.admin("GET /audit", 0).expect(200).await?.json)?;

    let at = created.json[2]["occurred_at"].as_str().context("a time")?;
    let since = ids(&api.admin("GET /audit", 0).query(&[("since", at)]).expect(200).await?.json)?;
    let until = ids(&api.admin("GET /audit", 0).query(&[("until", at)]).expect(200).await?.json)?;
    assert_eq!([since, until].concat(), whole);

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
        let refused = api.admin("GET /audit", 0).query(&[(name, value)]).expect(422).await?;
        assert_eq!(refused.pointers(), [format!("?{name}")]);
    }
    let backwards = [("since", "2026-01-02T00:00:00Z"), ("until", "2026-01-01T00:00:00Z")];
    api.admin("GET /audit", 0).query(&backwards).expect(422).await?;
    Ok(())
}

async fn an_export_has_every_row_in_either_format(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let database = api.database.as_ref().context("a database")?;
    // More than several pages.
    database.execute(&grow(engine, 2345)).await?;
    api.user(json!({})).await?;
    let mut listed = Vec::new();
    let mut cursor = i64::MAX;
    while cursor > 1 {
        let query = [("limit", 500), ("cursor", cursor)];
        let page = api.admin("GET /audit", 0).query(&query).expect(200).await?;
        listed.extend(page.json.as_array().context("a list")?.clone());
        cursor = listed.last().and_then(|event| event["id"].as_i64()).context("an id")?;
    }
    listed.reverse();

    let export = async |query: &[(&str, &str)]| api.admin("GET /audit/export", 0).query(query).expect(200).await;
    let answer = export(&[]).await?;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.header("cache-control"), "no-store");
    let disposition = answer.header("content-disposition");
    ensure!(disposition.starts_with("attachment; filename=\"paddock-audit-20"), "{disposition}");
    ensure!(disposition.ends_with(".ndjson\""), "{disposition}");
    let lines: Vec<Value> = answer.body.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.len() > 2345 && lines == listed, "{} lines, {} listed", lines.len(), listed.len());

    let answer = export(&[("format", "csv")]).await?;
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
            let risky = original.starts_with(['=', '+', '-', '@', '\'']);
            assert_eq!(cell, if risky { format!("'{original}") } else { original }, "{name} of {event}");
        }
        rows += 1;
    }
    assert_eq!(rows, listed.len());

    let filtered = export(&[("format", "ndjson"), ("event_type", "model_pulled"), ("actor", "system:growth")]).await?;
    assert_eq!(filtered.body.lines().count(), 2345);
    let filtered = export(&[("event_type", "user_created"), ("since", "2020-01-01T00:00:00Z")]).await?;
    assert_eq!(filtered.body.lines().count(), 1);
    let nothing = export(&[("format", "csv"), ("user_id", "999999")]).await?;
    assert_eq!(nothing.body.lines().count(), 1);

    for (name, value) in [("format", "xml"), ("limit", "5"), ("cursor", "5"), ("since", "yesterday")] {
        let refused = api.admin("GET /audit/export", 0).query(&[(name, value)]).expect(422).await?;
        assert_eq!(refused.pointers(), [format!("?{name}")]);
    }
    let (_, key) = api.plain_user().await?;
    api.by(&key, "GET /audit/export", 0).expect(403).await?;
    api.anonymous("GET /audit/export", 0).expect(401).await?;
    Ok(())
}

async fn an_export_ends_with_its_client(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    // More than any buffer between the two takes.
    api.database.as_ref().context("a database")?.execute(&grow(engine, 60_000)).await?;
    let url = format!("{}/audit/export", api.contract.url);
    let mut answer = reqwest::Client::new().get(url).bearer_auth(&api.admin).send().await?.error_for_status()?;
    answer.chunk().await?.context("a piece")?;
    drop(answer);
    // Nothing is under way any more that an orderly end would wait for.
    api.stop.cancel();
    tokio::time::timeout(Duration::from_secs(4), api.served).await???;
    Ok(())
}
