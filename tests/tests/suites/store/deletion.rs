//! Deleted users: the erased and the kept data, and the reuse of their address.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::{BoxFuture, join_all};
use paddock_accounts::{
    Error, UserId,
    bootstrap::{ADMIN_EMAIL, Seed},
    managed_resources::{Adoption, OnUidMismatch},
    types::{Email, Role},
    users::{Created, NewUser, UserSearch},
};
use paddock_store::audit::{AuditFilter, AuditRow};
use paddock_tests::{
    database::Engine,
    story::{soak_or, story},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{StoreFixture, context, desired_user, keys::new_key, matching, object, open};

const PASSWORD: &str = "correct horse battery";

impl StoreFixture {
    /// The number of rows of a table that fulfil the condition.
    async fn count(&self, table: &str, condition: &str) -> anyhow::Result<u64> {
        let column = if table == "passwords" || table == "sessions" { "user_id" } else { "id" };
        self.database.execute(&format!("UPDATE {table} SET {column} = {column} WHERE {condition}")).await
    }

    /// Asserts that a tombstone has nothing but its id and times.
    pub(super) async fn assert_tombstone(&self, id: UserId) -> anyhow::Result<()> {
        let empty = format!(
            "id = {id} AND email IS NULL AND display_name IS NULL AND external_id IS NULL AND roles = '' AND models IS NULL \
             AND tokens_per_day IS NULL AND managed_uid IS NULL AND NOT is_active AND deleted_at IS NOT NULL"
        );
        // PostgreSQL does not allow updates of an identity column.
        let is_empty = self.database.execute(&format!("UPDATE users SET roles = roles WHERE {empty}")).await? == 1;
        ensure!(is_empty, "user {id} holds something");
        ensure!(self.count("passwords", &format!("user_id = {id}")).await? == 0, "a password is left");
        ensure!(self.count("sessions", &format!("user_id = {id}")).await? == 0, "a session is left");
        let keys = format!(
            "UPDATE credential_secrets SET state = state WHERE state <> 'revoked' \
             AND credential_id IN (SELECT id FROM credentials WHERE user_id = {id})"
        );
        ensure!(self.database.execute(&keys).await? == 0, "a secret is left");
        ensure!(self.accounts.credentials().list(Some(id)).await?.iter().all(|key| key.revoked_at.is_some()));
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_loses_its_credentials(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let seeded = store.accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
        let bootstrap = seeded.key.context("a key")?;
        store.user("root@example.com", &[Role::Admin]).await?;
        let login = store.accounts.sessions().login(&context(), ADMIN_EMAIL, PASSWORD.into()).await?;
        let admin = login.user.id;
        let live = store.accounts.credentials().issue(&context(), new_key(admin)).await?;
        let rotated =
            store.accounts.credentials().rotate(&context(), live.credential.id, Duration::from_hours(1), None).await?;

        store.accounts.users().delete(&context(), admin, Ok(())).await?;
        ensure!(store.accounts.users().find(admin).await?.is_none());
        store.assert_tombstone(admin).await?;
        for text in [bootstrap.plaintext(), live.token.plaintext(), rotated.token.plaintext(), &login.access_token] {
            ensure!(store.accounts.authentication().authenticate(&text.into()).await?.is_err());
        }
        let refused = store.accounts.sessions().login(&context(), ADMIN_EMAIL, PASSWORD.into()).await;
        ensure!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_deletion_names_the_keys_that_it_revoked(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?.id;
        let mut keys = Vec::new();
        for _ in 0..3 {
            keys.push(store.accounts.credentials().issue(&context(), new_key(ada)).await?.credential.id);
        }
        store.accounts.credentials().revoke(&context(), keys.remove(0)).await?;
        store.accounts.users().delete(&context(), ada, Ok(())).await?;
        let about = AuditFilter { user_id: Some(ada), ..AuditFilter::default() };
        let event = store.accounts.audit().list(&about, 1, AuditRow::owned).await?.remove(0);
        ensure!(event.event_type == "user_deleted" && event.target.is_none(), "{event:?}");
        let change: Value = serde_json::from_str(event.change.as_deref().context("a change")?)?;
        let mut keys: Vec<i64> = keys.iter().map(|id| id.0).collect();
        keys.sort_unstable();
        assert_eq!(change["after"]["revoked_credentials"], json!(keys));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_not_found(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?.id;
        store.accounts.users().delete(&context(), ada, Ok(())).await?;
        let again = store.accounts.users().delete(&context(), ada, Ok(())).await;
        ensure!(matches!(again, Err(Error::NoUser(_))), "{again:?}");
        let issued = store.accounts.credentials().issue(&context(), new_key(ada)).await;
        ensure!(matches!(issued, Err(Error::NoUser(_))), "{issued:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_address_and_external_id_of_a_deleted_user_are_free_at_once(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let new = || -> anyhow::Result<NewUser> {
            let email = Email::parse("ada@example.com")?;
            Ok(NewUser { external_id: Some("hr-7".into()), display_name: Some("Ada".into()), ..NewUser::new(email) })
        };
        let mut seen = Vec::new();
        for _ in 0..3 {
            let Created::New(ada) = store.accounts.users().create(&context(), new()?).await? else {
                anyhow::bail!("they are taken")
            };
            ensure!(!seen.contains(&ada.id), "an id is used again");
            seen.push(ada.id);
            store.accounts.users().delete(&context(), ada.id, Ok(())).await?;
        }
        ensure!(store.accounts.users().list(&UserSearch::default(), 10, 0).await? == (Vec::new(), 0));
        ensure!(store.accounts.users().list(&matching("ada"), 10, 0).await?.1 == 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_cannot_be_deleted_and_keeps_its_key(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let root = store.user("root@example.com", &[Role::Admin]).await?;
        let key = store.accounts.credentials().issue(&context(), new_key(root.id)).await?;
        let refused = store.accounts.users().delete(&context(), root.id, Ok(())).await;
        ensure!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
        ensure!(store.accounts.authentication().authenticate(&key.token.plaintext().into()).await?.is_ok());
        ensure!(store.events().await? == ["user_created", "api_key_issued"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_managed_user_cannot_be_deleted(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let (owner, want) = (object("ada", "first"), desired_user("ada@example.com"));
        let ada = store
            .accounts
            .managed()
            .apply_user(&context(), &owner, &want, Adoption::Never, OnUidMismatch::Reject)
            .await?;
        let refused = store.accounts.users().delete(&context(), ada.id, Ok(())).await;
        ensure!(matches!(&refused, Err(Error::Managed { owner: o, .. }) if *o == owner), "{refused:?}");
        ensure!(store.accounts.users().find(ada.id).await?.is_some());
        ensure!(store.events().await? == ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_concurrent_with_other_changes_leaves_no_live_key(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user("root@example.com", &[Role::Admin]).await?;
        for round in 0..soak_or(200, 15) {
            let ada = store.user(&format!("u{round}@example.com"), &[Role::Admin]).await?;
            let key = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?.credential.id;
            let (accounts, here) = (&store.accounts, context());
            let work: [BoxFuture<'_, Result<(), Error>>; 4] = [
                Box::pin(accounts.users().delete(&here, ada.id, Ok(()))),
                Box::pin(async { accounts.credentials().issue(&here, new_key(ada.id)).await.map(|_| ()) }),
                Box::pin(async { accounts.credentials().rotate(&here, key, Duration::ZERO, None).await.map(|_| ()) }),
                Box::pin(async { accounts.credentials().revoke(&here, key).await.map(|_| ()) }),
            ];
            for outcome in join_all(work).await {
                ensure!(matches!(outcome, Ok(()) | Err(Error::NoUser(_) | Error::Revoked(_))), "{outcome:?}");
            }
            store.assert_tombstone(ada.id).await?;
        }
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}
