//! What a refused object leaves in force, and what `Ready` of a key means.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::{
    CredentialId, UserId,
    credentials::SecretState,
    types::{Email, ModelPatterns, Role},
    users::{NewUser, User, UserPatch},
};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, data};
use paddock_store::{OpenOptions, context::AuditContext, migrate};
use paddock_tests::{eventually::eventually, postgres::Postgres, story::story};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{ClusterFixture, EVENT_TIMEOUT};

/// The time in which a change made through the API must reach the object.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// A pattern that the schema accepts and the operator does not.
const BAD_PATTERN: &str = "a/b/c/d/e";

impl ClusterFixture {
    /// The user of an `ApiUser`.
    async fn user(&self, name: &str) -> Result<User> {
        let status = self.api::<ApiUser>().get(name).await?.status.context("a status")?;
        let id = UserId(status.user_id.context("an id")?);
        self.accounts.users().find(id).await?.context("a user")
    }

    /// Whether the gateway accepts the key in this Secret.
    async fn is_accepted(&self, secret: &str) -> Result<bool> {
        let key = self.secret_data(secret).await?[data::API_KEY].clone();
        Ok(self.accounts.authentication().authenticate(&key.as_str().into()).await?.is_ok())
    }
}

/// Makes another user that can administer, so that no object has the last admin.
async fn another_admin(cluster: &ClusterFixture) -> Result<()> {
    let mut admin = NewUser::new(Email::parse("root@example.com")?);
    admin.roles = [Role::Admin].into_iter().collect();
    cluster.accounts.users().create(&AuditContext::system("test"), admin).await?;
    Ok(())
}

#[tokio::test]
async fn a_refused_user_loses_the_rights_that_its_spec_takes_away() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let spec = json!({"email": "ada@example.com", "models": ["m", "n"], "limits": {"requestsPerMinute": 9}});
        cluster.create::<ApiUser>("ada", spec).await?;
        cluster.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
        cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;

        let narrower =
            json!({"models": ["m", "o", BAD_PATTERN], "limits": {"requestsPerMinute": 5}, "displayName": "A"});
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": narrower})).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "False", "InvalidSpec").await?;
        let user = cluster.user("ada").await?;
        let models: Vec<_> = user.models.iter().flat_map(ModelPatterns::iter).collect();
        assert_eq!(models, ["registry.ollama.ai/library/m:*"], "`n` is taken away and `o` is not granted");
        assert_eq!((user.limits.requests_per_minute, user.display_name), (Some(5), None));

        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"active": false}})).await?;
        let refused = cluster.wait_for_ready::<ApiUser>("ada", "False", "InvalidSpec").await?;
        ensure!(!cluster.user("ada").await?.is_active, "the user can still chat");
        ensure!(!cluster.is_accepted("ada-apikey").await?);
        let message = &refused.status.context("a status")?.conditions[0].message;
        ensure!(message.contains("the user is disabled"), "{message}");
        cluster.wait_for_ready::<ApiKey>("ada", "False", "UserInactive").await?;

        let mended = json!({"spec": {"active": true, "models": ["m", "n"]}});
        cluster.merge_patch::<ApiUser>("ada", mended).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_may_no_longer_grant_admin_takes_the_role_away() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        another_admin(&cluster).await?;
        let operator = cluster.launch()?.env("ADMIN_NAMESPACES", &cluster.namespace).start().await?;
        cluster.create::<ApiUser>("boss", json!({"email": "boss@example.com", "roles": ["admin", "user"]})).await?;
        cluster.wait_for_ready::<ApiUser>("boss", "True", "Applied").await?;
        ensure!(cluster.user("boss").await?.roles.has(Role::Admin));
        drop(operator);

        let _operator = cluster.start_operator().await?;
        let boss = cluster.wait_for_ready::<ApiUser>("boss", "False", "RoleNotAllowed").await?;
        assert_eq!(cluster.user("boss").await?.roles.to_string(), "user");
        assert_eq!(boss.status.context("a status")?.effective_roles, ["user"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_a_user_no_longer_allows_loses_its_keys() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let guests = cluster.kubernetes.namespace().await?;
        cluster.account.grant(&guests).await?;
        let both = format!("{},{guests}", cluster.namespace);
        let _operator = cluster.launch()?.env("WATCH_NAMESPACES", &both).start().await?;
        let elsewhere = ClusterFixture { namespace: guests.clone(), ..ClusterFixture::start().await? };
        let allowed = json!({"allowKeysFrom": {"namespaces": [guests]}});
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": allowed})).await?;
        let reference = json!({"userRef": {"name": "ada", "namespace": cluster.namespace}});
        elsewhere.create::<ApiKey>("guest", reference).await?;
        let key = elsewhere.wait_for_ready::<ApiKey>("guest", "True", "Issued").await?;
        let id = CredentialId(key.status.context("a status")?.credential_id.context("an id")?);

        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"allowKeysFrom": null}})).await?;
        let ended = elsewhere.wait_for_ready::<ApiKey>("guest", "False", "NamespaceNotAllowed").await?;
        let versions = cluster.accounts.credentials().secrets(id).await?;
        let [version] = &versions[..] else { anyhow::bail!("{versions:?}") };
        let in_a_minute = cluster.accounts.now() + Duration::from_mins(1);
        ensure!(version.state == SecretState::Retiring && version.retire_at.is_some_and(|end| end <= in_a_minute));
        let message = &ended.status.context("a status")?.conditions[0].message;
        ensure!(message.contains("is accepted until"), "{message}");

        cluster.merge_patch::<ApiUser>("ada", json!({"spec": allowed})).await?;
        elsewhere.wait_for_ready::<ApiKey>("guest", "True", "Issued").await?;
        let fixture = ClusterFixture { namespace: guests, ..cluster };
        ensure!(fixture.is_accepted("guest-apikey").await?, "allowed again, and the key in the Secret is refused");
        Ok(())
    })
    .await;
}

/// A change through the API, and the reason that it gives the key.
#[derive(Clone, Copy)]
enum AdminChange {
    DisableUser,
    RevokeKey,
}

#[rstest]
#[case::disabled(AdminChange::DisableUser, "UserInactive")]
#[case::revoked(AdminChange::RevokeKey, "Revoked")]
#[tokio::test]
async fn a_change_through_the_api_reaches_the_key_in_seconds(#[case] change: AdminChange, #[case] reason: &str) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let key = cluster.user_with_key("ada").await?;
        let id = CredentialId(key.status.context("a status")?.credential_id.context("an id")?);
        let (admin, user) = (AuditContext::system("test"), cluster.user("ada").await?.id);
        let set_active = |is_active| UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        let changed = Instant::now();
        match change {
            AdminChange::DisableUser => {
                cluster.accounts.users().update(&admin, user, set_active(false), Ok(())).await?;
            }
            AdminChange::RevokeKey => {
                cluster.accounts.credentials().revoke(&admin, id).await?;
            }
        }
        cluster.wait_for_ready::<ApiKey>("ada", "False", reason).await?;
        ensure!(changed.elapsed() <= NOTICE_TIMEOUT, "{:?}", changed.elapsed());
        let restored = Instant::now();
        match change {
            AdminChange::DisableUser => {
                cluster.accounts.users().update(&admin, user, set_active(true), Ok(())).await?;
            }
            AdminChange::RevokeKey => {
                cluster.accounts.credentials().clear_override(&admin, id).await?;
            }
        }
        cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        ensure!(restored.elapsed() <= NOTICE_TIMEOUT, "{:?}", restored.elapsed());
        ensure!(cluster.is_accepted("ada-apikey").await?);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::no_role(json!({"roles": []}), "UserWithoutRole")]
#[case::limit(json!({"limits": {"requestsPerMinute": 0}}), "LimitIsZero")]
#[case::no_model(json!({"models": []}), "NoModelAllowed")]
#[tokio::test]
async fn a_key_that_cannot_be_used_is_not_ready(#[case] change: Value, #[case] reason: &str) {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": change})).await?;
        let key = cluster.wait_for_ready::<ApiKey>("ada", "False", reason).await?;
        let synced = key.status.context("a status")?.condition("SecretSynced").cloned();
        ensure!(synced.is_some_and(|synced| synced.status == "True"), "the Secret holds the active version");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_replaced_database_is_noticed_and_its_keys_are_issued_again() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        ensure!(cluster.is_accepted("ada-apikey").await?);
        let url = cluster.database.url();
        let name = url.rsplit('/').next().and_then(|name| name.split('?').next()).context("a database")?.to_owned();
        let mut server = PgConnection::connect(Postgres::shared().await?.url()).await?;
        for statement in [format!("DROP DATABASE \"{name}\" WITH (FORCE)"), format!("CREATE DATABASE \"{name}\"")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await?;
        }
        migrate(&OpenOptions { max_connections: 4, ..OpenOptions::new(url.into()) }).await?;
        eventually("the key to be accepted", EVENT_TIMEOUT, async || {
            ensure!(cluster.is_accepted("ada-apikey").await?);
            Ok(())
        })
        .await?;
        cluster.wait_until_consistent("ada").await?;
        eventually("the events", EVENT_TIMEOUT, async || {
            for kind in ["ApiUser", "ApiKey"] {
                let events = cluster.event_reasons(kind, "ada").await?;
                ensure!(events.iter().any(|event| event == "DatabaseReplaced"), "{kind}: {events:?}");
            }
            Ok(())
        })
        .await
    })
    .await;
}
