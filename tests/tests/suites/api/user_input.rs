//! Pages and search of the list of users, and refusals of invalid requests.

use anyhow::{Context as _, ensure};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::json;

use super::Api;

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_paged(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for name in ["Gwen", "Bo", "100%", "Cy"] {
            api.user(json!({"display_name": name})).await?;
        }
        let page = async |limit: &str, offset: &str| {
            let query = [("limit", limit), ("offset", offset)];
            let answer = api.admin().get("/users").query(&query).expect(200).await?;
            assert_eq!(answer.header("x-total-count"), "5");
            let users = answer.json.as_array().context("a list")?;
            Ok::<_, anyhow::Error>(users.iter().filter_map(|user| user["id"].as_i64()).collect::<Vec<_>>())
        };
        let all = page("200", "0").await?;
        ensure!(all.is_sorted() && all.len() == 5, "{all:?}");
        assert_eq!([page("2", "0").await?, page("2", "2").await?, page("2", "4").await?].concat(), all);
        assert_eq!(page("1", "5").await?, Vec::<i64>::new());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_searched(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for name in ["Gwen", "Bo", "100%", "Cy"] {
            api.user(json!({"display_name": name})).await?;
        }
        for (q, found) in [("gWEN", "1"), ("%", "1"), ("_", "0"), ("example.com", "5"), ("\\", "0")] {
            let answer = api.admin().get("/users").query(&[("q", q)]).expect(200).await?;
            assert_eq!(answer.header("x-total-count"), found, "{q}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_rejects_wrong_parameters(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        for (query, pointer) in [
            ("limit=0", "?limit"),
            ("limit=201", "?limit"),
            ("limit=x", "?limit"),
            ("limit=1&limit=2", "?limit"),
            ("offset=-1", "?offset"),
            ("offset=4294967296", "?offset"),
            ("q=%00", "?q"),
            ("page=1", "?page"),
            ("id=1,", "?id"),
            ("id=1,x", "?id"),
            ("id=0", "?id"),
        ] {
            let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
            // %00 must not be escaped again.
            let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name, value.replace("%00", "\0"))).collect();
            let refused = api.admin().get("/users").query(&pairs).expect(422).await?;
            assert_eq!(refused.pointers(), [pointer], "{query}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_creation_names_the_fields_and_creates_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let long = "x".repeat(201);
        let create = [
            (json!({}), vec!["/email"]),
            (json!({"email": 5}), vec!["/email"]),
            (json!({"email": "nobody"}), vec!["/email"]),
            (json!({"email": "a\u{0}b@example.com"}), vec!["/email"]),
            (json!({"email": "a\u{200b}b@example.com"}), vec!["/email"]),
            (json!({"email": "a@example.com", "display_name": "a\u{0}b"}), vec!["/display_name"]),
            (json!({"email": "a@example.com", "display_name": long}), vec!["/display_name"]),
            (json!({"email": "a@example.com", "external_id": ""}), vec!["/external_id"]),
            (json!({"email": "a@example.com", "external_id": "a\u{202e}b"}), vec!["/external_id"]),
            (json!({"email": "a@example.com", "display_name": "a\u{200d}b"}), vec!["/display_name"]),
            (json!({"email": "a@example.com", "display_name": "\u{feff}"}), vec!["/display_name"]),
            (json!({"email": "a@example.com", "display_name": "  "}), vec!["/display_name"]),
            (json!({"email": "a@example.com", "roles": ["root"]}), vec!["/roles/0"]),
            (
                json!({"email": "a@example.com", "limits": {"requests_per_minute": 0, "tokens_per_day": 1}}),
                vec!["/limits/tokens_per_day"],
            ),
            (json!({"email": "a@example.com", "roles": "admin"}), vec!["/roles"]),
            (json!({"email": "a@example.com", "is_admin": true, "passwrd": 1}), vec!["/is_admin", "/passwrd"]),
            (json!([]), vec![""]),
        ];
        for (body, pointers) in create {
            let refused = api.admin().post("/users").json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), pointers, "{body}");
        }
        assert_eq!(api.admin().get("/users").expect(200).await?.header("x-total-count"), "1");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_patch_names_the_fields_and_changes_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let id = api.user(json!({"limits": {"tokens_per_day": 100}})).await?;
        let long = "x".repeat(201);
        let change = [
            (json!({"is_active": null}), vec!["/is_active"]),
            (json!({"limits": {"requests_per_minute": -1}}), vec!["/limits/requests_per_minute"]),
            (
                json!({"limits": {"requests": 1, "tokens_per_day": 1.5}}),
                vec!["/limits/requests", "/limits/tokens_per_day"],
            ),
            (json!({"limits": {"tokens_per_day": 2, "tokens_per_month": 1}}), vec!["/limits/tokens_per_day"]),
            // Beside the limit that the user has.
            (json!({"limits": {"tokens_per_minute": 101}}), vec!["/limits/tokens_per_minute"]),
            (json!({"limits": {"max_concurrent": 0}}), vec!["/limits/tokens_per_day"]),
            (
                json!({"models": ["a b", "llama3.2", "", "!", "!!m"]}),
                vec!["/models/0", "/models/2", "/models/3", "/models/4"],
            ),
            (json!({"models": ["!m", "!team/*"]}), vec!["/models"]),
            (json!({"limits": [7, 8]}), vec!["/limits"]),
            (json!({"display_name": "a\u{0}b"}), vec!["/display_name"]),
            (json!({"display_name": "a\u{2066}b"}), vec!["/display_name"]),
            (json!({"display_name": long}), vec!["/display_name"]),
            (json!({"email": "other@example.com"}), vec!["/email"]),
        ];
        for (body, pointers) in change {
            let refused = api.admin().patch(format!("/users/{id}")).json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), pointers, "{body}");
        }
        assert_eq!(api.events(1).await?, ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_or_too_large_body_creates_nothing(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let malformed = ["", "{", "{\"email\": \"a@example.com\"} x", "{\"email\": \"\\ud800@example.com\"}", "nul"];
        for body in malformed {
            api.admin().post("/users").body("application/json", body).expect(400).await?;
        }
        api.admin().post("/users").body("application/json", vec![b'"', 0xff, b'"']).expect(400).await?;
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            api.admin().post("/users").body(content_type, "{}").expect(415).await?;
        }
        let large = json!({"email": "a@example.com", "display_name": "x".repeat(2 << 20)});
        api.admin().post("/users").json(&large).expect(413).await?;
        api.admin().post("/users").query(&[("dry_run", "1")]).json(&json!({})).expect(422).await?;
        assert_eq!(api.admin().get("/users").expect(200).await?.header("x-total-count"), "1");
        Ok(())
    })
    .await;
}
