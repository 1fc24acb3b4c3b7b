//! One change or refusal, one record; and without its record no change.

use anyhow::{Context as _, Result};
use paddock_tests::database::Engine;
use serde_json::json;

use super::super::authorization::Cast;
use super::super::{ADMIN_EMAIL, Api, on_both_engines};
use super::{EVENTS, Prepared, prepare, success};

on_both_engines! {
    every_change_and_every_refusal_leaves_one_record,
    what_cannot_be_recorded_does_not_happen,
}

async fn every_change_and_every_refusal_leaves_one_record(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    prepare(&api).await?;
    let cast = Cast::new(&api).await?;
    let (_, plain) = api.plain_user().await?;
    for (operation, event, refusable) in EVENTS {
        let request = Prepared::new(&api, &cast, operation).await?;
        let before = api.history().await?;
        request.send(&api, success(operation)).await?;
        let after = api.history().await?;
        assert_eq!(after[before.len()..], [event], "{operation}");
        api.keep_password(operation).await?;
        if refusable {
            request.send_by(&api, &plain, 403).await?;
            let refused = api.history().await?;
            assert_eq!(refused[after.len()..], ["access_denied"], "{operation} when it is refused");
        }
    }
    // Nothing changed, nothing to record.
    let before = api.history().await?;
    api.admin("PATCH /users/{id}", 100_000).json(&json!({"display_name": "x"})).expect(404).await?;
    api.admin("POST /users", 0).json(&json!({"email": ADMIN_EMAIL})).expect(409).await?;
    api.admin("POST /users", 0).json(&json!({"email": "nobody"})).expect(422).await?;
    api.admin("POST /credentials/{id}/rotate", 100_000).expect(404).await?;
    assert_eq!(api.history().await?, before);
    Ok(())
}

/// Ways in which the database refuses the record: by a rule of its own, and because there is no room for it.
fn refusals(engine: Engine) -> Vec<(&'static str, &'static str, &'static str)> {
    let drop = "DROP TRIGGER refuse ON audit_logs; DROP FUNCTION refuse";
    match engine {
        Engine::Postgres => vec![
            (
                "a trigger",
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse()",
                drop,
            ),
            (
                "no room",
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse()",
                drop,
            ),
        ],
        Engine::Sqlite => vec![(
            "a trigger",
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_logs BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER refuse",
        )],
    }
}

async fn what_cannot_be_recorded_does_not_happen(engine: Engine) -> Result<()> {
    let api = Api::start(engine).await?;
    prepare(&api).await?;
    let cast = Cast::new(&api).await?;
    for (way, begin, end) in refusals(engine) {
        for (operation, event, _) in EVENTS {
            let request = Prepared::new(&api, &cast, operation).await?;
            let before = api.state().await?;
            api.behind()?.execute(begin).await?;
            request.refused(&api).await.context(way)?;
            api.behind()?.execute(end).await?;
            assert_eq!(api.state().await?, before, "{operation} with {way}");
            request.send(&api, success(operation)).await?;
            assert_eq!(api.events(1).await?, [event], "{operation} after {way}");
            api.keep_password(operation).await?;
        }
    }
    Ok(())
}
