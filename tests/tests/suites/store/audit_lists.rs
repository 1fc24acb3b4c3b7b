//! Lists and exports of the audit log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paddock_accounts::{CredentialId, types::Email, users::NewUser};
use paddock_store::{
    audit::{AuditFilter, AuditRow, EventType},
    context::Actor,
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, open};

impl StoreFixture {
    async fn exported(&self, filter: AuditFilter) -> Result<Vec<AuditRow>> {
        let mut export = self.accounts.audit().export(filter).await?;
        let mut all = Vec::new();
        loop {
            let page = export.next_page(AuditRow::owned).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

/// Lists and exports with each filter are compared with filtering all rows in memory.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn filters_find_the_rows_that_a_filter_in_memory_finds(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for number in 0..40_i64 {
            let actor = if number % 3 == 0 { Actor::Key(CredentialId(number % 2)) } else { Actor::System("test") };
            let new = NewUser::new(Email::parse(&format!("u{number}@example.com"))?);
            store.accounts.users().create(&context().acting(actor), new).await?;
            store.clock.advance(Duration::from_hours(7));
        }
        let mut rows = store.accounts.audit().list(&AuditFilter::default(), 500, AuditRow::owned).await?;
        rows.reverse();
        let (early, late) = (rows[9].occurred_at, rows[30].occurred_at);
        let any = AuditFilter::default;
        let filters = [
            any(),
            AuditFilter { actor: Some("key:0".into()), ..any() },
            AuditFilter { actor: Some("system:test".into()), since: Some(early), ..any() },
            AuditFilter { actor: Some("nobody".into()), ..any() },
            AuditFilter { credential_id: Some(CredentialId(1)), ..any() },
            AuditFilter { user_id: Some(paddock_accounts::UserId(5)), ..any() },
            AuditFilter { event_types: Some(vec![EventType::UserCreated]), until: Some(late), ..any() },
            AuditFilter { since: Some(early), until: Some(late), ..any() },
            AuditFilter { since: Some(late + Duration::from_hours(24 * 30)), ..any() },
            AuditFilter { until: Some(rows[0].occurred_at), ..any() },
            AuditFilter { event_types: Some(vec![EventType::UserCreated, EventType::Logout]), ..any() },
            AuditFilter { event_types: Some(Vec::new()), ..any() },
            AuditFilter { actor_kinds: vec!["system", "anonymous"], ..any() },
            AuditFilter { actor_kinds: vec!["key"], since: Some(early), ..any() },
            AuditFilter { target: Some("U3".into()), ..any() },
            AuditFilter { target: Some("u_".into()), ..any() },
            AuditFilter { request_id: rows[3].request_id.clone().or(Some("none".into())), ..any() },
        ];
        for filter in filters {
            let fits = |row: &&AuditRow| {
                filter.actor.as_ref().is_none_or(|actor| *actor == row.actor)
                    && filter.credential_id.is_none_or(|id| row.credential_id == Some(id.into()))
                    && filter.user_id.is_none_or(|id| row.user_id == Some(id.into()))
                    && filter
                        .event_types
                        .as_ref()
                        .is_none_or(|types| types.iter().any(|one| one.text() == row.event_type))
                    && (filter.actor_kinds.is_empty()
                        || filter.actor_kinds.iter().any(|kind| row.actor.split(':').next() == Some(kind)))
                    && filter.target.as_ref().is_none_or(|text| {
                        row.target.as_ref().is_some_and(|target| target.contains(&text.to_lowercase()))
                    })
                    && filter.request_id.as_ref().is_none_or(|id| row.request_id.as_ref() == Some(id))
                    && filter.since.is_none_or(|since| row.occurred_at >= since)
                    && filter.until.is_none_or(|until| row.occurred_at < until)
            };
            let expected: Vec<_> = rows.iter().filter(fits).cloned().collect();
            ensure!(store.exported(filter.clone()).await? == expected, "exported by {filter:?}");
            let mut listed = store.accounts.audit().list(&filter, 500, AuditRow::owned).await?;
            listed.reverse();
            ensure!(listed == expected, "listed by {filter:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_at_the_row_that_was_newest_at_its_start(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user("ada@example.com", &[]).await?;
        let mut export = store.accounts.audit().export(AuditFilter::default()).await?;
        store.user("bob@example.com", &[]).await?;
        let page = export.next_page(AuditRow::owned).await?;
        ensure!(page.len() == 1 && page.first().context("a row")?.id == 1, "{page:?}");
        ensure!(export.next_page(AuditRow::owned).await?.is_empty());
        Ok(())
    })
    .await;
}
