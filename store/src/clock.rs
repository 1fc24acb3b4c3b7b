//! Time: instants, and the clock that tells the current one.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// An instant, in whole microseconds since 1970-01-01 UTC: the resolution both database engines keep.
///
/// In text it is RFC 3339 with microseconds, always `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.6}"),
            // Beyond the years a calendar prints.
            Err(_) => write!(f, "@{}us", self.0),
        }
    }
}

/// The text is no time, or a time that not both engines can store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time in RFC 3339 from 0001-01-01 to 9999-12-30, such as 2026-01-31T12:00:00Z")]
pub struct InvalidTimestamp;

/// The first microsecond of year 1.
const MIN_MICROS: i64 = -62_135_596_800_000_000;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        if !is_rfc_3339(text) {
            return Err(InvalidTimestamp);
        }
        let stamp: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        Some(Self(stamp.as_microsecond())).filter(|time| time.0 >= MIN_MICROS).ok_or(InvalidTimestamp)
    }
}

/// The grammar of RFC 3339, of which ISO 8601 and its parser know many more forms.
fn is_rfc_3339(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let like = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                other => byte.eq_ignore_ascii_case(other),
            })
    };
    let Some((moment, rest)) = text.as_bytes().split_at_checked(SHAPE.len()) else { return false };
    let zone = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let zone = fraction.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(fraction.len());
            if zone == 0 {
                return false;
            }
            &fraction[zone..]
        }
    };
    like(moment, SHAPE) && [&b"Z"[..], b"+00:00", b"-00:00"].iter().any(|shape| like(zone, shape))
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The source of the current time, so that a test can control it.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_that_no_database_keeps_are_no_times() {
        assert_eq!("0001-01-01T00:00:00Z".parse::<Timestamp>().unwrap().micros(), MIN_MICROS);
        for text in ["-004713-01-01T00:00:00Z", "0000-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "yesterday", ""] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn only_the_forms_of_rfc_3339_are_times() {
        let noon = "2027-01-31T12:00:00Z".parse::<Timestamp>().unwrap();
        for text in ["2027-01-31t12:00:00z", "2027-01-31T12:00:00.000Z", "2027-01-31T13:30:00+01:30"] {
            assert_eq!(text.parse(), Ok(noon), "{text}");
        }
        for text in [
            "2027-01-31",
            "2027-01-31T12Z",
            "2027-01-31T12:00Z",
            "2027-01-31T12:00:00",
            "2027-01-31 12:00:00Z",
            "20270131T120000Z",
            "2027-01-31T12:00:00,5Z",
            "2027-01-31T12:00:00.Z",
            "2027-01-31T12:00:00+01",
            "2027-01-31T12:00:00Z[Europe/Berlin]",
            "2027-02-31T12:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn text_keeps_every_microsecond() {
        let time = Timestamp::from_micros(1_700_000_000_000_001);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }
}
