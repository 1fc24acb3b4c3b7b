//! Usage totals: every grouping and filter is compared with sums over the rows.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::{
    CredentialId, UserId,
    usage::{Day, GroupBy, Totals, UsageFilter, UsageRecord},
};
use paddock_store::clock::Timestamp;
use paddock_tests::{database::Engine, random::SeededRng, story::story};
use rstest::rstest;

use super::{StoreFixture, open};

const DAY: Duration = Duration::from_hours(24);
const MODELS: [&str; 2] = ["registry.ollama.ai/library/llama3.2:1b", "registry.ollama.ai/library/smollm2:135m"];

/// A random record.
fn record(store: &StoreFixture, rng: &mut SeededRng) -> UsageRecord {
    let mut below = |limit| i64::try_from(rng.below(limit)).unwrap_or_default();
    let (status, http_status) = match below(5) {
        0 => ("client_gone", 499),
        1 => ("upstream_error", 500),
        _ => ("ok", 200),
    };
    let prompt_tokens = Some(below(100)).filter(|tokens| *tokens > 10);
    UsageRecord {
        usage_id: store.accounts.usage().new_id(),
        request_id: "r".into(),
        user_id: UserId(1 + below(3)),
        credential_id: Some(below(4)).filter(|id| *id > 0).map(CredentialId),
        model: MODELS[usize::try_from(below(2)).unwrap_or_default()].into(),
        endpoint: "/api/chat".into(),
        prompt_tokens,
        cached_prompt_tokens: prompt_tokens.filter(|_| below(2) == 0).map(|tokens| tokens / 2),
        completion_tokens: Some(below(1000)).filter(|tokens| *tokens > 10),
        tokens_estimated: below(4) == 0,
        // Around the end of a month, often at the first or last microsecond of a day.
        started_at: midnight(28 + below(6)) - Duration::from_micros(rng.below(2)),
        first_byte_us: None,
        duration_us: 1_000,
        status: status.into(),
        http_status,
    }
}

/// The same request with an unknown outcome, as settlement records it.
fn unknown(record: &UsageRecord) -> UsageRecord {
    UsageRecord {
        prompt_tokens: None,
        cached_prompt_tokens: None,
        completion_tokens: None,
        tokens_estimated: false,
        status: "unknown".into(),
        http_status: 0,
        ..record.clone()
    }
}

/// Midnight of a day, counted from the first of November 2023.
fn midnight(day: i64) -> Timestamp {
    Timestamp::from_micros(1_698_796_800_000_000 + (day - 1) * 86_400_000_000)
}

type Group = (Option<Day>, Option<Timestamp>, Option<UserId>, Option<CredentialId>, Option<String>);

/// The totals of these records, computed in memory.
fn sum_in_memory(records: &[UsageRecord], filter: &UsageFilter, by: GroupBy) -> BTreeMap<Group, Totals> {
    let mut groups = BTreeMap::<Group, Totals>::new();
    if by == GroupBy::default() {
        groups.insert((None, None, None, None, None), Totals::default());
    }
    for record in records {
        let day = Day::of(record.started_at);
        let key = record.credential_id.unwrap_or(CredentialId(0));
        let hour = record.started_at.micros() - record.started_at.micros() % 3_600_000_000;
        let is_wanted = filter.from.is_none_or(|from| record.started_at >= from)
            && filter.to.is_none_or(|to| record.started_at < to)
            && filter.user_id.is_none_or(|user| user == record.user_id)
            && filter.credential_id.is_none_or(|wanted| wanted == key)
            && filter.model.as_ref().is_none_or(|model| *model == record.model);
        if !is_wanted {
            continue;
        }
        let group = (
            by.day.then_some(day),
            by.hour.then_some(Timestamp::from_micros(hour)),
            by.user.then_some(record.user_id),
            by.key.then_some(key),
            by.model.then(|| record.model.clone()),
        );
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

fn every_grouping() -> impl Iterator<Item = GroupBy> {
    (0..32).map(|bits| GroupBy {
        day: bits & 1 != 0,
        user: bits & 2 != 0,
        key: bits & 4 != 0,
        model: bits & 8 != 0,
        hour: bits & 16 != 0,
        sort: None,
    })
}

/// Asserts that the totals of every grouping equal the sums over these records.
async fn assert_totals(store: &StoreFixture, records: &[UsageRecord], filter: &UsageFilter) -> Result<()> {
    for by in every_grouping() {
        let wanted: Vec<(Group, Totals)> = sum_in_memory(records, filter, by).into_iter().collect();
        let (rows, total) = store.accounts.usage().totals(filter, by, 1000, 0).await?;
        let found: Vec<_> = rows
            .into_iter()
            .map(|row| ((row.day, row.hour, row.user_id, row.credential_id, row.model), row.totals))
            .collect();
        assert_eq!(found, wanted, "{filter:?} {by:?}");
        assert_eq!(total, i64::try_from(wanted.len())?);
        // The pages have the same totals.
        let mut paged = Vec::new();
        loop {
            let (rows, total) = store.accounts.usage().totals(filter, by, 7, u32::try_from(paged.len())?).await?;
            assert_eq!(total, i64::try_from(wanted.len())?, "{by:?}");
            paged.extend(rows.into_iter().map(|row| row.totals));
            if paged.len() >= wanted.len() {
                break;
            }
        }
        assert_eq!(paged, wanted.into_iter().map(|(_, totals)| totals).collect::<Vec<_>>());
    }
    Ok(())
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn totals_are_the_sums_of_the_rows_after_repeated_and_concurrent_writes(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(7);
        let records: Vec<_> = (0..1_500).map(|_| record(&store, &mut rng)).collect();
        assert_totals(&store, &[], &UsageFilter::default()).await?;
        // Every record is written several times: in one batch, in concurrent batches, and later
        // again.
        let twice = [&records[..700], &records[..700]].concat();
        store.accounts.usage().record(&twice).await?;
        let batches = records.chunks(100).chain(records.chunks(170)).map(|batch| store.accounts.usage().record(batch));
        try_join_all(batches).await?;
        store.accounts.usage().record(&records).await?;

        let filters = [
            UsageFilter::default(),
            UsageFilter { from: Some(midnight(30)), ..UsageFilter::default() },
            UsageFilter { to: Some(midnight(30)), ..UsageFilter::default() },
            UsageFilter {
                from: Some(midnight(29)),
                to: Some(midnight(32)),
                user_id: Some(UserId(2)),
                ..UsageFilter::default()
            },
            UsageFilter {
                credential_id: Some(CredentialId(3)),
                model: Some(MODELS[1].into()),
                ..UsageFilter::default()
            },
            UsageFilter { user_id: Some(UserId(99)), ..UsageFilter::default() },
            // Within a day: its first microsecond is left out.
            UsageFilter {
                from: Some(midnight(29) + Duration::from_micros(1)),
                to: Some(midnight(31) + Duration::from_hours(5)),
                user_id: Some(UserId(1)),
                ..UsageFilter::default()
            },
        ];
        for filter in &filters {
            assert_totals(&store, &records, filter).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_late_record_replaces_an_unknown_outcome(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(11);
        let ends: Vec<_> = (0..50).map(|_| record(&store, &mut rng)).collect();
        let settled: Vec<_> = ends.iter().map(unknown).collect();
        store.accounts.usage().record(&settled).await?;
        assert_totals(&store, &settled, &UsageFilter::default()).await?;
        store.accounts.usage().record(&ends).await?;
        assert_totals(&store, &ends, &UsageFilter::default()).await?;
        // A repeated settlement does not replace the known outcome.
        store.accounts.usage().record(&settled).await?;
        assert_totals(&store, &ends, &UsageFilter::default()).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn today_and_this_month_begin_at_midnight_utc(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(3);
        let now = store.accounts.now();
        let today = Day::of(now);
        let mut records = Vec::new();
        for back in 0..40 {
            records.push(UsageRecord { user_id: UserId(1), started_at: now - back * DAY, ..record(&store, &mut rng) });
        }
        store.accounts.usage().record(&records).await?;
        let (day, month) = store.accounts.usage().totals_of_user(UserId(1)).await?;
        ensure!(today.to_string() == "2023-11-14" && day.requests == 1 && month.requests == 14, "{day:?} {month:?}");
        ensure!(day.prompt_tokens == records[0].prompt_tokens.unwrap_or(0));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_dead_process_are_settled_once_by_concurrent_processes(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(5);
        let records: Vec<_> = (0..20).map(|_| record(&store, &mut rng)).collect();
        let [dead, living, other] = std::array::from_fn(|_| store.accounts.usage().new_id());
        store.accounts.usage().heartbeat(dead).await?;
        store.accounts.usage().record_in_flight(dead, &records).await?;
        // Recorded requests need no settlement.
        store.accounts.usage().record(&records[..5]).await?;
        if engine == Engine::Postgres {
            store.clock.advance(Duration::from_secs(119));
            assert_eq!(store.accounts.usage().heartbeat(living).await?, 0, "the process may be alive");
            store.clock.advance(Duration::from_secs(2));
        }
        let settled =
            try_join_all((0..8).map(|n| store.accounts.usage().heartbeat(if n < 4 { living } else { other }))).await?;
        assert_eq!(settled.iter().sum::<usize>(), 15);
        assert_eq!(store.accounts.usage().heartbeat(living).await?, 0);
        let known: Vec<_> = records[..5].iter().cloned().chain(records[5..].iter().map(unknown)).collect();
        assert_totals(&store, &known, &UsageFilter::default()).await?;
        // The process was alive after all.
        store.accounts.usage().record(&records).await?;
        assert_totals(&store, &records, &UsageFilter::default()).await?;
        Ok(())
    })
    .await;
}
