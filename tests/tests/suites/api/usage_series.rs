//! Usage by hour, sorted, in periods within a day, and as an export; and the indexes for it.

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::{Api, usage::TwoUsers};

/// The beginning of the first hour with usage.
async fn first_hour(api: &Api) -> Result<String> {
    let today = &api.admin().get("/usage").query(&[("group_by", "day")]).expect(200).await?.json[0]["day"];
    let day = today.as_str().context("a day")?.to_owned();
    let hours = api.admin().get("/usage").query(&[("group_by", "hour"), ("from", &day)]).expect(200).await?;
    Ok(hours.json[0]["hour"].as_str().context("an hour")?.to_owned())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn totals_by_hour_add_up_to_the_totals(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let users = TwoUsers::chat(&api).await?;
        let hour = first_hour(&api).await?;
        ensure!(hour.ends_with(":00:00.000000Z"), "{hour}");
        let query = [("group_by", "hour,user"), ("from", hour.as_str())];
        let hours = api.admin().get("/usage").query(&query).expect(200).await?;
        let rows = hours.json.as_array().context("a list")?;
        // The chats may lie in two hours.
        for (user, requests) in [(users.ada, 2), (users.bob, 1)] {
            let of_user = rows.iter().filter(|row| row["user_id"] == user);
            assert_eq!(of_user.filter_map(|row| row["requests"].as_i64()).sum::<i64>(), requests, "{hours}");
        }
        let none = api.admin().get("/usage").query(&[("from", "2020-01-01T05:00:00Z"), ("to", "2020-01-02")]);
        assert_eq!(none.expect(200).await?.json[0]["requests"], 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_user_with_the_most_tokens_comes_first(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let users = TwoUsers::chat(&api).await?;
        for (sort, expected) in [("-total_tokens", [users.ada, users.bob]), ("requests", [users.bob, users.ada])] {
            let sorted = api.admin().get("/usage").query(&[("group_by", "user"), ("sort", sort)]).expect(200).await?;
            let found = [&sorted.json[0]["user_id"], &sorted.json[1]["user_id"]];
            assert_eq!(found, [&json!(expected[0]), &json!(expected[1])], "{sort}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::without_from(&[("group_by", "hour")], "?from")]
#[case::long(&[("group_by", "hour"), ("from", "2020-01-01")], "?from")]
#[case::ends_within_a_day(&[("to", "2020-01-01T05:00:00Z")], "?from")]
#[case::backwards(&[("from", "2020-01-02"), ("to", "2020-01-01T05:00:00Z")], "?to")]
#[case::no_time(&[("from", "noon")], "?from")]
#[case::no_sum(&[("sort", "model")], "?sort")]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_period_or_order_is_named(#[case] query: &[(&str, &str)], #[case] pointer: &str) {
    story(async {
        let api = Api::start(Engine::Sqlite).await?;
        for path in ["/usage", "/usage/export"] {
            assert_eq!(api.admin().get(path).query(query).expect(422).await?.pointers(), [pointer], "{path}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_the_rows_of_the_list(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let users = TwoUsers::chat(&api).await?;
        let query = [("group_by", "user")];
        let csv = api.admin().get("/usage/export").query(&query).expect(200).await?;
        ensure!(csv.header("content-disposition").contains(".csv"), "{csv}");
        let lines: Vec<_> = csv.body.lines().collect();
        assert_eq!(lines.len(), 3, "{csv}");
        ensure!(lines[0].starts_with("day,hour,user_id,credential_id,model,requests,"), "{csv}");
        assert_eq!(lines[1], format!(",,{},,,2,0,62,0,14,0", users.ada));
        let query = [("group_by", "user"), ("format", "ndjson")];
        // Others see and export their own usage.
        let own = api.by(&users.adas_key).get("/usage/export").query(&query).expect(403).await?;
        ensure!(own.body.contains("usage:read"), "{own}");
        let lines = api.admin().get("/usage/export").query(&query).expect(200).await?;
        let rows = lines.body.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let listed = api.admin().get("/usage").query(&[("group_by", "user")]).expect(200).await?;
        assert_eq!(Value::from(rows), listed.json);
        let none = api.admin().get("/usage/export").query(&[("group_by", "user"), ("user_id", "99")]);
        assert_eq!(none.expect(200).await?.body.lines().count(), 1);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn usage_within_a_day_is_found_by_an_index(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let of_time = plan(&api, engine, "started_at >= {time} AND started_at < {time}").await?;
        ensure!(of_time.contains("usage_by_time"), "{of_time}");
        let of_user = plan(&api, engine, "user_id = 1 AND started_at >= {time}").await?;
        ensure!(of_user.contains("usage_by_user"), "{of_user}");
        Ok(())
    })
    .await;
}

/// The plan of a query of the form that totals of single requests have.
async fn plan(api: &Api, engine: Engine, condition: &str) -> Result<String> {
    let (hour, time) = match engine {
        Engine::Postgres => ("date_trunc('hour', started_at, 'UTC')", "now()"),
        Engine::Sqlite => ("started_at - started_at % 3600000000", "1"),
    };
    let query = format!(
        "SELECT hour, sum(requests) FROM (SELECT started_at, {hour} AS hour, user_id, \
         coalesce(credential_id, 0) AS credential_id, 1 AS requests FROM usage) AS u \
         WHERE TRUE AND {} GROUP BY hour ORDER BY hour LIMIT 10",
        condition.replace("{time}", time)
    );
    let database = api.database()?;
    let lines = match engine {
        Engine::Postgres => {
            // An empty table is read whole unless that is forbidden.
            database.execute("SET enable_seqscan = off").await?;
            database.texts(&format!("EXPLAIN {query}")).await?
        }
        Engine::Sqlite => {
            let mut file = SqliteConnection::connect(database.url()).await?;
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
            let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut file).await?;
            steps.into_iter().map(|step| step.3).collect()
        }
    };
    Ok(lines.join("\n"))
}
