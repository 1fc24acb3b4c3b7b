//! UTC days, by which usage is summed.

use std::{fmt, str::FromStr};

use jiff::civil::Date;

use paddock_store::clock::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const EPOCH: Date = Date::constant(1970, 1, 1);

/// A UTC day, stored as days since 1970-01-01. Its text form is `2026-11-25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Day(i64);

/// The text is not a valid day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UTC date of the years 1 to 9999, such as 2026-01-31")]
pub struct InvalidDay;

impl Day {
    /// Returns the day of a timestamp.
    #[must_use]
    pub const fn of(time: Timestamp) -> Self {
        Self(time.micros().div_euclid(MICROS_PER_DAY))
    }

    /// Returns the first day of the month.
    #[must_use]
    pub fn month(self) -> Self {
        self.date().map_or(self, |date| Self::from_date(date.first_of_month()))
    }

    /// Returns the day after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the first day of the next month.
    #[must_use]
    pub fn next_month(self) -> Self {
        self.date().map_or(self, |date| Self::from_date(date.last_of_month())).next()
    }

    /// Returns the first microsecond of the day.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(MICROS_PER_DAY))
    }

    fn from_date(date: Date) -> Self {
        let since = date.duration_since(EPOCH);
        Self(since.as_hours() / 24)
    }

    fn date(self) -> Option<Date> {
        let hours = self.0.checked_mul(24)?;
        EPOCH.checked_add(jiff::SignedDuration::from_hours(hours)).ok()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.date() {
            Some(date) => date.fmt(f),
            // The year is outside the range that jiff can print.
            None => write!(f, "@{}d", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let date: Date = text.parse().map_err(|_| InvalidDay)?;
        // The parser also accepts a time of day, and would drop it.
        (date.year() >= 1 && date.to_string() == text).then(|| Self::from_date(date)).ok_or(InvalidDay)
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        for (time, day) in [
            ("1970-01-01T00:00:00Z", "1970-01-01"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31"),
            ("2024-02-29T23:59:59.999999Z", "2024-02-29"),
            ("2024-03-01T00:00:00Z", "2024-03-01"),
            ("9999-12-30T12:00:00Z", "9999-12-30"),
        ] {
            let found = Day::of(time.parse().unwrap());
            assert_eq!((found.to_string().as_str(), found), (day, day.parse().unwrap()), "{time}");
        }
        assert_eq!("2024-02-29".parse::<Day>().unwrap().month().to_string(), "2024-02-01");
    }

    #[test]
    fn a_day_starts_when_the_day_before_it_ends() {
        for (day, next, next_month) in [
            ("2024-02-28", "2024-02-29", "2024-03-01"),
            ("2023-12-31", "2024-01-01", "2024-01-01"),
            ("1969-12-31", "1970-01-01", "1970-01-01"),
        ] {
            let day = day.parse::<Day>().unwrap();
            assert_eq!((day.next(), day.next_month()), (next.parse().unwrap(), next_month.parse().unwrap()), "{day}");
            assert_eq!(day.next().start().to_string(), format!("{next}T00:00:00.000000Z"));
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in
            ["2026-02-30", "2026-1-1", "20260101", "2026-01-01T00:00:00Z", "2026-01-01T10:00", "0000-01-01", "", "x"]
        {
            assert_eq!(text.parse::<Day>(), Err(InvalidDay), "{text}");
        }
    }
}
