//! Many keys revoked with one request.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_store::clock::{Clock as _, SystemClock};
use paddock_tests::database::Engine;
use serde_json::{Value, json};

use super::{Api, on_both_engines};

on_both_engines! {
    what_fits_is_revoked_each_with_its_event,
    the_key_that_asks_is_spared_unless_it_says_so,
    what_objects_own_is_kept_against_them,
    it_says_what_was_done_when_it_breaks_off,
    it_breaks_off_when_the_right_to_it_ends,
    a_request_without_a_filter_is_a_slip,
}

impl Api {
    async fn revoke_many(&self, body: Value) -> Result<Value> {
        Ok(self.admin("POST /credentials/revoke", 0).json(&body).expect(200).await?.json)
    }
}

async fn what_fits_is_revoked_each_with_its_event(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (ada, bob) = (api.user(json!({"roles": ["user"]})).await?, api.user(json!({"roles": ["user"]})).await?);
    let mut keys = Vec::new();
    for (user, label) in [(ada, "ci"), (ada, "laptop"), (bob, "ci"), (bob, "ci")] {
        keys.push(api.key(user, json!({"label": label})).await?);
    }
    let ids: Vec<i64> = keys.iter().map(|(id, _)| *id).collect();
    let live = async |at: usize| api.by(&keys[at].1, "GET /me", 0).expect(200).await.is_ok();

    let asked = json!({"label": "ci", "dry_run": true});
    let dry = api.revoke_many(asked).await?;
    assert_eq!(dry, json!({"revoked": [ids[0], ids[2], ids[3]], "left": 0, "dry_run": true}));
    assert_eq!(api.events(1).await?, ["api_key_issued"], "a dry run leaves no event");
    ensure!(live(0).await && live(2).await);

    let done = api.revoke_many(json!({"label": "ci", "user_id": bob})).await?;
    assert_eq!(done, json!({"revoked": [ids[2], ids[3]], "left": 0, "dry_run": false}));
    ensure!(live(0).await && live(1).await && !live(2).await && !live(3).await);
    let events = api.admin("GET /audit", 0).query(&[("event_type", "api_key_revoked")]).expect(200).await?;
    let about: Vec<_> = (0..2).map(|at| events.json[at]["credential_id"].clone()).collect();
    assert_eq!(about, [json!(ids[3]), json!(ids[2])], "one event for each");
    assert_eq!(api.revoke_many(json!({"label": "ci", "user_id": bob})).await?["revoked"], json!([]));

    // By age, and by last use; times as they are given.
    let now = SystemClock.now();
    let (past, future) = ((now - Duration::from_hours(1)).to_string(), (now + Duration::from_hours(1)).to_string());
    for field in ["created_before", "unused_since"] {
        let asked = |time: &str| json!({"user_id": ada, "dry_run": true, field: time});
        assert_eq!(api.revoke_many(asked(&past)).await?["revoked"], json!([]), "{field}");
        assert_eq!(api.revoke_many(asked(&future)).await?["revoked"], json!([ids[0], ids[1]]), "{field}");
    }
    let used = match engine {
        Engine::Postgres => "timestamptz '2100-01-01T00:00:00Z'",
        Engine::Sqlite => "4102444800000000",
    };
    let used = format!("UPDATE credentials SET last_used_at = {used} WHERE id = {}", ids[0]);
    api.database.as_ref().context("a database")?.execute(&used).await?;
    let unused = api.revoke_many(json!({"user_id": ada, "unused_since": future})).await?;
    assert_eq!(unused["revoked"], json!([ids[1]]));
    ensure!(live(0).await);
    Ok(())
}

async fn the_key_that_asks_is_spared_unless_it_says_so(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let (own, key) = api.key(admin, json!({"scopes": ["keys:write"]})).await?;
    let (other, _) = api.key(admin, json!({})).await?;
    let revoke = async |body: Value| api.by(&key, "POST /credentials/revoke", 0).json(&body).expect(200).await;
    let all = revoke(json!({"user_id": admin, "dry_run": true, "include_self": true})).await?;
    assert_eq!(all.json["revoked"], json!([other, own]), "itself last");
    assert_eq!(revoke(json!({"user_id": admin})).await?.json["revoked"], json!([other]));
    api.by(&key, "GET /me", 0).expect(200).await?;
    assert_eq!(revoke(json!({"user_id": admin, "include_self": true})).await?.json["revoked"], json!([own]));
    api.by(&key, "GET /me", 0).expect(401).await?;
    Ok(())
}

async fn what_objects_own_is_kept_against_them(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (user, _) = api.plain_user().await?;
    let (id, _) = api.key(user, json!({"label": "ci"})).await?;
    api.manage("credentials", id).await?;
    assert_eq!(api.revoke_many(json!({"label": "ci"})).await?["revoked"], json!([id]));
    let keys = api.admin("GET /credentials", 0).query(&[("user_id", user)]).expect(200).await?;
    ensure!(keys.json[0]["overridden_at"].is_string(), "{keys}");
    Ok(())
}

async fn it_says_what_was_done_when_it_breaks_off(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (user, _) = api.plain_user().await?;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(api.key(user, json!({"label": "ci"})).await?.0);
    }
    // The third one cannot be recorded.
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
    let database = api.database.as_ref().context("a database")?;
    database.execute(&refuse.replace("FITS", &fits)).await?;
    let refused = api.admin("POST /credentials/revoke", 0).json(&json!({"label": "ci"})).expect(503).await?;
    let detail = refused.text("detail")?;
    let told = format!("it broke off at credential {}", ids[2]);
    let done = format!("2 of 4 are revoked: {}, {};", ids[0], ids[1]);
    ensure!(detail.contains(&told) && detail.contains(&done), "{detail}");
    let off = if engine == Engine::Postgres { "DROP TRIGGER refuse ON audit_logs" } else { "DROP TRIGGER refuse" };
    database.execute(off).await?;
    assert_eq!(api.revoke_many(json!({"label": "ci"})).await?["revoked"], json!([ids[2], ids[3]]), "it goes on");
    Ok(())
}

async fn it_breaks_off_when_the_right_to_it_ends(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let (_, key) = api.key(admin, json!({"scopes": ["keys:write"]})).await?;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(api.key(admin, json!({"label": "ci"})).await?.0);
    }
    // With the second one, it is disabled.
    let fits = format!("NEW.event_type = 'api_key_revoked' AND NEW.credential_id = {}", ids[1]);
    let disable = format!("UPDATE users SET is_active = FALSE WHERE id = {admin};");
    let trigger = match engine {
        Engine::Postgres => format!(
            "CREATE FUNCTION disable() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {disable} RETURN NEW; END $$; \
             CREATE TRIGGER disable BEFORE INSERT ON audit_logs FOR EACH ROW WHEN ({fits}) EXECUTE FUNCTION disable()"
        ),
        Engine::Sqlite => format!("CREATE TRIGGER disable BEFORE INSERT ON audit_logs WHEN {fits} BEGIN {disable} END"),
    };
    api.database.as_ref().context("a database")?.execute(&trigger).await?;
    let refused = api.by(&key, "POST /credentials/revoke", 0).json(&json!({"label": "ci"})).expect(401).await?;
    let detail = refused.text("detail")?;
    ensure!(detail.contains(&format!("2 of 4 are revoked: {}, {};", ids[0], ids[1])), "{detail}");
    assert_eq!(api.revoke_many(json!({"label": "ci"})).await?["revoked"], json!([ids[2], ids[3]]));
    Ok(())
}

async fn a_request_without_a_filter_is_a_slip(engine: Engine) -> Result<()> {
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
        let refused = api.admin("POST /credentials/revoke", 0).json(&body).expect(422).await?;
        assert_eq!(refused.pointers(), [pointer], "{body}");
    }
    let asked = json!({"user_id": user});
    api.by(&plain, "POST /credentials/revoke", 0).json(&asked).expect(403).await?;
    api.anonymous("POST /credentials/revoke", 0).json(&asked).expect(401).await?;
    api.by(&plain, "GET /me", 0).expect(200).await?;
    Ok(())
}
