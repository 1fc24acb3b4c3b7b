//! Lists of users: filters, order and totals.

use anyhow::{Context as _, Result, anyhow};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::json;

use super::Api;

/// A query, and the names that it selects.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// The names before the `@` of the listed users, in their order, and the total in the header.
async fn names(api: &Api, query: &[(&str, &str)]) -> Result<(Vec<String>, i64)> {
    let listed = api.admin().get("/users").query(query).expect(200).await?;
    let users = listed.json.as_array().context("a list")?;
    let emails = users.iter().filter_map(|user| user["email"].as_str()?.split('@').next());
    Ok((emails.map(str::to_owned).collect(), listed.header("x-total-count").parse()?))
}

/// The first admin, and three users: `cleo` is disabled, and a Kubernetes object owns `bea`. Returns
/// the ids of the three.
async fn prepare(api: &Api) -> Result<[i64; 3]> {
    let mut ids = Vec::new();
    for (email, name, roles) in [
        ("bea@example.com", json!("zoe"), json!(["user"])),
        ("abe@example.com", json!("Yan"), json!(["admin", "user"])),
        ("cleo@example.com", json!(null), json!([])),
    ] {
        let user = json!({"email": email, "display_name": name, "roles": roles});
        let id = api.admin().post("/users").json(&user).expect(201).await?.id("id")?;
        if email.starts_with("bea") {
            api.manage("users", id).await?;
        }
        if email.starts_with("cleo") {
            api.admin().patch(format!("/users/{id}")).json(&json!({"is_active": false})).expect(200).await?;
        }
        ids.push(id);
    }
    ids.try_into().map_err(|_| anyhow!("three users"))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_filter_selects_its_users(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let [bea, abe, _] = prepare(&api).await?;
        let ids = format!("{abe},{bea},999");
        let cases: [Case; 10] = [
            (&[("id", &ids)], &["bea", "abe"]),
            (&[("id", &ids), ("role", "admin")], &["abe"]),
            (&[("role", "admin")], &["admin", "abe"]),
            (&[("role", "user")], &["bea", "abe"]),
            (&[("role", "none")], &["cleo"]),
            (&[("is_active", "false")], &["cleo"]),
            (&[("is_active", "true"), ("role", "user")], &["bea", "abe"]),
            (&[("managed_by", "kubernetes")], &["bea"]),
            (&[("managed_by", "api")], &["admin", "abe", "cleo"]),
            (&[("q", "YA"), ("role", "admin")], &["abe"]),
        ];
        for (query, expected) in cases {
            let (found, total) = names(&api, query).await?;
            assert_eq!(found, expected, "{query:?}");
            assert_eq!(total, i64::try_from(expected.len())?, "{query:?}");
        }
        let (page, total) = names(&api, &[("managed_by", "api"), ("limit", "1")]).await?;
        assert_eq!((page, total), (vec!["admin".to_owned()], 3));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_column_sorts_in_both_directions(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        prepare(&api).await?;
        for (sort, expected) in [
            ("id", ["admin", "bea", "abe", "cleo"]),
            ("-id", ["cleo", "abe", "bea", "admin"]),
            ("email", ["abe", "admin", "bea", "cleo"]),
            ("-email", ["cleo", "bea", "admin", "abe"]),
            ("display_name", ["abe", "bea", "cleo", "admin"]),
            ("-display_name", ["bea", "abe", "cleo", "admin"]),
            ("is_active", ["cleo", "abe", "bea", "admin"]),
            ("roles", ["cleo", "admin", "abe", "bea"]),
            ("created_at", ["admin", "bea", "abe", "cleo"]),
            ("-updated_at", ["cleo", "abe", "bea", "admin"]),
        ] {
            assert_eq!(names(&api, &[("sort", sort)]).await?.0, expected, "{sort}");
        }
        Ok(())
    })
    .await;
}
