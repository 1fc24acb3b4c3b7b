//! The totals per UTC day of records that are written together. On SQLite they are summed here, and
//! added in one statement; on PostgreSQL a trigger does this once per statement.

use std::{collections::BTreeMap, sync::LazyLock};

use sqlx::SqliteConnection;

use super::{
    Day, Totals,
    multi_row::{self, MultiRow},
    record::UsageRecord,
};
use crate::error::Error;

static ADD: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO usage_days (day, user_id, credential_id, model, requests, failed, prompt_tokens, \
         cached_prompt_tokens, completion_tokens, estimated) VALUES",
        10,
        "",
        "ON CONFLICT (day, user_id, credential_id, model) DO UPDATE SET requests = requests + excluded.requests, \
         failed = failed + excluded.failed, prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
         cached_prompt_tokens = cached_prompt_tokens + excluded.cached_prompt_tokens, \
         completion_tokens = completion_tokens + excluded.completion_tokens, \
         estimated = estimated + excluded.estimated",
    )
});

/// A row of `usage_days`: the day, the user, the key or 0 for sessions, and the model.
type Group<'r> = (Day, i64, i64, &'r str);

/// Adds new records to the totals.
pub(super) async fn add(conn: &mut SqliteConnection, records: &[&UsageRecord]) -> Result<(), Error> {
    let groups: Vec<(Group<'_>, Totals)> = sum(records).into_iter().collect();
    for groups in multi_row::parts(&groups) {
        let mut query = sqlx::query(ADD.text(groups.len()));
        for ((day, user, key, model), totals) in groups {
            query = query
                .bind(*day)
                .bind(*user)
                .bind(*key)
                .bind(*model)
                .bind(totals.requests)
                .bind(totals.failed)
                .bind(totals.prompt_tokens)
                .bind(totals.cached_prompt_tokens)
                .bind(totals.completion_tokens)
                .bind(totals.estimated);
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

fn sum<'r>(records: &[&'r UsageRecord]) -> BTreeMap<Group<'r>, Totals> {
    let mut groups = BTreeMap::<Group<'r>, Totals>::new();
    for record in records {
        let key = record.credential_id.map_or(0, |id| id.0);
        let group = (Day::of(record.started_at), record.user_id.0, key, record.model.as_str());
        let totals = groups.entry(group).or_default();
        totals.requests += 1;
        totals.failed += i64::from(record.status != "ok" || record.http_status >= 400);
        totals.prompt_tokens += record.prompt_tokens.unwrap_or(0);
        totals.cached_prompt_tokens += record.cached_prompt_tokens.unwrap_or(0);
        totals.completion_tokens += record.completion_tokens.unwrap_or(0);
        totals.estimated += i64::from(record.tokens_estimated);
    }
    groups
}
