//! Who may have a key made, for whom, and how wide.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_store::clock::{Clock as _, SystemClock};
use paddock_tests::database::Engine;
use serde_json::{Value, json};

use super::{Api, on_both_engines};

on_both_engines! {
    a_narrow_key_gives_no_wider_one,
    a_key_gives_others_no_more_than_its_owner_has,
    a_secret_that_was_rotated_away_gives_nothing_that_lasts,
    a_user_that_is_disabled_is_given_no_key,
}

/// What a narrow key asks for beyond itself, and what the refusal has to name.
fn beyond(later: &str) -> [(&'static str, Value, &'static str); 10] {
    [
        ("scopes", json!(["chat", "embed"]), "embed"),
        ("models", json!(null), "models"),
        ("models", json!(["smollm2", "llama3.2"]), "llama3.2"),
        ("models", json!(["*"]), "models"),
        ("models", json!(["team/*"]), "team/*"),
        ("limits", json!({"requests_per_minute": 61, "tokens_per_day": 1}), "limits.requests_per_minute"),
        ("limits", json!({"requests_per_minute": 1}), "limits.tokens_per_day"),
        ("limits", json!(null), "limits.requests_per_minute"),
        ("expires_at", json!(later), "expires_at"),
        ("expires_at", json!(null), "expires_at"),
    ]
}

async fn a_narrow_key_gives_no_wider_one(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let now = SystemClock.now();
    let (soon, later) = ((now + Duration::from_hours(1)).to_string(), (now + Duration::from_hours(2)).to_string());
    let narrow = json!({
        "scopes": ["keys:write", "chat"], "models": ["smollm2", "team/*:latest"],
        "limits": {"requests_per_minute": 60, "tokens_per_day": 1000}, "expires_at": soon,
    });
    let (own, minter) = api.key(admin, narrow).await?;
    let within = json!({
        "user_id": user, "scopes": ["chat"], "models": ["smollm2:135m", "team/a*:latest"],
        "limits": {"requests_per_minute": 60, "tokens_per_day": 0, "max_concurrent": 9}, "expires_at": soon,
    });
    api.by(&minter, "POST /credentials", 0).json(&within).expect(201).await?;
    for (field, value, named) in beyond(&later) {
        let mut asked = within.clone();
        match value {
            // Absent scopes are some, so that null is none of their values.
            Value::Null => drop(asked.as_object_mut().and_then(|fields| fields.remove(field))),
            value => asked[field] = value,
        }
        let refused = api.by(&minter, "POST /credentials", 0).json(&asked).expect(403).await?;
        ensure!(refused.text("detail")?.contains(named), "{asked}: {refused}");
        // Whoever is told the new secret of such a key has it as well.
        let (wide, _) = api.key(user, asked).await?;
        let refused = api.by(&minter, "POST /credentials/{id}/rotate", wide).expect(403).await?;
        ensure!(refused.text("detail")?.contains(named), "{refused}");
    }
    // The first on each of the two routes; the others are counted.
    let denied = api.events(100).await?.iter().filter(|event| *event == "access_denied").count();
    assert_eq!(denied, 2);
    // All that is beyond is named at once.
    let refused = api.by(&minter, "POST /credentials", 0).json(&json!({"user_id": user})).expect(403).await?;
    for named in ["scopes", "models", "limits.requests_per_minute", "limits.tokens_per_day", "expires_at"] {
        ensure!(refused.text("detail")?.contains(named), "{refused}");
    }
    // It may rotate itself, and what it could have issued; a session gives anything.
    let (equal, _) = api.key(user, within).await?;
    api.by(&minter, "POST /credentials/{id}/rotate", equal).expect(200).await?;
    api.by(&minter, "POST /credentials/{id}/rotate", own).expect(200).await?;
    let session = api.session().await?;
    api.by(&session, "POST /credentials", 0).json(&json!({"user_id": user})).expect(201).await?;
    // For another admin too, and for oneself; but who is no admin issues none, also for itself.
    api.by(&session, "POST /credentials", 0).json(&json!({"user_id": admin})).expect(201).await?;
    let (plain, key) = api.plain_user().await?;
    api.by(&key, "POST /credentials", 0).json(&json!({"user_id": plain})).expect(403).await?;
    Ok(())
}

async fn a_key_gives_others_no_more_than_its_owner_has(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let user = api.user(json!({"roles": ["user"]})).await?;
    let (own, minter) =
        api.key(admin, json!({"scopes": ["keys:write", "chat"], "models": ["smollm2", "llama3.2"]})).await?;
    let narrow = json!({"models": ["smollm2", "team/*"], "limits": {"requests_per_minute": 60}});
    api.admin("PATCH /users/{id}", admin).json(&narrow).expect(200).await?;
    let within = json!({
        "user_id": user, "scopes": ["chat"], "models": ["smollm2:135m"], "limits": {"requests_per_minute": 60},
    });
    let given = api.by(&minter, "POST /credentials", 0).json(&within).expect(201).await?.id("credential_id")?;
    api.by(&minter, "POST /credentials/{id}/rotate", given).expect(200).await?;
    for (field, value, named) in [
        // In the key's list, and not in its owner's; and the other way round.
        ("models", json!(["llama3.2"]), "is not within its owner's ("),
        ("models", json!(["team/a"]), "is not within its own ("),
        ("limits", json!({"requests_per_minute": 61}), "limits.requests_per_minute: at most its owner's 60"),
        ("limits", json!({}), "limits.requests_per_minute: at most its owner's 60"),
    ] {
        let mut asked = within.clone();
        asked[field] = value;
        let refused = api.by(&minter, "POST /credentials", 0).json(&asked).expect(403).await?;
        ensure!(refused.text("detail")?.contains(named), "{asked}: {refused}");
        let (wide, _) = api.key(user, asked).await?;
        api.by(&minter, "POST /credentials/{id}/rotate", wide).expect(403).await?;
    }
    // What its owner is held to holds for each of its owner's keys anyhow.
    let mine = json!({"user_id": admin, "scopes": ["chat"], "models": ["llama3.2"]});
    api.by(&minter, "POST /credentials", 0).json(&mine).expect(201).await?;
    api.by(&minter, "POST /credentials/{id}/rotate", own).expect(200).await?;
    Ok(())
}

async fn a_secret_that_was_rotated_away_gives_nothing_that_lasts(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let admin = api.user(json!({"roles": ["admin"]})).await?;
    let (id, old) = api.key(admin, json!({"scopes": ["keys:write", "chat"]})).await?;
    let grace = json!({"grace_seconds": 3600});
    let new = api.admin("POST /credentials/{id}/rotate", id).json(&grace).expect(200).await?.text("plaintext")?;
    let now = SystemClock.now();
    let [soon, later] = [30, 90].map(|minutes| (now + Duration::from_mins(minutes)).to_string());
    let key = |end: Value| json!({"user_id": admin, "scopes": ["chat"], "expires_at": end});
    for end in [json!(null), json!(later)] {
        let refused = api.by(&old, "POST /credentials", 0).json(&key(end)).expect(403).await?;
        ensure!(refused.text("detail")?.contains("expires_at: no later than"), "{refused}");
    }
    let refused = api.by(&old, "POST /credentials/{id}/rotate", id).expect(403).await?;
    ensure!(refused.text("detail")?.contains("when the secret that asks ends"), "{refused}");
    // Until then it is as good as the new one, which can do all of it.
    api.by(&old, "POST /credentials", 0).json(&key(json!(soon))).expect(201).await?;
    api.by(&new, "POST /credentials", 0).json(&key(json!(null))).expect(201).await?;
    api.by(&new, "POST /credentials/{id}/rotate", id).expect(200).await?;
    Ok(())
}

async fn a_user_that_is_disabled_is_given_no_key(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    let (user, key) = api.plain_user().await?;
    api.admin("PATCH /users/{id}", user).json(&json!({"is_active": false})).expect(200).await?;
    let refused = api.admin("POST /credentials", 0).json(&json!({"user_id": user})).expect(409).await?;
    assert_eq!(refused.problem(), "user-disabled");
    api.admin("PATCH /users/{id}", user).json(&json!({"is_active": true})).expect(200).await?;
    api.key(user, json!({})).await?;
    api.by(&key, "GET /me", 0).expect(200).await?;
    Ok(())
}
