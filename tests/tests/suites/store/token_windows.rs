//! The tokens used in the calendar windows of the token limits: the UTC minute, day and month.

use std::time::Duration;

use anyhow::Result;
use paddock_accounts::{
    CredentialId, UserId,
    usage::{TokenWindow, TokenWindows, UsageRecord},
};
use paddock_store::clock::Timestamp;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, open};

const ADA: UserId = UserId(1);
const BOB: UserId = UserId(2);
const MICROSECOND: Duration = Duration::from_micros(1);

/// A record of this many tokens.
fn record(store: &StoreFixture, user_id: UserId, key: Option<i64>, started_at: Timestamp, tokens: i64) -> UsageRecord {
    UsageRecord {
        usage_id: store.accounts.usage().new_id(),
        request_id: "r".into(),
        user_id,
        credential_id: key.map(CredentialId),
        model: "registry.ollama.ai/library/smollm2:135m".into(),
        endpoint: "/api/chat".into(),
        prompt_tokens: Some(tokens - tokens / 2),
        cached_prompt_tokens: Some(tokens / 4),
        completion_tokens: Some(tokens / 2),
        tokens_estimated: false,
        started_at,
        first_byte_us: None,
        duration_us: 1,
        status: "ok".into(),
        http_status: 200,
    }
}

fn time(text: &str) -> Result<Timestamp> {
    Ok(text.parse()?)
}

/// The windows with these tokens, which end at these times.
fn windows(used: [i64; 3], resets_at: [&str; 3]) -> Result<TokenWindows> {
    let window = |n: usize| -> Result<TokenWindow> {
        Ok(TokenWindow { used: used[n], reserved: 0, resets_at: time(resets_at[n])? })
    };
    Ok(TokenWindows { minute: window(0)?, day: window(1)?, month: window(2)?, in_flight: 0 })
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_window_begins_with_its_first_and_ends_with_its_last_microsecond(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        // The clock shows 2023-11-14T22:13:20Z. Each border has a record just before it and one at
        // it, each with another power of two.
        let borders = [
            "2023-11-01T00:00:00Z",
            "2023-11-14T00:00:00Z",
            "2023-11-14T22:13:00Z",
            "2023-11-14T22:14:00Z",
            "2023-11-15T00:00:00Z",
            "2023-12-01T00:00:00Z",
        ];
        let mut records = Vec::new();
        for (n, border) in borders.into_iter().enumerate() {
            let border = time(border)?;
            records.push(record(&store, ADA, None, border - MICROSECOND, 1 << (2 * n)));
            records.push(record(&store, ADA, None, border, 1 << (2 * n + 1)));
        }
        store.accounts.usage().record(&records).await?;
        let of_minute = (1 << 5) + (1 << 6);
        let of_day = of_minute + (1 << 3) + (1 << 4) + (1 << 7) + (1 << 8);
        let of_month = of_day + (1 << 1) + (1 << 2) + (1 << 9) + (1 << 10);
        let ends = ["2023-11-14T22:14:00Z", "2023-11-15T00:00:00Z", "2023-12-01T00:00:00Z"];
        let found = store.accounts.usage().token_windows(ADA, None).await?;
        assert_eq!(found, windows([of_minute, of_day, of_month], ends)?);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_window_starts_empty(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let last = time("2023-11-30T23:59:59.999999Z")?;
        store.clock.advance(last.since(store.accounts.now()));
        store.accounts.usage().record(&[record(&store, ADA, None, last, 5)]).await?;
        let same_end = ["2023-12-01T00:00:00Z"; 3];
        assert_eq!(store.accounts.usage().token_windows(ADA, None).await?, windows([5; 3], same_end)?);
        store.clock.advance(MICROSECOND);
        let ends = ["2023-12-01T00:01:00Z", "2023-12-02T00:00:00Z", "2024-01-01T00:00:00Z"];
        assert_eq!(store.accounts.usage().token_windows(ADA, None).await?, windows([0; 3], ends)?);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_the_tokens_of_all_keys_and_sessions_and_a_key_its_own(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let now = store.accounts.now();
        let records = [
            record(&store, ADA, None, now, 1),
            record(&store, ADA, Some(1), now, 2),
            record(&store, ADA, Some(2), now, 4),
            record(&store, BOB, Some(3), now, 8),
            // Settled: its tokens are unknown.
            UsageRecord { prompt_tokens: None, completion_tokens: None, ..record(&store, ADA, Some(1), now, 16) },
        ];
        store.accounts.usage().record(&records).await?;
        for (user, key, tokens) in [(ADA, None, 7), (ADA, Some(1), 2), (ADA, Some(3), 0), (BOB, None, 8)] {
            let found = store.accounts.usage().token_windows(user, key.map(CredentialId)).await?;
            assert_eq!([found.minute.used, found.day.used, found.month.used], [tokens; 3], "{user:?} {key:?}");
        }
        Ok(())
    })
    .await;
}
