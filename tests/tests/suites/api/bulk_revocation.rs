//! Revoking many keys with one request.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_store::clock::{Clock as _, SystemClock};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::Api;

impl Api {
    async fn revoke_many(&self, body: Value) -> Result<Value> {
        Ok(self.admin().post("/credentials/revoke").json(&body).expect(200).await?.json)
    }
}

/// Keys of two users: `ci` and `laptop` of the first, `ci` and `ci` of the second.
struct Keys {
    ada: i64,
    bob: i64,
    /// The id and the text of each key.
    all: Vec<(i64, String)>,
}

impl Keys {
    async fn issue(api: &Api) -> Result<Self> {
        let (ada, bob) = (api.user(json!({"roles": ["user"]})).await?, api.user(json!({"roles": ["user"]})).await?);
        let mut all = Vec::new();
        for (user, label) in [(ada, "ci"), (ada, "laptop"), (bob, "ci"), (bob, "ci")] {
            all.push(api.key(user, json!({"label": label})).await?);
        }
        Ok(Self { ada, bob, all })
    }

    fn id(&self, at: usize) -> i64 {
        self.all[at].0
    }

    /// Whether each of the keys is accepted.
    async fn live(&self, api: &Api) -> [bool; 4] {
        let mut live = [false; 4];
        for ((_, key), live) in self.all.iter().zip(&mut live) {
            *live = api.by(key).get("/me").expect(200).await.is_ok();
        }
        live
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_the_matching_keys_and_revokes_none(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let keys = Keys::issue(&api).await?;
        let dry = api.revoke_many(json!({"label": "ci", "dry_run": true})).await?;
        assert_eq!(dry, json!({"revoked": [keys.id(0), keys.id(2), keys.id(3)], "left": 0, "dry_run": true}));
        assert_eq!(api.events(1).await?, ["api_key_issued"], "a dry run leaves no event");
        assert_eq!(keys.live(&api).await, [true; 4]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_matching_keys_are_revoked_each_with_its_event(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let keys = Keys::issue(&api).await?;
        let done = api.revoke_many(json!({"label": "ci", "user_id": keys.bob})).await?;
        assert_eq!(done, json!({"revoked": [keys.id(2), keys.id(3)], "left": 0, "dry_run": false}));
        assert_eq!(keys.live(&api).await, [true, true, false, false]);
        let events = api.admin().get("/audit").query(&[("event_type", "api_key_revoked")]).expect(200).await?;
        let about: Vec<_> = (0..2).map(|at| events.json[at]["credential_id"].clone()).collect();
        assert_eq!(about, [json!(keys.id(3)), json!(keys.id(2))], "one event for each");
        assert_eq!(api.revoke_many(json!({"label": "ci", "user_id": keys.bob})).await?["revoked"], json!([]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn keys_match_by_age_and_by_last_use(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let keys = Keys::issue(&api).await?;
        let now = SystemClock.now();
        let (past, future) = ((now - Duration::from_hours(1)).to_string(), (now + Duration::from_hours(1)).to_string());
        for field in ["created_before", "unused_since"] {
            let asked = |time: &str| json!({"user_id": keys.ada, "dry_run": true, field: time});
            assert_eq!(api.revoke_many(asked(&past)).await?["revoked"], json!([]), "{field}");
            assert_eq!(api.revoke_many(asked(&future)).await?["revoked"], json!([keys.id(0), keys.id(1)]), "{field}");
        }
        let used = match engine {
            Engine::Postgres => "timestamptz '2100-01-01T00:00:00Z'",
            Engine::Sqlite => "4102444800000000",
        };
        let used = format!("UPDATE credentials SET last_used_at = {used} WHERE id = {}", keys.id(0));
        api.database()?.execute(&used).await?;
        let unused = api.revoke_many(json!({"user_id": keys.ada, "unused_since": future})).await?;
        assert_eq!(unused["revoked"], json!([keys.id(1)]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_calling_key_is_spared_unless_include_self_is_set(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let (own, key) = api.key(admin, json!({"scopes": ["keys:write"]})).await?;
        let (other, _) = api.key(admin, json!({})).await?;
        let revoke = async |body: Value| api.by(&key).post("/credentials/revoke").json(&body).expect(200).await;
        let all = revoke(json!({"user_id": admin, "dry_run": true, "include_self": true})).await?;
        assert_eq!(all.json["revoked"], json!([other, own]), "the calling key comes last");
        assert_eq!(revoke(json!({"user_id": admin})).await?.json["revoked"], json!([other]));
        api.by(&key).get("/me").expect(200).await?;
        assert_eq!(revoke(json!({"user_id": admin, "include_self": true})).await?.json["revoked"], json!([own]));
        api.by(&key).get("/me").expect(401).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_managed_key_sets_an_override(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, _) = api.plain_user().await?;
        let (id, _) = api.key(user, json!({"label": "ci"})).await?;
        api.manage("credentials", id).await?;
        assert_eq!(api.revoke_many(json!({"label": "ci"})).await?["revoked"], json!([id]));
        let keys = api.admin().get("/credentials").query(&[("user_id", user)]).expect(200).await?;
        ensure!(keys.json[0]["overridden_at"].is_string(), "{keys}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_revocation_names_the_keys_that_were_revoked(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, _) = api.plain_user().await?;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(api.key(user, json!({"label": "ci"})).await?.0);
        }
        // The revocation of the third key cannot be recorded.
        let [fits, refuse] = match engine {
            Engine::Postgres => [
                format!("NEW.event_type = 'api_key_revoked' AND NEW.credential_id = {}", ids[2]),
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW WHEN (FITS) EXECUTE FUNCTION refuse()"
                    .to_owned(),
            ],
            Engine::Sqlite => [
                format!("NEW.event_type = 'api_key_revoked' AND NEW.credential_id = {}", ids[2]),
                "CREATE TRIGGER refuse BEFORE INSERT ON audit_logs WHEN FITS BEGIN SELECT RAISE(ABORT, 'no'); END"
                    .to_owned(),
            ],
        };
        let database = api.database()?;
        database.execute(&refuse.replace("FITS", &fits)).await?;
        let refused = api.admin().post("/credentials/revoke").json(&json!({"label": "ci"})).expect(503).await?;
        let detail = refused.text("detail")?;
        let told = format!("it broke off at credential {}", ids[2]);
        let done = format!("2 of 4 are revoked: {}, {};", ids[0], ids[1]);
        ensure!(detail.contains(&told) && detail.contains(&done), "{detail}");
        let off = if engine == Engine::Postgres { "DROP TRIGGER refuse ON audit_logs" } else { "DROP TRIGGER refuse" };
        database.execute(off).await?;
        assert_eq!(
            api.revoke_many(json!({"label": "ci"})).await?["revoked"],
            json!([ids[2], ids[3]]),
            "the rest is revoked"
        );
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_stops_when_its_caller_loses_the_right(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let admin = api.user(json!({"roles": ["admin"]})).await?;
        let (_, key) = api.key(admin, json!({"scopes": ["keys:write"]})).await?;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(api.key(admin, json!({"label": "ci"})).await?.0);
        }
        // The revocation of the second key disables the caller.
        let fits = format!("NEW.event_type = 'api_key_revoked' AND NEW.credential_id = {}", ids[1]);
        let disable = format!("UPDATE users SET is_active = FALSE WHERE id = {admin};");
        let trigger = match engine {
            Engine::Postgres => format!(
                "CREATE FUNCTION disable() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {disable} RETURN NEW; END $$; \
                 CREATE TRIGGER disable BEFORE INSERT ON audit_logs FOR EACH ROW WHEN ({fits}) EXECUTE FUNCTION disable()"
            ),
            Engine::Sqlite => format!("CREATE TRIGGER disable BEFORE INSERT ON audit_logs WHEN {fits} BEGIN {disable} END"),
        };
        api.database()?.execute(&trigger).await?;
        let refused = api.by(&key).post("/credentials/revoke").json(&json!({"label": "ci"})).expect(401).await?;
        let detail = refused.text("detail")?;
        ensure!(detail.contains(&format!("2 of 4 are revoked: {}, {};", ids[0], ids[1])), "{detail}");
        assert_eq!(api.revoke_many(json!({"label": "ci"})).await?["revoked"], json!([ids[2], ids[3]]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_valid_filter_is_refused(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let (user, plain) = api.plain_user().await?;
        for (body, pointer) in [
            (json!({}), ""),
            (json!({"dry_run": true}), ""),
            (json!({"include_self": true}), ""),
            (json!({"user_id": null}), "/user_id"),
            (json!({"label": ""}), "/label"),
            (json!({"label": "a\u{0}b"}), "/label"),
            (json!({"label": "x", "dry_run": "yes"}), "/dry_run"),
            (json!({"created_before": "90d"}), "/created_before"),
            (json!({"user": user}), "/user"),
        ] {
            let refused = api.admin().post("/credentials/revoke").json(&body).expect(422).await?;
            assert_eq!(refused.pointers(), [pointer], "{body}");
        }
        let asked = json!({"user_id": user});
        api.by(&plain).post("/credentials/revoke").json(&asked).expect(403).await?;
        api.anonymous().post("/credentials/revoke").json(&asked).expect(401).await?;
        api.by(&plain).get("/me").expect(200).await?;
        Ok(())
    })
    .await;
}
