//! Warnings before a key or a version of it ends. Pure, except for the metric.

use std::time::Duration;

use paddock_accounts::{
    SecretId,
    credentials::{SecretState, SecretVersion},
};
use paddock_crds::ApiKey;
use paddock_store::clock::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::{context::Context, key::plan, status::conditions::Reason, time::from_k8s_time};

/// The times before the end of a key at which the object warns, longest first.
const NOTICES: [(Duration, Reason); 3] = [
    (Duration::from_hours(7 * 24), Reason::EndsInDays),
    (Duration::from_hours(24), Reason::EndsInHours),
    (Duration::from_hours(1), Reason::EndsInMinutes),
];
/// The times before the end of a replaced version at which the object warns that it is in use.
const RETIRING_NOTICES: [Duration; 2] = [Duration::from_hours(1), Duration::from_mins(5)];
/// A version that was used within this time is in use. The gateway stores a use within a minute.
const IN_USE: Duration = Duration::from_mins(15);
/// How often the metric is computed.
const METRIC_INTERVAL: Duration = Duration::from_secs(30);

/// When the active version ends although nothing replaces it before. `None` if it does not end, or a
/// rotation comes first.
pub(crate) fn unreplaced_end(
    active: &SecretVersion,
    key_end: Option<Timestamp>,
    next_rotation: Option<Timestamp>,
) -> Option<Timestamp> {
    let end = [active.expires_at, key_end].into_iter().flatten().min()?;
    // A rotation does not extend the end of the key itself.
    let is_replaced = key_end != Some(end) && next_rotation.is_some_and(|rotation| rotation < end);
    (!is_replaced).then_some(end)
}

/// Returns the shortest notice that has begun. A notice that is longer than the whole life of the
/// version is left out.
pub(crate) fn notice(issued_at: Timestamp, end: Timestamp, now: Timestamp) -> Option<Reason> {
    let begun = |(notice, _): &&(Duration, Reason)| end.since(issued_at) > *notice && now >= end - *notice && now < end;
    NOTICES.iter().rfind(begun).map(|(_, reason)| *reason)
}

/// Returns when the next notice of the active version begins.
pub(crate) fn next_notice(end: Timestamp, now: Timestamp) -> Option<Timestamp> {
    NOTICES.iter().map(|(notice, _)| end - *notice).filter(|at| *at > now).min()
}

/// Returns the replaced versions that are in use and end soon, each with the number of its notice.
pub(crate) fn retiring_in_use(versions: &[SecretVersion], now: Timestamp) -> Vec<(&SecretVersion, usize)> {
    let Some(active) = plan::active_version(versions) else { return Vec::new() };
    let begun = |version: &SecretVersion| {
        let end = version.retire_at.filter(|end| *end > now)?;
        let is_used = version.last_used_at.is_some_and(|used| used > active.issued_at && used + IN_USE > now);
        let number = retiring_notices(active.issued_at, end).rposition(|at| at <= now)?;
        (version.state == SecretState::Retiring && is_used).then_some(number)
    };
    versions.iter().filter_map(|version| Some((version, begun(version)?))).collect()
}

/// Returns when the next notice of a replaced version begins.
pub(crate) fn next_retiring_notice(versions: &[SecretVersion], now: Timestamp) -> Option<Timestamp> {
    let active = plan::active_version(versions)?;
    let ends = versions.iter().filter(|version| version.state == SecretState::Retiring).filter_map(|v| v.retire_at);
    ends.flat_map(|end| retiring_notices(active.issued_at, end)).filter(|at| *at > now).min()
}

/// Returns the times of the notices of a version that was replaced at `from`, in order: after half of
/// its grace period, and those of [`RETIRING_NOTICES`] that are later.
fn retiring_notices(from: Timestamp, end: Timestamp) -> impl DoubleEndedIterator<Item = Timestamp> + ExactSizeIterator {
    let half = from + end.since(from) / 2;
    let later = RETIRING_NOTICES.iter().map(|notice| end - *notice).filter(|at| *at > half);
    std::iter::once(half).chain(later).collect::<Vec<_>>().into_iter()
}

/// A notice about a replaced version, which is published once.
pub(crate) type RetiringNotice = (SecretId, usize);

/// Sets the metric of ending keys now and then. Never returns.
pub(crate) async fn report_ending_keys(context: &Context) {
    let mut ticks = interval(METRIC_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (notice, _) in NOTICES {
            let now = context.now();
            let ending = context.keys.filter(|key| ends_within(key, now, notice)).len();
            let hours = (notice.as_secs() / 3600).to_string();
            #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 keys")]
            metrics::gauge!("paddock_keys_ending", "within_hours" => hours).set(ending as f64);
        }
    }
}

/// Whether the status says that the key ends within this time, and is not rotated before.
fn ends_within(key: &ApiKey, now: Timestamp, notice: Duration) -> bool {
    let Some(status) = &key.status else { return false };
    let Some(end) = status.expires_at.as_ref().map(from_k8s_time) else { return false };
    let rotation = status.next_rotation_time.as_ref().map(from_k8s_time);
    end > now && end <= now + notice && rotation.is_none_or(|rotation| rotation >= end)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    fn version(state: SecretState, expires_at: Option<Timestamp>) -> SecretVersion {
        SecretVersion {
            id: SecretId(1),
            key_id: "key".to_owned(),
            state,
            issued_at: NOW - HOUR * 20,
            expires_at,
            retire_at: None,
            last_used_at: None,
        }
    }

    #[rstest]
    #[case::long_before(30 * 24, 8 * 24, None)]
    #[case::days(30 * 24, 7 * 24, Some(Reason::EndsInDays))]
    #[case::hours(30 * 24, 24, Some(Reason::EndsInHours))]
    #[case::an_hour(30 * 24, 1, Some(Reason::EndsInMinutes))]
    #[case::over(30 * 24, 0, None)]
    #[case::a_short_life(12, 2, None)]
    fn the_shortest_notice_counts(#[case] life: u32, #[case] left: u32, #[case] expected: Option<Reason>) {
        let end = NOW + HOUR * left;
        assert_eq!(notice(end - HOUR * life, end, NOW), expected);
    }

    #[test]
    fn a_rotation_before_the_end_needs_no_warning() {
        let active = version(SecretState::Active, Some(NOW + HOUR));
        assert_eq!(unreplaced_end(&active, None, Some(NOW)), None);
        assert_eq!(unreplaced_end(&active, None, None), Some(NOW + HOUR));
        assert_eq!(unreplaced_end(&active, Some(NOW), Some(NOW - HOUR)), Some(NOW), "the key itself ends");
    }

    #[test]
    fn a_replaced_version_in_use_is_named_at_each_notice() {
        let active = SecretVersion { id: SecretId(2), ..version(SecretState::Active, None) };
        let old = |left: Duration, used: Option<Duration>| SecretVersion {
            retire_at: Some(NOW + left),
            last_used_at: used.map(|ago| NOW - ago),
            ..version(SecretState::Retiring, None)
        };
        let minute = Duration::from_mins(1);
        let number =
            |left, used| retiring_in_use(&[active.clone(), old(left, used)], NOW).first().map(|(_, number)| *number);
        assert_eq!(number(HOUR * 21, Some(minute)), None, "before half of the grace period");
        assert_eq!(number(HOUR * 4, Some(minute)), Some(0));
        assert_eq!(number(HOUR, Some(minute)), Some(1));
        assert_eq!(number(minute, Some(minute)), Some(2));
        assert_eq!(number(HOUR, Some(HOUR)), None, "not in use");
        assert_eq!(number(HOUR, None), None);
        assert_eq!(next_retiring_notice(&[active, old(HOUR * 4, None)], NOW), Some(NOW + HOUR * 3));
    }
}
