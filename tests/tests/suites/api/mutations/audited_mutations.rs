//! Every change and refusal leaves one audit event, and without its event there is no change.

use anyhow::Context as _;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::json;

use super::{
    super::{ADMIN_EMAIL, Api, authorization::Callers},
    EVENTS, PreparedRequest, prepare, success,
};

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_change_and_every_refusal_leaves_one_event(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        prepare(&api).await?;
        let callers = Callers::new(&api).await?;
        let (_, plain) = api.plain_user().await?;
        for (operation, event, refusable) in EVENTS {
            let request = PreparedRequest::new(&api, &callers, operation).await?;
            let before = api.history().await?;
            request.send(&api, success(operation)).await?;
            let after = api.history().await?;
            assert_eq!(after[before.len()..], [event], "{operation}");
            api.restore_password(operation).await?;
            if refusable {
                request.send_by(&api, &plain, 403).await?;
                let refused = api.history().await?;
                assert_eq!(refused[after.len()..], ["access_denied"], "{operation} when it is refused");
            }
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_changes_nothing_leaves_no_event(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        let before = api.history().await?;
        api.admin().patch("/users/100000").json(&json!({"display_name": "x"})).expect(404).await?;
        api.admin().post("/users").json(&json!({"email": ADMIN_EMAIL})).expect(409).await?;
        api.admin().post("/users").json(&json!({"email": "nobody"})).expect(422).await?;
        api.admin().post("/credentials/100000/rotate").expect(404).await?;
        assert_eq!(api.history().await?, before);
        Ok(())
    })
    .await;
}

/// Statements that make the database refuse audit events, and those that undo them: a trigger, and
/// a full disk.
fn faults(engine: Engine) -> Vec<(&'static str, &'static str, &'static str)> {
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

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_recorded_does_not_happen(#[case] engine: Engine) {
    story(async {
        let api = Api::start(engine).await?;
        prepare(&api).await?;
        let callers = Callers::new(&api).await?;
        for (fault, begin, end) in faults(engine) {
            for (operation, event, _) in EVENTS {
                let request = PreparedRequest::new(&api, &callers, operation).await?;
                let before = api.state().await?;
                api.database()?.execute(begin).await?;
                request.assert_unavailable(&api).await.context(fault)?;
                api.database()?.execute(end).await?;
                assert_eq!(api.state().await?, before, "{operation} with {fault}");
                request.send(&api, success(operation)).await?;
                assert_eq!(api.events(1).await?, [event], "{operation} after {fault}");
                api.restore_password(operation).await?;
            }
        }
        Ok(())
    })
    .await;
}
