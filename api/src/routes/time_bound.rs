//! The bounds of a period in a query: a UTC date, or a time.

use std::str::FromStr;

use paddock_accounts::usage::Day;
use paddock_store::clock::Timestamp;

/// A bound of a period. A date is the beginning of its UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeBound(pub(super) Timestamp);

/// The text is neither a date nor a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a UTC date of the years 1 to 9999, such as 2026-01-31, or a time in RFC 3339, such as 2026-01-31T12:00:00Z"
)]
pub(super) struct InvalidBound;

impl FromStr for TimeBound {
    type Err = InvalidBound;

    fn from_str(text: &str) -> Result<Self, InvalidBound> {
        if let Ok(day) = text.parse::<Day>() {
            return Ok(Self(day.start()));
        }
        text.parse().map(Self).map_err(|_| InvalidBound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_first_moment_in_utc() {
        let midnight = "2026-01-31T00:00:00Z".parse().map(TimeBound);
        assert_eq!("2026-01-31".parse(), midnight.map_err(|_| InvalidBound));
        assert_eq!("2026-01-31".parse::<TimeBound>(), "2026-01-31T01:00:00+01:00".parse());
        for text in ["2026-02-31", "2026-01-31T12:00", "yesterday", "20260131", ""] {
            assert_eq!(text.parse::<TimeBound>(), Err(InvalidBound), "{text}");
        }
    }
}
