//! What was used, added up: whatever it is asked for, it is what the rows come to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::clock::Time;
use paddock_accounts::credentials::CredentialId;
use paddock_accounts::usage::{Day, GroupBy, Totals, UsageFilter, UsageRecord};
use paddock_accounts::users::UserId;
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;

use super::{SeededRng, StoreFixture, open};

const DAY: Duration = Duration::from_hours(24);
const MODELS: [&str; 2] = ["registry.ollama.ai/library/llama3.2:1b", "registry.ollama.ai/library/smollm2:135m"];

/// A record of these rng.
fn record(store: &StoreFixture, rng: &mut SeededRng) -> UsageRecord {
    let mut roll = |sides| i64::try_from(rng.roll(sides)).unwrap_or_default();
    let (status, http_status) = match roll(5) {
        0 => ("client_gone", 499),
        1 => ("upstream_error", 500),
        _ => ("ok", 200),
    };
    UsageRecord {
        usage_id: store.accounts.new_usage_id(),
        request_id: "r".into(),
        user_id: UserId(1 + roll(3)),
        credential_id: Some(roll(4)).filter(|id| *id > 0).map(CredentialId),
        model: MODELS[usize::try_from(roll(2)).unwrap_or_default()].into(),
        endpoint: "/api/chat".into(),
        prompt_tokens: Some(roll(100)).filter(|tokens| *tokens > 10),
        completion_tokens: Some(roll(1000)).filter(|tokens| *tokens > 10),
        tokens_estimated: roll(4) == 0,
        // Over the end of a month, and often the first or last microsecond of a day.
        started_at: midnight(28 + roll(6)) - Duration::from_micros(rng.roll(2)),
        first_byte_us: None,
        duration_us: 1_000,
        status: status.into(),
        http_status,
    }
}

/// The beginning of that day of November 2023, and on into December.
fn midnight(day: i64) -> Time {
    Time::from_micros(1_698_796_800_000_000 + (day - 1) * 86_400_000_000)
}

type Group = (Option<Day>, Option<UserId>, Option<CredentialId>, Option<String>);

/// The same by hand.
fn added_up(records: &[UsageRecord], filter: &UsageFilter, by: GroupBy) -> BTreeMap<Group, Totals> {
    let mut groups = BTreeMap::<Group, Totals>::new();
    if by == GroupBy::default() {
        groups.insert((None, None, None, None), Totals::default());
    }
    for record in records {
        let day = Day::of(record.started_at);
        let key = record.credential_id.unwrap_or(CredentialId(0));
        let is_wanted = filter.from.is_none_or(|from| day >= from)
            && filter.to.is_none_or(|to| day < to)
            && filter.user_id.is_none_or(|user| user == record.user_id)
            && filter.credential_id.is_none_or(|wanted| wanted == key)
            && filter.model.as_ref().is_none_or(|model| *model == record.model);
        if !is_wanted {
            continue;
        }
        let group = (
            by.day.then_some(day),
            by.user.then_some(record.user_id),
            by.key.then_some(key),
            by.model.then(|| record.model.clone()),
        );
        let totals = groups.entry(group).or_default();
        totals.requests += 1;
        totals.failed += i64::from(record.status != "ok" || record.http_status >= 400);
        totals.prompt_tokens += record.prompt_tokens.unwrap_or(0);
        totals.completion_tokens += record.completion_tokens.unwrap_or(0);
        totals.estimated += i64::from(record.tokens_estimated);
    }
    groups
}

fn every_grouping() -> impl Iterator<Item = GroupBy> {
    (0..16).map(|bits| GroupBy { day: bits & 1 != 0, user: bits & 2 != 0, key: bits & 4 != 0, model: bits & 8 != 0 })
}

async fn agrees(store: &StoreFixture, records: &[UsageRecord], filter: &UsageFilter) -> Result<()> {
    for by in every_grouping() {
        let wanted: Vec<(Group, Totals)> = added_up(records, filter, by).into_iter().collect();
        let (rows, total) = store.accounts.usage(filter, by, 1000, 0).await?;
        let found: Vec<_> =
            rows.into_iter().map(|row| ((row.day, row.user_id, row.credential_id, row.model), row.totals)).collect();
        assert_eq!(found, wanted, "{filter:?} {by:?}");
        assert_eq!(total, i64::try_from(wanted.len())?);
        // Page by page it is the same.
        let mut paged = Vec::new();
        loop {
            let (rows, total) = store.accounts.usage(filter, by, 7, u32::try_from(paged.len())?).await?;
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
async fn totals_are_what_the_rows_come_to_however_they_were_written(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(7);
        let records: Vec<_> = (0..1_500).map(|_| record(&store, &mut rng)).collect();
        agrees(&store, &[], &UsageFilter::default()).await?;
        // Everything twice and more: in one batch, in several at once, and again later.
        let twice = [&records[..700], &records[..700]].concat();
        store.accounts.record_usage(&twice).await?;
        let batches = records.chunks(100).chain(records.chunks(170)).map(|batch| store.accounts.record_usage(batch));
        try_join_all(batches).await?;
        store.accounts.record_usage(&records).await?;

        let filters = [
            UsageFilter::default(),
            UsageFilter { from: Some(Day::of(midnight(30))), ..UsageFilter::default() },
            UsageFilter { to: Some(Day::of(midnight(30))), ..UsageFilter::default() },
            UsageFilter {
                from: Some(Day::of(midnight(29))),
                to: Some(Day::of(midnight(32))),
                user_id: Some(UserId(2)),
                ..UsageFilter::default()
            },
            UsageFilter {
                credential_id: Some(CredentialId(3)),
                model: Some(MODELS[1].into()),
                ..UsageFilter::default()
            },
            UsageFilter { user_id: Some(UserId(99)), ..UsageFilter::default() },
        ];
        for filter in &filters {
            agrees(&store, &records, filter).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_found_late_takes_the_place_of_unknown(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(11);
        let ends: Vec<_> = (0..50).map(|_| record(&store, &mut rng)).collect();
        let unknown = |end: &UsageRecord| UsageRecord {
            prompt_tokens: None,
            completion_tokens: None,
            tokens_estimated: false,
            status: "unknown".into(),
            http_status: 0,
            ..end.clone()
        };
        let settled: Vec<_> = ends.iter().map(unknown).collect();
        store.accounts.record_usage(&settled).await?;
        agrees(&store, &settled, &UsageFilter::default()).await?;
        store.accounts.record_usage(&ends).await?;
        agrees(&store, &ends, &UsageFilter::default()).await?;
        // It stays so, whoever settles once more.
        store.accounts.record_usage(&settled).await?;
        agrees(&store, &ends, &UsageFilter::default()).await?;
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
        store.accounts.record_usage(&records).await?;
        let (day, month) = store.accounts.usage_of(UserId(1)).await?;
        // The clock stands at 2023-11-14.
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
async fn requests_of_a_process_that_is_gone_are_settled_once_however_many_look(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let mut rng = SeededRng::new(5);
        let records: Vec<_> = (0..20).map(|_| record(&store, &mut rng)).collect();
        let [dead, living, other] = std::array::from_fn(|_| store.accounts.new_usage_id());
        store.accounts.attend_usage(dead).await?;
        store.accounts.open_usage(dead, &records).await?;
        // An end in order leaves nothing to settle.
        store.accounts.record_usage(&records[..5]).await?;
        if engine == Engine::Postgres {
            store.clock.advance(Duration::from_secs(119));
            assert_eq!(store.accounts.attend_usage(living).await?, 0, "it may live");
            store.clock.advance(Duration::from_secs(2));
        }
        let settled =
            try_join_all((0..8).map(|n| store.accounts.attend_usage(if n < 4 { living } else { other }))).await?;
        assert_eq!(settled.iter().sum::<usize>(), 15);
        assert_eq!(store.accounts.attend_usage(living).await?, 0);
        let unknown = |end: &UsageRecord| UsageRecord {
            prompt_tokens: None,
            completion_tokens: None,
            tokens_estimated: false,
            status: "unknown".into(),
            http_status: 0,
            ..end.clone()
        };
        let known: Vec<_> = records[..5].iter().cloned().chain(records[5..].iter().map(unknown)).collect();
        agrees(&store, &known, &UsageFilter::default()).await?;
        // It lived after all.
        store.accounts.record_usage(&records).await?;
        agrees(&store, &records, &UsageFilter::default()).await?;
        Ok(())
    })
    .await;
}
